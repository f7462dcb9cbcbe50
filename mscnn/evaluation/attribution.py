"""Attribute a class score to channels and scales by integrated gradients (Sundararajan, Taly & Yan, ICML 2017), by captum.

Shape suffixes: N steps, C channels, H W pixels, 7 scales, B branch channels, h w grid of H/64 x W/64.
"""

from dataclasses import dataclass

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from mscnn.model import MCNN
from mscnn.model.ways import BRANCH_CHANNELS

IN_FLIGHT = 2 * 1024 * 1280  # pixels computed at once: a 1024x1280 field takes 400 MiB of activations in the dense branches
BACKGROUND = 0.05


@dataclass(frozen=True)
class Attribution:
    """What each pixel adds to a mechanism's class score, beyond the score of the field's background."""

    channels_CHW: Tensor   # sums to score - baseline_score, but for the error of the integral's steps
    scales_7hw: Tensor     # likewise
    score: float           # of the field, before softmax
    baseline_score: float  # of the background


def attribute(network: MCNN, field_CHW: Tensor, mechanism: int, *, steps: int = 24) -> Attribution:
    """Integrate the gradients of a class score from the field's own background to the field.

    field_CHW: normalised; mechanism: position among the classes; steps: of the Gauss-Legendre integral.
    Channels: along the straight line between the two fields.  Scales: along the line between the branches' outputs.
    Branches are dense here: Branch.forward is dense where its input asks for a gradient.
    """
    pair_2CHW = torch.stack([field_CHW, background(field_CHW).expand_as(field_CHW)])
    options = {"target": mechanism, "n_steps": steps, "internal_batch_size": max(1, IN_FLIGHT // field_CHW[0].numel())}
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            pair_2Bhw = network.scales(pair_2CHW)
            score, baseline_score = network.classify(network.head(pair_2Bhw))[:, mechanism].tolist()
        channels_1CHW = IntegratedGradients(network).attribute(*pair_2CHW.split(1), **options)
        scales_1Bhw = IntegratedGradients(lambda scales_NBhw: network.classify(network.head(scales_NBhw))).attribute(
            *pair_2Bhw.split(1), **options)
    finally:
        network.train(was_training)
    scales_7hw = torch.stack([part.sum(dim=0) for part in scales_1Bhw[0].detach().split(BRANCH_CHANNELS)])
    return Attribution(channels_1CHW[0].detach(), scales_7hw, score, baseline_score)


def background(field_CHW: Tensor) -> Tensor:
    """Return each channel's 5th percentile (C, 1, 1), the fill of augment.affine: a field without cells.

    Zero is no background: in a normalised field it is the mean over cells and background.
    """
    return field_CHW[:, ::4, ::4].flatten(1).quantile(BACKGROUND, dim=1)[:, None, None]
