"""The loss of a microbatch, and its share of the global minibatch.

Shapes: N fields of a microbatch, C channels, H W pixels, K classes, A assays, F features, E numbers of an
embedding, D statistics of the auxiliary task; L rows of labels.
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

    Labels of two axes are assays: the loss is the binary cross-entropy of each cell, a field in an assay, that is known.
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
        """Return "loss" and "correct", scalars; "finite_N": whether a field's features are finite.

        correct: fields, or cells, with a weight and a right prediction.
        With contrast also "embeddings_NE"; the contrast itself is not in the loss.  weights_N: each field's share of the
        global minibatch's cross-entropy, they sum to 1 over it; 0 for padding, and for fields whose label is UNKNOWN.
        Of assays labels_N is (N, A) float, 1 for active, and weights_N (N, A), 0 for cells that are not known.
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
            of_labels = assay_losses if labels_N.ndim == 2 else mechanism_losses
            losses_N, is_right_N = of_labels(scores_NK.float(), labels_N, self.label_smoothing)
            result["loss"] = result["loss"] + self.mechanism_weight * (losses_N * weights_N).sum()
            result["correct"] = (is_right_N & (weights_N > 0)).sum()
            result["finite_N"] = torch.isfinite(scores_NK).all(dim=1)
        if self.projection is not None:
            result["embeddings_NE"] = self.embed(features_NF)
        return result

    def embed(self, features_NF: Tensor) -> Tensor:
        """Return the embeddings (N, 128) float32 of features."""
        assert self.projection is not None
        with in_float32():
            return self.projection(features_NF.float())


def mechanism_losses(scores_NK: Tensor, labels_N: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return each field's cross-entropy (N,), and whether its mechanism has the highest score (N,)."""
    losses_N = F.cross_entropy(scores_NK, labels_N, reduction="none", label_smoothing=label_smoothing, ignore_index=UNKNOWN)
    return losses_N, scores_NK.argmax(dim=1) == labels_N


def assay_losses(scores_NA: Tensor, labels_NA: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return each cell's binary cross-entropy (N, A), and whether its probability is on the right side of 0.5 (N, A).

    It is the cross-entropy of two classes with the scores 0 and scores_NA; so is its label smoothing.
    """
    targets_NA = labels_NA * (1 - label_smoothing) + label_smoothing / 2
    losses_NA = F.binary_cross_entropy_with_logits(scores_NA, targets_NA, reduction="none")
    return losses_NA, (scores_NA > 0) == (labels_NA > 0.5)


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


def assay_weights(values_LA: np.ndarray, fields_L: np.ndarray, mode: str) -> np.ndarray:
    """Return the weight (L, A) float32 of a cell in the loss: 0 where it is not known, and in assays of one class.

    values_LA: 1, 0 or NaN.  fields_L: training fields of each row.  "balanced" is scikit-learn's within each assay: known
    fields / (2 * fields of the class), so that active and inactive fields weigh the same; else all cells weigh 1.
    """
    active_A, inactive_A = (fields_L @ (values_LA == value) for value in (1, 0))
    has_both_A = (active_A > 0) & (inactive_A > 0)
    counts_LA = np.where(values_LA == 1, active_A, inactive_A)
    balanced_LA = (active_A + inactive_A) / np.maximum(2 * counts_LA, 1)
    is_learnt_LA = ~np.isnan(values_LA) & has_both_A
    return np.where(is_learnt_LA, balanced_LA if mode == "balanced" else 1.0, 0.0).astype(np.float32)


def loss_shares(weights: np.ndarray, minibatch: np.ndarray, own: np.ndarray) -> Tensor:
    """Return the share float32 of the loss of a global minibatch that each own field has, (N,), or each cell, (N, A).

    weights: of rows of labels, (L,) or (L, A).  minibatch, own: rows of the fields.
    """
    return torch.tensor(weights[own] / (weights[minibatch].sum(dtype=float) or 1.0), dtype=torch.float32)
