from collections import Counter

import numpy as np
import pytest

from mscnn.data.tables.sampler import (
    epoch_minibatches,
    evenly_spaced,
    microbatches,
    occurrences,
    paired_minibatches,
    shard,
    steps_per_epoch,
)


@pytest.mark.parametrize(("num_sites", "minibatch"), [(10, 4), (264, 16), (7, 7), (5, 8), (9, 1)])
def test_an_epoch_takes_every_site_once_in_even_minibatches(num_sites, minibatch):
    parts = epoch_minibatches(num_sites, minibatch, seed=0, epoch=3)
    assert len(parts) == steps_per_epoch(num_sites, minibatch) == int(np.ceil(num_sites / minibatch))
    assert sorted(np.concatenate(parts)) == list(range(num_sites))
    sizes = {len(part) for part in parts}
    assert max(sizes) <= minibatch
    assert max(sizes) - min(sizes) <= 1


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        return np.concatenate(epoch_minibatches(50, 8, seed=seed, epoch=epoch)).tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shards_cover_a_minibatch_without_overlap(size):
    sites = np.arange(100, 105)
    parts = [shard(sites, rank=rank, size=size) for rank in range(size)]
    assert sorted(np.concatenate(parts)) == sites.tolist()
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_microbatches_keep_order_and_bound():
    assert [part.tolist() for part in microbatches(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
    assert microbatches(np.arange(0), 2) == []


def test_a_sample_is_spread_over_the_table():
    assert evenly_spaced(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(101, 3).tolist() == [0, 50, 100]


GROUPS = np.repeat([0, 1, 2, 3], [7, 4, 5, 1])
PLATES = np.array([*[0, 0, 0, 0, 1, 1, 2], *[0, 0, 0, 0], *[0, 1, 2, 3, 4], 0])


@pytest.mark.parametrize("minibatch", [2, 4, 6, 7, 100])
def test_an_epoch_of_pairs_takes_every_site_once(minibatch):
    epochs = [paired_minibatches(GROUPS, PLATES, minibatch, seed=3, epoch=epoch) for epoch in range(10)]
    for parts in epochs:
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(GROUPS)))
        sizes = [len(part) for part in parts]
        assert max(sizes) <= minibatch
        assert max(sizes) - min(sizes) <= 4  # a pair more or less, and two singles
    assert len({len(parts) for parts in epochs}) == 1
    epochs.append(paired_minibatches(GROUPS, PLATES, minibatch, seed=4, epoch=0))
    assert len({tuple(np.concatenate(parts).tolist()) for parts in epochs}) == 11  # the seed counts, too


def test_pairs_are_of_one_group_and_of_two_plates_where_there_are_two():
    for epoch in range(20):
        pairs = [part for part in paired_minibatches(GROUPS, PLATES, 2, seed=3, epoch=epoch) if len(part) == 2]
        assert all(GROUPS[one] == GROUPS[other] for one, other in pairs)
        assert Counter(GROUPS[one] for one, _ in pairs) == {0: 3, 1: 2, 2: 2}  # of 7, 4 and 5 sites
        apart = Counter(GROUPS[one] for one, other in pairs if PLATES[one] != PLATES[other])
        assert apart == {0: 3, 2: 2}  # all that can be: of the 7 four are on one plate; group 1 has one plate


def test_pairs_of_a_group_are_spread_evenly_over_an_epoch():
    groups = np.repeat([0, 1, 2, 3], 8)
    for part in paired_minibatches(groups, np.tile([0, 1], 16), 8, seed=3, epoch=0):  # a pair of each group
        assert Counter(groups[part].tolist()) == {0: 2, 1: 2, 2: 2, 3: 2}


def test_partners_and_the_plates_that_come_first_change_from_epoch_to_epoch():
    plates = np.repeat([0, 1, 2, 3], 2)
    epochs = [paired_minibatches(np.zeros(8, int), plates, 2, seed=3, epoch=epoch) for epoch in range(20)]
    assert len({frozenset(pair.tolist()) for pairs in epochs for pair in pairs if 0 in pair}) == 2
    assert len({frozenset(plates[pairs[0]].tolist()) for pairs in epochs}) == 2


def test_occurrences_count_each_site_from_0():
    assert occurrences(np.array([5, 3, 5, 5, 3])).tolist() == [0, 0, 1, 2, 1]
    assert occurrences(np.array([], dtype=int)).tolist() == []
