"""Contrastive losses over a global minibatch: features of replicates, or of two views of a field, attract each other.

Supervised contrast (Khosla et al., NeurIPS 2020, equation 2) with the treatment, or the field, in place of the class; two
views of a field alone are SimCLR (Chen et al., ICML 2020).  Mechanisms are not used.

The loss needs the embeddings of all ranks and microbatches at once.  Embeddings are computed first, the loss gives their
gradients, and each microbatch then goes back through the network from its own (GradCache, Gao et al., RepL4NLP 2021).

Shapes: M fields of the global minibatch, E numbers of an embedding.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mscnn.core import config
from mscnn.training.targets import Targets

BARRED = -1e9  # similarity of a pair that is left out: its share of a softmax is 0


class Pairs(NamedTuple):
    """Which fields of a minibatch attract and repel each other; on the diagonal neither."""

    attract_MM: Tensor  # bool
    repel_MM: Tensor    # bool


class ContrastResult(NamedTuple):
    """The contrastive loss of a global minibatch."""

    loss: float            # with its weights
    gradients_ME: Tensor   # of the loss by each embedding
    matched: int           # fields whose nearest other field attracts them
    anchors: int           # fields that another one attracts


@dataclass(frozen=True)
class Contrast:
    """Contrastive losses and their weights."""

    targets: Targets           # treatments, compounds and plates of the sites
    replicate_weight: float
    view_weight: float
    temperature: float
    same_plate: bool           # only fields of the same plate repel replicates

    def loss(self, embeddings_ME: Tensor, sites_M: np.ndarray) -> ContrastResult:
        """Return the loss of a global minibatch, the same on all ranks, and its gradients by embedding.

        sites_M: positions in the table; a site that is there twice has two views.  A minibatch without any pair that
        attracts has loss 0.
        """
        leaf_ME = embeddings_ME.detach().requires_grad_()
        unit_ME = F.normalize(leaf_ME, dim=1)
        likeness_MM = unit_ME @ unit_ME.T / self.temperature
        loss, attract_MM = leaf_ME.sum() * 0, torch.zeros(likeness_MM.shape, dtype=torch.bool)
        for weight, pairs in ((self.replicate_weight, self.replicates), (self.view_weight, self.views)):
            if weight:
                found = pairs(sites_M)
                loss = loss + weight * supervised_contrast(likeness_MM, found)
                attract_MM = attract_MM | found.attract_MM
        loss.backward()
        assert leaf_ME.grad is not None
        nearest_M = likeness_MM.detach().fill_diagonal_(BARRED).argmax(dim=1)
        is_anchor_M = attract_MM.any(dim=1)
        matched_M = attract_MM[torch.arange(len(sites_M)), nearest_M] & is_anchor_M
        return ContrastResult(loss.item(), leaf_ME.grad, int(matched_M.sum()), int(is_anchor_M.sum()))

    def replicates(self, sites_M: np.ndarray) -> Pairs:
        """Return the pairs of the replicate contrast.

        Fields of one treatment attract each other across plates, or on the plate where it has only one.  Fields of other
        compounds repel.  Other doses of the same compound do neither: they may act alike.
        """
        targets = self.targets
        is_same_plate_MM = _equal(targets.plates[sites_M])
        is_across_MM = ~is_same_plate_MM | torch.from_numpy(targets.on_one_plate[sites_M])[:, None]
        attract_MM = _equal(targets.treatments[sites_M]) & is_across_MM & ~_equal(sites_M)
        repel_MM = ~_equal(targets.compounds[sites_M])
        return Pairs(attract_MM, repel_MM & is_same_plate_MM if self.same_plate else repel_MM)

    def views(self, sites_M: np.ndarray) -> Pairs:
        """Return the pairs of the view contrast: views of one field attract each other, other fields repel.

        Beside a replicate contrast only fields of other compounds repel.
        """
        apart_M = self.targets.compounds[sites_M] if self.replicate_weight else sites_M
        return Pairs(_equal(sites_M).fill_diagonal_(False), ~_equal(apart_M))


def build_contrast(objective: config.Objective, targets: Targets) -> Contrast | None:
    """Return the contrasts that an objective asks for; None where it asks for none."""
    if not (objective.replicate_weight or objective.view_weight):
        return None
    return Contrast(targets, objective.replicate_weight, objective.view_weight, objective.temperature,
                    objective.negatives == "plate")


def supervised_contrast(likeness_MM: Tensor, pairs: Pairs) -> Tensor:
    """Return the mean over anchors of -log(softmax of the likeness), averaged over the fields that attract the anchor.

    The softmax of a row runs over the fields that attract or repel.  Fields without any that attracts are no anchors.
    """
    attract_MM = pairs.attract_MM.float()
    log_share_MM = likeness_MM.masked_fill(~(pairs.attract_MM | pairs.repel_MM), BARRED).log_softmax(dim=1)
    attracting_M = attract_MM.sum(dim=1)
    losses_M = -(log_share_MM * attract_MM).sum(dim=1) / attracting_M.clamp_min(1)
    return losses_M.sum() / (attracting_M > 0).sum().clamp_min(1)


def _equal(numbers_M: np.ndarray) -> Tensor:
    """Return (M, M) bool, true where two fields have the same number."""
    return torch.from_numpy(numbers_M[:, None] == numbers_M[None])
