"""Which sites a rank reads at a step: a pure function of (seed, epoch), the same minibatches for any number of ranks."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """First number of a random stream's key: what it is for, so that no two streams of one seed coincide."""

    ORDER = 1         # (seed, epoch)
    AUGMENTATION = 2  # (seed, epoch, site)
    FOLDS = 3         # (seed)
    RANDOM_SPLIT = 4  # (seed)


def steps_per_epoch(num_sites: int, minibatch: int) -> int:
    """Minibatches in one pass over the training sites."""
    return -(-num_sites // minibatch)


def epoch_minibatches(num_sites: int, minibatch: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Every site once, in random order, in global minibatches of equal size give or take one, `minibatch` at most."""
    order = np.random.default_rng([Stream.ORDER, seed, epoch]).permutation(num_sites)
    return np.array_split(order, steps_per_epoch(num_sites, minibatch))


def shard(sites: Sequence, *, rank: int, size: int) -> Sequence:
    """The part of a global minibatch, or of anything in a row, that one rank computes; parts differ by one at most."""
    return sites[rank::size]


def microbatches(sites: np.ndarray, microbatch: int) -> list[np.ndarray]:
    """A rank's share in pieces of at most `microbatch` sites; no pieces where the share is empty."""
    return [sites[start:start + microbatch] for start in range(0, len(sites), microbatch)]
