"""Average precisions against those of `neighbours`, p values against counted rankings and copairs."""

import itertools

import numpy as np
import pandas as pd
import pytest

from mscnn.profiling import replicate_ranking
from mscnn.profiling.neighbours import LabelDraws, ranks, similarities
from mscnn.profiling.replicate_ranking import Rankings, compare_with_chance, rank_replicates

DRAWS = 20_000
SD = 4 * np.sqrt(0.25 / DRAWS)  # four standard deviations of a share of the draws, at most


def rankings(*queries: tuple) -> Rankings:
    """queries: number of the treatment, average precision, replicates, replicates and control wells."""
    treatment, precision, relevant, ranked = zip(*queries, strict=True)
    return Rankings(np.array(treatment), np.array(precision, float), np.array(relevant), np.array(ranked))


def test_average_precisions_are_those_of_all_treatments_ranked_at_once(monkeypatch):
    """Twelve wells of four treatments and twenty control wells, some of them equal, on three plates, in small blocks."""
    monkeypatch.setattr(replicate_ranking, "BLOCK", 4)
    rng = np.random.default_rng(0)
    features_SF = rng.integers(-1, 2, (32, 3)).astype(float)
    treatment_S, plate_S = np.repeat([0, 1, 2, 3, -1], [2, 3, 1, 6, 20]), rng.integers(3, size=32)
    order = rng.permutation(32)
    features_SF, treatment_S, plate_S = features_SF[order], treatment_S[order], plate_S[order]
    controls_N = np.flatnonzero(treatment_S == -1)
    same_SS = treatment_S[:, None] == treatment_S
    allowed_SS = (same_SS & (treatment_S >= 0)[:, None]) | ((treatment_S == -1) & (plate_S[:, None] == plate_S))
    np.fill_diagonal(allowed_SS, False)
    ranks_SS = ranks(similarities(features_SF, "cosine"), allowed_SS)
    expected_S = LabelDraws(treatment_S[None]).retrieve(slice(None), ranks_SS).precision_DQ[0]
    found = rank_replicates(features_SF, treatment_S, controls_N, plate_S)
    wells = [np.flatnonzero(treatment_S == treatment) for treatment in (0, 1, 3)]  # 2 has one well only
    assert found.precision_Q == pytest.approx(expected_S[np.concatenate(wells)])
    assert found.treatment_Q.tolist() == np.repeat([0, 1, 3], [2, 3, 6]).tolist()
    assert found.relevant_Q.tolist() == np.repeat([1, 2, 5], [2, 3, 6]).tolist()
    assert found.ranked_Q.tolist() == allowed_SS[np.concatenate(wells)].sum(axis=1).tolist()
    assert found.means()[[0, 1, 3]] == pytest.approx([expected_S[rows].mean() for rows in wells])
    assert np.isnan(found.means()[2])


def test_constant_profiles_get_the_precision_of_a_random_draw():
    found = rank_replicates(np.ones((6, 2)), np.array([0, 0, -1, -1, -1, -1]), np.arange(2, 6), np.zeros(6, int))
    assert found.precision_Q.tolist() == [0.2, 0.2]  # one replicate among five that are all alike
    zeros = rank_replicates(np.zeros((6, 2)), np.array([0, 0, -1, -1, -1, -1]), np.arange(2, 6), np.zeros(6, int))
    assert zeros.precision_Q.tolist() == [0.2, 0.2]


def test_wells_without_a_control_well_on_their_plate_are_no_queries():
    found = rank_replicates(np.eye(4), np.array([0, 0, 0, -1]), np.array([3]), np.array([0, 0, 1, 1]))
    assert (found.relevant_Q.tolist(), found.ranked_Q.tolist()) == ([2], [3])
    none = rank_replicates(np.eye(4), np.array([0, 1, -1, -1]), np.array([2, 3]), np.zeros(4, int))
    null = compare_with_chance(none, draws=10, seed=0)
    assert len(none.precision_Q) == len(null.p_T) == len(null.least_T) == len(null.chance_T) == 0


def test_control_wells_at_the_place_of_the_query_are_not_ranked():
    found = rank_replicates(np.eye(5), np.array([0, 0, -1, -1, -1]), np.arange(5), np.zeros(5, int),
                            np.array([3, 3, 3, 4, 5]))
    assert (found.relevant_Q.tolist(), found.ranked_Q.tolist()) == ([1, 1], [3, 3])


def test_p_is_the_share_of_random_rankings_as_good():
    """Two replicates among six: fifteen rankings, counted."""
    every = np.array([(1 / one + 2 / other) / 2 for one, other in itertools.combinations(range(1, 7), 2)])
    values = np.unique(every.round(9))
    null = compare_with_chance(rankings(*((number, value, 2, 6) for number, value in enumerate(values))), draws=DRAWS,
                               seed=0)
    assert null.p_T == pytest.approx([(every >= value - 1e-6).mean() for value in values], abs=SD)
    assert null.least_T == pytest.approx(1 / 15, abs=SD)
    assert null.chance_T == pytest.approx(every.mean(), abs=SD)


def test_p_is_never_0():
    null = compare_with_chance(rankings((0, 1.0, 3, 500)), draws=100, seed=0)
    assert null.p_T.tolist() == null.least_T.tolist() == [1 / 101]


def test_a_plate_with_a_control_well_less_does_not_make_queries_independent():
    """Perfect in rankings of five and of six: one in six, as the longer alone, not one in thirty."""
    null = compare_with_chance(rankings((0, 1.0, 1, 5), (0, 1.0, 1, 6), (2, 0.1, 1, 5)), draws=DRAWS, seed=0)
    assert null.p_T[[0, 2]] == pytest.approx([1 / 6, 1], abs=SD)
    assert null.least_T[[0, 2]] == pytest.approx([1 / 6, 1 / 5], abs=SD)
    assert np.isnan([null.p_T[1], null.least_T[1], null.chance_T[1]]).all()


def test_p_is_of_the_mean_over_queries():
    null = compare_with_chance(rankings((0, 1.0, 1, 5), (0, 1 / 5, 1, 5)), draws=DRAWS, seed=0)
    assert null.p_T[0] == pytest.approx(1 / 5, abs=SD)  # a mean of 0.6: of 1, 1/2, 1/3, 1/4, 1/5 only the first is as high


def test_precisions_and_p_are_those_of_copairs(tmp_path):
    """Thirty treatments of five wells, half of them weakly active, on five plates with thirty control wells each."""
    from copairs.map import average_precision, mean_average_precision

    rng = np.random.default_rng(1)
    treatment_S, plate_S = np.append(np.repeat(np.arange(30), 5), np.full(150, -1)), np.tile(np.arange(5), 60)
    features_SF = rng.normal(size=(300, 20))
    features_SF[:75] += 0.6 * np.repeat(rng.normal(size=(15, 20)), 5, axis=0)
    meta = pd.DataFrame({"Treatment": np.where(treatment_S < 0, 1000 + np.arange(300), treatment_S), "Plate": plate_S,
                         "IsControl": treatment_S < 0})
    queries = average_precision(meta, features_SF, ["Treatment"], [], ["Plate"], ["IsControl"], progress_bar=False)
    queries = queries[~queries["IsControl"]]
    theirs = mean_average_precision(queries, ["Treatment"], 2000, 0.05, 7, progress_bar=False, cache_dir=tmp_path)
    ours = rank_replicates(features_SF, treatment_S, np.arange(150, 300), plate_S)
    p = compare_with_chance(ours, draws=2000, seed=7).p_T
    assert ours.precision_Q == pytest.approx(queries["average_precision"].to_numpy())
    assert ours.ranked_Q.tolist() == queries["n_total_pairs"].tolist() == [34] * 150
    assert ours.means() == pytest.approx(theirs["mean_average_precision"].to_numpy())
    assert p == pytest.approx(theirs["p_value"].to_numpy(), abs=0.51 / 2001)  # no draw is apart
    assert (p < 0.05).sum() > 5


def test_null_distributions_of_other_runs_are_neither_read_nor_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    compare_with_chance(rankings((0, 0.5, 1, 5)), draws=10, seed=0)
    assert not list(tmp_path.iterdir())


def test_random_rankings_are_rarely_of_low_p():
    """Treated wells are drawn as control wells are: no more than one in twenty has p below 0.05, up to chance."""
    rng = np.random.default_rng(2)
    treatment_S, plate_S = np.append(np.repeat(np.arange(400), 3), np.full(48, -1)), np.tile(np.arange(3), 416)
    found = rank_replicates(rng.normal(size=(1248, 30)), treatment_S, np.arange(1200, 1248), plate_S)
    p = compare_with_chance(found, draws=2000, seed=0).p_T
    assert (p < 0.05).mean() <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 400)
    assert 0.35 < np.median(p) < 0.65
