"""Which sites a rank reads at a step: a pure function of (seed, epoch), the same minibatches for any number of ranks."""

from enum import IntEnum
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd

Rows = TypeVar("Rows", bound=np.ndarray | list[Any])


class Stream(IntEnum):
    """First number of a random stream's key: what it is for, so that no two streams of one seed coincide."""

    ORDER = 1         # (seed, epoch)
    AUGMENTATION = 2  # (seed, epoch, site), and the view from the second on
    FOLDS = 3         # (seed)
    RANDOM_SPLIT = 4  # (seed)
    COUNTS = 5        # ()
    HELD_OUT_WELLS = 6  # (seed, CRC-32 of class and plate)


def steps_per_epoch(num_sites: int, minibatch: int) -> int:
    """Minibatches in one pass over the training sites."""
    return -(-num_sites // minibatch)


def epoch_minibatches(num_sites: int, minibatch: int, *, seed: int, epoch: int) -> list[np.ndarray]:
    """Every site once, in random order, in global minibatches of equal size give or take one, `minibatch` at most."""
    order = np.random.default_rng([Stream.ORDER, seed, epoch]).permutation(num_sites)
    return np.array_split(order, steps_per_epoch(num_sites, minibatch))


def paired_minibatches(groups: np.ndarray, plates: np.ndarray, minibatch: int, *, seed: int,
                       epoch: int) -> list[np.ndarray]:
    """Every site once, in random order, replicates in pairs: global minibatches of `minibatch` sites at most.

    groups, plates: (S,) of each site, numbers.  The partners of a pair are of one group, and of different plates for as
    long as its sites allow it; pairs are not parted.  A group with an odd number of sites leaves one single.  The pairs of
    a group are spread evenly over the epoch, so that a minibatch holds many groups.
    """
    rng = np.random.default_rng([Stream.ORDER, seed, epoch])
    order = rng.permutation(len(groups))
    units, keys = [], []
    for group in np.unique(groups):
        own = order[groups[order] == group]
        _, plate_of_own, counts = np.unique(plates[own], return_inverse=True, return_counts=True)
        by_plate = own[np.lexsort((plate_of_own, -counts[plate_of_own]))]  # stable: plates in turn, the fullest first,
        half = (len(own) + 1) // 2                                         # so that those half a list apart are of two
        units += [by_plate[start::half] for start in rng.permutation(half)]
        keys += [(np.arange(half) + rng.random(half)) / half]
    shuffled = [units[number] for number in np.argsort(np.concatenate(keys))]
    per_step = max(1, minibatch // 2)
    parts = np.array_split(np.arange(len(units)), -(-len(units) // per_step))
    return [np.concatenate([shuffled[number] for number in part]) for part in parts]


def occurrences(sites: np.ndarray) -> np.ndarray:
    """Return how often the site at each place stands before it: 0 at its first place, 1 at its second."""
    return pd.Series(sites).groupby(sites).cumcount().to_numpy()


def shard(sites: Rows, *, rank: int, size: int) -> Rows:
    """Return what one rank computes of a minibatch, or of any list; the shares of ranks differ by one at most."""
    return cast(Rows, sites[rank::size])


def microbatches(sites: np.ndarray, microbatch: int) -> list[np.ndarray]:
    """Cut sites into microbatches of at most so many; none where there are no sites."""
    return [sites[start:start + microbatch] for start in range(0, len(sites), microbatch)]


def evenly_spaced(num_sites: int, limit: int) -> np.ndarray:
    """Return positions of at most `limit` of so many sites, spread evenly over them."""
    return np.unique(np.linspace(0, num_sites - 1, min(num_sites, limit)).round().astype(int))
