"""Oracles: pairs counted by hand, the loss of scikit-learn-free loops, gradients by autograd over all fields at once."""

import math

import numpy as np
import pytest
import torch

from mscnn.core import config
from mscnn.training.contrast import Pairs, build_contrast, supervised_contrast
from mscnn.training.targets import Targets

# site:      0  1  2  3  4  5  6  7
TREATMENT = [0, 0, 0, 1, 1, 2, 3, 3]
COMPOUND = [0, 0, 0, 0, 0, 1, 2, 2]  # treatments 0 and 1 are two doses
PLATE = [0, 0, 1, 0, 1, 0, 2, 2]     # treatment 3 has one plate


def contrast(replicate_weight=1.0, view_weight=0.0, negatives="all", temperature=0.15):
    arrays = [np.array(numbers) for numbers in (TREATMENT, COMPOUND, PLATE)]
    one_plate = np.array([len({PLATE[s] for s in range(8) if TREATMENT[s] == treatment}) == 1 for treatment in TREATMENT])
    targets = Targets(np.arange(8), np.zeros(8), np.zeros(8), *arrays, one_plate)
    return build_contrast(config.Objective(mechanism_weight=0, replicate_weight=replicate_weight, view_weight=view_weight,
                                           negatives=negatives, temperature=temperature), targets)


def true_pairs(matrix):
    return {(int(one), int(other)) for one, other in matrix.nonzero().tolist()}


def test_replicates_attract_across_plates_and_other_compounds_repel():
    pairs = contrast().replicates(np.arange(8))
    assert true_pairs(pairs.attract_MM) == {(0, 2), (1, 2), (2, 0), (2, 1), (3, 4), (4, 3), (6, 7), (7, 6)}
    assert true_pairs(pairs.repel_MM) == {(one, other) for one in range(8) for other in range(8)
                                          if COMPOUND[one] != COMPOUND[other]}


def test_with_negatives_of_the_plate_fields_of_other_plates_do_not_repel():
    pairs = contrast(negatives="plate").replicates(np.arange(8))
    assert true_pairs(pairs.repel_MM) == {(5, other) for other in (0, 1, 3)} | {(other, 5) for other in (0, 1, 3)}


def test_views_of_a_field_attract_and_other_fields_repel():
    sites = np.array([0, 0, 2, 5])
    alone = contrast(0.0, 1.0).views(sites)
    assert true_pairs(alone.attract_MM) == {(0, 1), (1, 0)}
    assert true_pairs(alone.repel_MM) == {(one, other) for one in range(4) for other in range(4)
                                          if one != other} - {(0, 1), (1, 0)}
    pairs = contrast(1.0, 1.0).views(sites)  # of the same compound neither
    assert true_pairs(pairs.attract_MM) == {(0, 1), (1, 0)}
    assert true_pairs(pairs.repel_MM) == {(3, 0), (3, 1), (3, 2), (0, 3), (1, 3), (2, 3)}
    for site in (0, 6):  # the treatment of 6 is on one plate
        assert not contrast().replicates(np.array([site, site, 2])).attract_MM[:2, :2].any()  # a view is no replicate


def test_the_loss_is_the_mean_over_anchors_of_their_mean_over_what_attracts():
    likeness = torch.tensor([[9.0, 1.0, 2.0, 0.5], [1.0, 9.0, -1.0, 0.0], [2.0, -1.0, 9.0, 3.0], [0.5, 0.0, 3.0, 9.0]])
    attract = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    repel = torch.tensor([[0, 0, 0, 1], [1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]]).bool()
    of_first = math.exp(1) + math.exp(2) + math.exp(0.5)
    expected = (-(1 - math.log(of_first)) / 2 - (2 - math.log(of_first)) / 2 + 0.0) / 2  # rows 1 and 3 are no anchors
    assert supervised_contrast(likeness, Pairs(attract, repel)).item() == pytest.approx(expected, rel=1e-6)


def test_gradients_are_those_of_the_whole_minibatch():
    sites = np.repeat([0, 2, 3, 4, 5, 7], 2)
    embeddings = torch.randn(len(sites), 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = contrast(0.7, 0.4)

    def loss(embeddings_ME):
        unit = embeddings_ME / embeddings_ME.norm(dim=1, keepdim=True)
        return (0.7 * supervised_contrast(unit @ unit.T / 0.15, both.replicates(sites))
                + 0.4 * supervised_contrast(unit @ unit.T / 0.15, both.views(sites)))

    result = both.loss(embeddings, sites)
    assert result.loss == pytest.approx(loss(embeddings).item(), rel=1e-9)
    for place, number in ((0, 0), (7, 3), (11, 4)):  # by differences
        moved = [embeddings.clone(), embeddings.clone()]
        moved[0][place, number] += 1e-6
        moved[1][place, number] -= 1e-6
        slope = (loss(moved[0]) - loss(moved[1])) / 2e-6
        assert result.gradients_ME[place, number].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-7)


def test_matched_counts_fields_whose_nearest_other_attracts_them():
    towards = {0: 0.0, 2: 0.1, 3: 3.0, 4: 2.0, 5: 2.1}  # angles: 4 lies nearest to 5, 3 to 5
    embeddings = torch.tensor([[math.cos(angle), math.sin(angle)] for angle in towards.values()])
    result = contrast().loss(embeddings, np.array([*towards]))
    assert (result.matched, result.anchors) == (2, 4)
    both = contrast(1.0, 1.0).loss(torch.cat([embeddings[:2], embeddings[:1]]), np.array([0, 2, 0]))
    assert (both.matched, both.anchors) == (3, 3)  # 2 has replicates, and no view


def test_a_minibatch_without_a_pair_has_loss_and_gradient_0():
    result = contrast().loss(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), np.array([0, 3, 5]))
    assert (result.loss, result.anchors) == (0, 0)
    assert not result.gradients_ME.any()
    assert build_contrast(config.Objective(), None) is None
