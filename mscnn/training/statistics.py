"""The statistics of fields that need no network: of pixels, and handcrafted features where the channel of nuclei is known.

They are what a chosen read-out reads beside the network.  Shapes: N sites that are measured, D statistics.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import numpy as np
import torch

from mscnn.core import activity
from mscnn.core.logs import log
from mscnn.data.pixels import handcrafted
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.statistics import pixel_statistics
from mscnn.distributed.world import World
from mscnn.model import NUM_FEATURES
from mscnn.readout.tables import EMBEDDING, NETWORK, PIXELS, STATISTICS

SMALL = 64  # pixels of the side of a field without content, which tells the names of statistics


def columns_of(channels: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the names of the features of both tables as `side_by_side` joins them, for a screen with these channels."""
    return {NETWORK: [f"Root_{EMBEDDING}{number:03d}" for number in range(1, NUM_FEATURES + 1)],
            STATISTICS: _names(channels, handcrafted.nuclei_of(channels))}


def _names(channels: tuple[str, ...], nuclei: int | None) -> list[str]:
    """Return the names of what `measure` measures."""
    number = pixel_statistics(torch.zeros(1, len(channels), SMALL, SMALL)).shape[1]
    names = [f"{PIXELS}{position:03d}" for position in range(1, number + 1)]
    if nuclei is None:
        return names
    blank_CHW = np.zeros((len(channels), SMALL, SMALL), np.uint8)
    return names + list(handcrafted.features(blank_CHW, channels=channels, nuclei=nuclei))


def measure_statistics(fields: FieldReader, sites: np.ndarray, *, microbatch: int, world: World,
                       loader_thread_init: Callable[[], object] = lambda: None,
                       advance: Callable[[int], object] = lambda number: None) -> np.ndarray:
    """Return the statistics (N, D) float64 of N sites, named as by columns_of; the rest as in `measure`."""
    channels, nuclei = fields.table.channels, handcrafted.nuclei_of(fields.table.channels)
    log.info("statistics of %d fields%s", len(sites), "" if nuclei is None else
             f", and handcrafted features; nuclei in channel {channels[nuclei]}")
    return measure(fields, sites, microbatch=microbatch, world=world, nuclei=nuclei, loader_thread_init=loader_thread_init,
                   advance=advance)


def measure(fields: FieldReader, sites: np.ndarray, *, microbatch: int, world: World, nuclei: int | None = None,
            loader_thread_init: Callable[[], object] = lambda: None,
            advance: Callable[[int], object] = lambda number: None) -> np.ndarray:
    """Return the pixel statistics (N, D) float64 of N sites, and handcrafted features, on all ranks; a collective.

    Ranks share out whole microbatches, as in inference.predict: the numbers are the same on any number of ranks.
    nuclei: position of the channel that shows them; None: no handcrafted features.  advance: called with the number of
    sites that this rank has just finished.  Raises ImageError for a damaged image.
    """
    table = fields.table
    measured_ND = np.zeros((len(sites), len(_names(table.channels, nuclei))))
    share = fields.read_share(sites, microbatch=microbatch, rank=world.rank, size=world.size,
                              thread_init=loader_thread_init)
    with closing(share), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for positions, images_NCHW in share:
            activity.set_activity("measuring statistics")
            of_input_ND = pixel_statistics(images_NCHW).double().numpy()
            width = of_input_ND.shape[1]
            measured_ND[positions, :width] = of_input_ND
            if nuclei is not None:
                handcrafted_features = partial(handcrafted.features, channels=table.channels, nuclei=nuclei)
                named = pool.map(handcrafted_features, [read_pixels(table, int(sites[position])) for position in positions])
                measured_ND[positions, width:] = [list(features.values()) for features in named]
            advance(len(positions))
    return world.sum_array(measured_ND)
