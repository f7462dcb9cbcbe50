"""Batch -> loss and sums; what is wrapped for several ranks.  Exercised by `pytest tests/test_objective.py`.

Shapes: N fields of a microbatch, C channels, H W pixels, K classes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Objective(nn.Module):
    """Weighted cross-entropy summed over a microbatch, scaled so that summing over all microbatches gives the mean."""

    def __init__(self, network: nn.Module, label_smoothing: float = 0.0):
        super().__init__()
        self.network, self.label_smoothing = network, label_smoothing

    def forward(self, fields_NCHW: Tensor, labels_N: Tensor, weights_N: Tensor) -> dict[str, Tensor]:
        """weights_N: each field's share of the global minibatch's loss (they sum to 1 over it); 0 for padding.

        Returns "loss" (to differentiate) and "correct" (number of fields, padding left out), both scalars.
        """
        scores_NK = self.network(fields_NCHW)
        losses_N = F.cross_entropy(scores_NK.float(), labels_N, reduction="none", label_smoothing=self.label_smoothing)
        right_N = (scores_NK.argmax(dim=1) == labels_N) & (weights_N > 0)
        return {"loss": (losses_N * weights_N).sum(), "correct": right_N.sum()}


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
    """Each own field's share of the loss of its global minibatch, (N,) float32, by per-site weights."""
    return torch.tensor(weights[own] / weights[minibatch].sum(), dtype=torch.float32)
