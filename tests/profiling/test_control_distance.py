"""Distances from control wells, by scikit-learn and by leaving wells out of the table."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from mscnn.profiling import control_distance
from mscnn.profiling.control_distance import control_spread, null_distances, null_groups, plate_medians, residuals

PLATES = np.repeat([0, 1, 2], 8)           # of 24 wells
PLACES = np.tile([0, 1, 2, 3, 4, 5, 6, 7], 3)
CONTROLS = np.flatnonzero(PLACES < 6)


@pytest.mark.parametrize("features", [5, 40])  # fewer and more than wells
def test_distances_are_mahalanobis_of_scikit_learns_covariance(features):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, features)) * np.exp(rng.normal(size=features))
    scaled = values / np.sqrt((values**2).mean(axis=0))
    theirs = LedoitWolf(assume_centered=True).fit(scaled)
    new = rng.normal(size=(7, features))
    ours = control_spread(values, np.full(features, 1e-3)).distances(new)
    assert ours == pytest.approx(np.sqrt(theirs.mahalanobis(new / np.sqrt((values**2).mean(axis=0)))), rel=1e-6)


def test_a_feature_that_hardly_varies_in_control_wells_is_scaled_by_all_wells_or_left_out():
    values = np.random.default_rng(0).normal(size=(20, 3)) * [1, 1e-6, 1]
    values[:11, 2] = 0  # as in most control wells
    found = control_spread(values, np.ones(3))
    assert found.varies_F.tolist() == [True, True, False]
    assert found.scale_V == pytest.approx([np.sqrt((values[:, 0] ** 2).mean()), 0.25])  # LEAST_SHARE of 1
    assert control_spread(np.zeros((20, 3)), np.ones(3)) is None


def test_groups_of_control_wells_share_a_position_and_no_well():
    groups = null_groups((1, 1), PLATES, PLACES, CONTROLS)
    assert len(groups) == 9  # of 18 wells
    rows = np.concatenate(groups)
    assert len(set(rows)) == len(rows)
    assert all(PLATES[one] != PLATES[other] for one, other in groups)
    assert sum(PLACES[one] == PLACES[other] for one, other in groups) == 6  # of three wells at a position one is left over
    assert [len(group) for group in null_groups((2,), PLATES, PLACES, CONTROLS)] == [2] * 9
    assert null_groups((4,), PLATES, PLACES, CONTROLS) == []  # two of six would be left for the median
    counts = [np.bincount(PLATES[group]).max() for group in null_groups((2, 1), PLATES, PLACES, CONTROLS)]
    assert counts == [2] * 6


@pytest.mark.parametrize("pattern", [(1,), (1, 1), (2, 1)])
def test_a_group_is_measured_as_wells_that_the_table_would_not_count_as_control(pattern, monkeypatch):
    monkeypatch.setattr(control_distance, "FOLDS", 100)  # each group is a fold
    features_SF = np.random.default_rng(0).normal(size=(24, 10))
    groups, spread_F = null_groups(pattern, PLATES, PLACES, CONTROLS), features_SF.std(axis=0)
    found = null_distances(features_SF, PLATES, CONTROLS, groups, spread_F)
    for group, distance in zip(groups, found, strict=True):
        others = np.array([row for row in CONTROLS if row not in group])
        model = control_spread(residuals(features_SF, PLATES, others), spread_F)
        relative_SF = features_SF - plate_medians(features_SF, PLATES, others)[PLATES]
        assert distance == pytest.approx(model.distances(relative_SF[group].mean(axis=0)[None])[0])


def test_residuals_are_enlarged_by_the_wells_own_part_in_the_median():
    values = np.array([0.0, 2.0, 4.0, 10.0, 7.0])[:, None]
    found = residuals(values, np.array([0, 0, 0, 0, 1]), np.arange(5))
    assert found[:, 0] == pytest.approx(np.array([-3, -1, 1, 7]) * np.sqrt(4 / 3))  # a well alone has no residual
