"""The loss of a microbatch, and its share of the global minibatch.

Shapes: N fields of a microbatch, C channels, H W pixels, K classes, F features, E numbers of an
embedding, D statistics of the auxiliary task.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscnn.model import MCNN, NUM_FEATURES
from mscnn.model.acceleration import in_float32

UNKNOWN = -100   # label of a field without a known class
EMBEDDING = 128  # numbers that the contrasts compare, as in SimCLR


class LossModule(nn.Module):
    """The network with its loss; for several ranks DistributedDataParallel wraps it.

    The loss is the cross-entropy, weighted and summed over a microbatch so that the sum over all microbatches of a step is
    the mean over its global minibatch.  With statistics_weight, an auxiliary linear head predicts statistics of a field's
    pixels from its features, by smooth L1 loss, mean over the statistics.  With contrast, a projection of the features
    gives the embeddings that contrast.py compares (Chen et al. 2020).  Both heads are of no use after training.
    With mechanism_weight 0 the classifier is not trained: it may have no class.
    """

    def __init__(self, network: MCNN, label_smoothing: float = 0.0, statistics_weight: float = 0.0, num_statistics: int = 0,
                 mechanism_weight: float = 1.0, contrast: bool = False):
        super().__init__()
        self.network, self.label_smoothing, self.statistics_weight = network, label_smoothing, statistics_weight
        self.mechanism_weight, self.projection = mechanism_weight, None
        if not mechanism_weight:
            network.classify.requires_grad_(False)  # ranks exchange no gradient of it
        if contrast:
            self.projection = nn.Sequential(nn.Linear(NUM_FEATURES, NUM_FEATURES // 2), nn.ReLU(),
                                            nn.Linear(NUM_FEATURES // 2, EMBEDDING))
        if statistics_weight:
            self.aux_head = nn.Linear(NUM_FEATURES, num_statistics)
            nn.init.xavier_uniform_(self.aux_head.weight)
            nn.init.zeros_(self.aux_head.bias)

    def forward(self, fields_NCHW: Tensor, labels_N: Tensor, weights_N: Tensor, aux_targets_ND: Tensor | None = None,
                aux_shares_N: Tensor | None = None) -> dict[str, Tensor]:
        """Return "loss" and "correct" (fields with a weight), scalars; "finite_N": whether a field's features are finite.

        With contrast also "embeddings_NE"; the contrast itself is not in the loss.  weights_N: each field's share of the
        global minibatch's cross-entropy, they sum to 1 over it; 0 for padding, and for fields whose label is UNKNOWN.
        aux_targets_ND, aux_shares_N: statistics, and shares of the auxiliary loss.
        """
        features_NF = self.network.features(fields_NCHW)
        result = {"loss": torch.zeros(()), "correct": torch.zeros((), dtype=torch.int64),
                  "finite_N": torch.isfinite(features_NF).all(dim=1)}
        if self.statistics_weight:
            assert aux_targets_ND is not None
            assert aux_shares_N is not None
            losses_ND = F.smooth_l1_loss(self.aux_head(features_NF).float(), aux_targets_ND, reduction="none")
            result["loss"] = self.statistics_weight * (losses_ND.mean(dim=1) * aux_shares_N).sum()
        if self.mechanism_weight:
            scores_NK = self.network.classify(features_NF)
            losses_N = F.cross_entropy(scores_NK.float(), labels_N, reduction="none", label_smoothing=self.label_smoothing,
                                       ignore_index=UNKNOWN)
            result["loss"] = result["loss"] + self.mechanism_weight * (losses_N * weights_N).sum()
            result["correct"] = ((scores_NK.argmax(dim=1) == labels_N) & (weights_N > 0)).sum()
            result["finite_N"] = torch.isfinite(scores_NK).all(dim=1)
        if self.projection is not None:
            result["embeddings_NE"] = self.embed(features_NF)
        return result

    def embed(self, features_NF: Tensor) -> Tensor:
        """Return the embeddings (N, 128) float32 of features."""
        assert self.projection is not None
        with in_float32():
            return self.projection(features_NF.float())


def class_weights(labels: np.ndarray, num_classes: int, mode: str) -> np.ndarray:
    """Return the weight (K,) float64 of a field by class: all 1, or inverse to the class's number of training fields.

    "balanced" is scikit-learn's: fields / (classes present * fields of the class); classes without fields get 0.
    """
    if mode == "none":
        return np.ones(num_classes)
    from sklearn.utils.class_weight import compute_class_weight  # here: it takes each rank a second, and few ask for it

    present, weights = np.unique(labels), np.zeros(num_classes)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return weights


def loss_shares(weights: np.ndarray, minibatch: np.ndarray, own: np.ndarray) -> Tensor:
    """Return each own field's share (N,) float32 of the loss of its global minibatch, by per-site weights."""
    return torch.tensor(weights[own] / (weights[minibatch].sum() or 1.0), dtype=torch.float32)
