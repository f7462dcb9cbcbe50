"""An exact pass of prediction: each site once, the same numbers on any number of ranks.

Shapes: S sites, N fields of a microbatch, C channels, H W pixels, K classes, F features.
"""

from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from mscnn.core import activity
from mscnn.data.pixels.reader import FieldReader
from mscnn.distributed.world import World
from mscnn.model import MCNN, NUM_FEATURES
from mscnn.model.acceleration import Acceleration


def flips_and_turns(images_NCHW: Tensor) -> list[Tensor]:
    """Return the fields and their mirror images, where they are square also turned by a quarter: 4 or 8 views."""
    turned = [images_NCHW, images_NCHW.transpose(2, 3)] if images_NCHW.shape[2] == images_NCHW.shape[3] else [images_NCHW]
    return [image.flip(axes) for image in turned for axes in ([], [2], [3], [2, 3])]


def predict(network: MCNN, fields: FieldReader, sites: np.ndarray, *, microbatch: int, world: World,
            acceleration: Acceleration, tta: bool = False, assays: bool = False,
            loader_thread_init: Callable[[], object] = lambda: None,
            advance: Callable[[int], object] = lambda number: None) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (S, K) and features (S, F) float64 of the given sites, known to all ranks; a collective.

    Ranks share out whole microbatches, which are the same for any number of ranks: so are the numbers to the last bit, with
    the same threads a rank.  tta: test-time augmentation, features are means over flips_and_turns and probabilities the
    classifier's of these means.  assays: the outputs are assays, each with a probability of its own.  advance:
    called with the number of sites that this rank has just finished.
    """
    num_classes = network.classify.out_features
    computed = np.zeros((len(sites), num_classes + NUM_FEATURES + 1))  # the last column counts
    share = fields.read_share(sites, microbatch=microbatch, rank=world.rank, size=world.size, place=acceleration.place,
                              thread_init=loader_thread_init)
    network.eval()
    with torch.inference_mode(), acceleration.autocast(), closing(share):
        for positions, images_NCHW in share:
            features = []
            for view_NCHW in flips_and_turns(images_NCHW) if tta else [images_NCHW]:
                activity.set_activity("predicting")
                features.append(network.features(acceleration.place(view_NCHW)))
            features_NF = torch.stack(features).mean(0)
            scores_NK = network.classify(features_NF).double()
            probabilities_NK = torch.sigmoid(scores_NK) if assays else torch.softmax(scores_NK, dim=1)
            computed[positions, :-1] = torch.cat([probabilities_NK, features_NF.double()], dim=1).numpy()
            computed[positions, -1] += 1
            advance(len(positions))
    network.train()
    computed = world.sum_array(computed)
    assert (computed[:, -1] == 1).all(), "a field was not predicted exactly once"
    return computed[:, :num_classes], computed[:, num_classes:-1]
