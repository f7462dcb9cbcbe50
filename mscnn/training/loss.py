"""Batch -> loss and sums; what is wrapped for several ranks.

Shapes: N fields of a microbatch, C channels, H W pixels, K classes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscnn.model import NUM_FEATURES

UNKNOWN = -100  # label of a field that teaches no class


class LossModule(nn.Module):
    """Weighted cross-entropy summed over a microbatch, scaled so that summing over all microbatches gives the mean.

    statistics: weight of a second task, if not 0: to predict num_statistics numbers of a field from its features, by a
    linear layer that is of no use afterwards; smooth L1 loss, mean over the numbers.
    """

    def __init__(self, network: nn.Module, label_smoothing: float = 0.0, statistics: float = 0.0, num_statistics: int = 0):
        super().__init__()
        self.network, self.label_smoothing, self.aux_weight = network, label_smoothing, statistics
        if statistics:
            self.aux_head = nn.Linear(NUM_FEATURES, num_statistics)
            nn.init.xavier_uniform_(self.aux_head.weight)
            nn.init.zeros_(self.aux_head.bias)

    def forward(self, fields_NCHW: Tensor, labels_N: Tensor, weights_N: Tensor, targets_ND: Tensor | None = None,
                shares_N: Tensor | None = None) -> dict[str, Tensor]:
        """weights_N: each field's share of the global minibatch's loss (they sum to 1 over it); 0 for padding, and for
        fields of which the label is UNKNOWN.  targets_ND, shares_N: of the second task and its loss.

        Returns "loss" (to differentiate) and "correct" (number of fields with a weight), both scalars, and "finite_N":
        whether the scores of each field are.
        """
        if not self.aux_weight:
            scores_NK, loss = self.network(fields_NCHW), torch.zeros(())
        else:
            features_NF = self.network.features(fields_NCHW)
            scores_NK, statistics_ND = self.network.classify(features_NF), self.aux_head(features_NF)
            losses_ND = F.smooth_l1_loss(statistics_ND.float(), targets_ND, reduction="none")
            loss = self.aux_weight * (losses_ND.mean(dim=1) * shares_N).sum()
        losses_N = F.cross_entropy(scores_NK.float(), labels_N, reduction="none", label_smoothing=self.label_smoothing,
                                   ignore_index=UNKNOWN)
        right_N = (scores_NK.argmax(dim=1) == labels_N) & (weights_N > 0)
        return {"loss": loss + (losses_N * weights_N).sum(), "correct": right_N.sum(),
                "finite_N": torch.isfinite(scores_NK).all(dim=1)}


def class_weights(labels: np.ndarray, num_classes: int, mode: str) -> np.ndarray:
    """(K,) float64 weight of a field by class: all 1, or inverse to the class's number of training fields.

    "balanced" is scikit-learn's: fields / (classes present * fields of the class); classes without fields get 0.
    """
    if mode == "none":
        return np.ones(num_classes)
    from sklearn.utils.class_weight import compute_class_weight  # here: it takes each rank a second, and few ask for it

    present, weights = np.unique(labels), np.zeros(num_classes)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return weights


def loss_shares(weights: np.ndarray, minibatch: np.ndarray, own: np.ndarray) -> Tensor:
    """Each own field's share of the loss of its global minibatch, (N,) float32, by per-site weights; 0 if it has none."""
    return torch.tensor(weights[own] / (weights[minibatch].sum() or 1.0), dtype=torch.float32)
