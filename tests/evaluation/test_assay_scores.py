import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mscnn.evaluation import assay_scores
from mscnn.evaluation.assay_scores import AssayScore, AssayScores, Estimate, ranking_scores, score

NAN = np.nan


def compounds(**assays):
    """A table of compounds; assays: values and probabilities of each."""
    number = len(next(iter(assays.values()))[0])
    table = pd.DataFrame({"Metadata_Compound": [f"c{place}" for place in range(number)], "Metadata_MOA": ""})
    return table.assign(**{f"Assay_{name}": np.array(values, float) for name, (values, _) in assays.items()},
                        **{f"Probability_{name}": np.array(of, float) for name, (_, of) in assays.items()})


FIVE = ([1, 0, 1, 0, NAN], [0.9, 0.8, 0.7, 0.1, 0.95])


def test_five_compounds_by_hand():
    """Ranked 1 0 1 0, but for the compound that was not measured: 3 of 4 pairs are right; precision 1 and 2/3."""
    found = score(compounds(x=FIVE))
    assert (found.compounds, found.assays["x"].active, found.assays["x"].inactive) == (5, 2, 2)
    assert found.assays["x"].auc.value == 0.75 == found.mean_auc.value
    assert found.assays["x"].average_precision.value == pytest.approx(5 / 6) == found.mean_average_precision.value
    assert found.assays["x"].prevalence == 0.5


def test_equal_probabilities_count_half():
    assert score(compounds(x=([1, 0, 1, 0], [0.5] * 4))).assays["x"].auc.value == 0.5


def test_weighted_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    active, probabilities = rng.random(40) < 0.3, rng.integers(0, 8, 40) / 8  # many ties
    weights = rng.multinomial(40, np.full(40, 1 / 40), 20)
    expected = [[of(active, probabilities, sample_weight=row) for row in weights]
                for of in (roc_auc_score, average_precision_score)]
    np.testing.assert_allclose(ranking_scores(active, probabilities, weights), expected, rtol=1e-12)


def test_draws_with_one_class_are_left_out_and_counted():
    """Of four compounds with one active, (3/4)^4 of the draws lack it, (1/4)^4 hold nothing else."""
    found = score(compounds(x=([1, 0, 0, 0], [0.4, 0.1, 0.5, 0.2])), draws=20000).assays["x"]
    expected = 1 - 0.75**4 - 0.25**4
    assert found.draws / 20000 == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 20000))
    assert np.isnan(ranking_scores(np.array([True, False]), np.array([0.1, 0.2]), np.array([[2, 0], [0, 2]]))).all()


@pytest.mark.parametrize(("values", "not_learnt", "reason"), [
    ([1, 1, NAN, 1], (), assay_scores.ONE_CLASS), ([0, 0, NAN, 0], (), assay_scores.ONE_CLASS),
    ([NAN] * 4, (), assay_scores.UNKNOWN), ([1, 0, 1, 0], ("y",), assay_scores.NOT_LEARNT)])
def test_an_assay_that_cannot_be_scored_has_a_reason_and_the_others_are_scored(values, not_learnt, reason, caplog):
    caplog.set_level("INFO")
    found = score(compounds(x=([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]), y=(values, [0.1] * 4)), not_learnt)
    y = found.assays["y"]
    assert (y.auc, y.average_precision, y.reason) == (None, None, reason)
    assert list(found.scored()) == ["x"]
    assert found.mean_auc.value == 0.75
    assay_scores.log_scores(found)
    assert f"assays not scored: 1 ({reason}): y" in caplog.text
    assert "mean 0.750 over 1 of 2 assays" in caplog.text


def test_without_any_scored_assay_there_is_no_mean():
    for table in (compounds(x=([1, 1], [0.1, 0.2])), compounds(x=([], []))):
        found = score(table)
        assert (found.mean_auc, found.mean_average_precision, found.chance_precision) == (None, None, None)
        assay_scores.log_scores(found)


def test_the_interval_of_few_compounds_is_not_a_point():
    """A perfect ranking of 2 active and 8 inactive compounds: the exact binomial interval of 2 of 2 is from 0.158 to 1."""
    found = score(compounds(x=([1, 1] + [0] * 8, np.linspace(1, 0, 10)))).assays["x"]
    assert (found.auc.value, found.auc.high, found.average_precision.value) == (1, 1, 1)
    assert found.auc.low == pytest.approx(0.025 ** (1 / 2))
    assert found.average_precision.low == pytest.approx(0.025 ** (1 / 2))


def drawn_screen(seed, actives, number, separation):
    rng = np.random.default_rng(seed)
    active = np.arange(number) < actives
    return active, rng.normal(size=number) + separation * active


@pytest.mark.parametrize(("actives", "number"), [(5, 25), (30, 60)])
def test_intervals_hold_the_true_auc_in_about_95_of_100_screens(actives, number):
    """Normal scores 1 sd apart: the true AUC is 0.760. Of 100 screens the binomial sd of the coverage is 2.2."""
    held = 0
    for seed in range(100):
        active, scores = drawn_screen(seed, actives, number, 1.0)
        found = score(compounds(x=(active, scores)), draws=200).assays["x"].auc
        held += found.low <= 0.7602 <= found.high
    assert held >= 89  # 95 less 3 sd; intervals may be wider


def test_the_mean_and_its_draws_are_over_assays():
    """Two copies of an assay: the mean is the assay's, and so are the percentiles of its bootstrap."""
    active, scores = drawn_screen(1, 20, 60, 1.0)
    one, two = (score(table, draws=60) for table in (
        compounds(x=(active, scores)), compounds(x=(active, scores), y=(active, scores))))
    assert two.mean_auc == one.mean_auc
    drawn = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), 60)
    of_draws = [roc_auc_score(active, scores, sample_weight=row) for row in drawn]
    expected = np.quantile(of_draws, [0.025, 0.975]) - np.mean(of_draws) + one.mean_auc.value
    np.testing.assert_allclose([one.mean_auc.low, one.mean_auc.high], expected, rtol=1e-9)
    opposite = score(compounds(x=(active, scores), y=(~active, scores)))
    assert opposite.mean_auc.value == pytest.approx(0.5)
    assert (opposite.mean_auc.low, opposite.mean_auc.high) == pytest.approx((0.5, 0.5))  # each draw's mean is 0.5


@pytest.mark.parametrize("active", [1, 2, 4, 5])
def test_the_average_precision_by_chance_is_the_mean_over_all_orders(active):
    values = [1] * active + [0] * (5 - active)
    of_orders = [average_precision_score(order, [5, 4, 3, 2, 1]) for order in itertools.permutations(values)]
    assert AssayScore(active, 5 - active, reason="none").chance_precision == pytest.approx(np.mean(of_orders))


def test_intervals_of_the_mean_average_precision_lie_about_it():
    """Of 24 compounds, drawn anew, draws have a higher average precision: the interval does not follow them up."""
    active, scores = drawn_screen(3, 8, 24, 0.5)
    found = score(compounds(x=(active, scores))).mean_average_precision
    drawn = ranking_scores(active, scores, np.random.default_rng(1).multinomial(24, np.full(24, 1 / 24), 2000))[1]
    assert drawn.mean() > found.value + 0.02
    assert 0.5 < (found.high - found.value) / (found.value - found.low) < 2


def test_scores_are_a_table_and_a_record():
    found = score(compounds(x=FIVE, y=([1, 1, 1, 1, 1], [0.1] * 5)), networks=3)
    assert AssayScores.from_json(found.to_json()) == found
    table = assay_scores.table(found).set_index("assay")
    assert table.loc["x", ["active", "inactive", "prevalence", "auc"]].tolist() == [2, 2, 0.5, 0.75]
    assert table.loc["x", "auc_low"] == found.assays["x"].auc.low
    assert np.isnan(table.loc["y", "auc"])
    assert table.loc["y", "reason"] == assay_scores.ONE_CLASS
    assert found.counts() == {"x": (2, 2), "y": (5, 0)}


def test_records_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="interval from"):
        Estimate(0.5, 0.6, 0.4)
    with pytest.raises(ValueError, match="only some"):
        AssayScore(1, 1, Estimate(0.5, 0.4, 0.6))
    with pytest.raises(ValueError, match="only some"):
        AssayScore(1, 1)
