"""Z', SSMD, AUC and rates: by hand, and against scipy and scikit-learn."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from mscnn.core.records import Record
from mscnn.evaluation.plate_statistics import (
    NO_BOUND,
    NO_HIGHER,
    NO_SPREAD,
    Measure,
    Rate,
    Wells,
    auc,
    measure,
    measure_auc,
    rate,
    robust_z_prime,
    ssmd,
    z_prime,
)

CONTROL, EFFECT = np.array([0.0, 1.0, 2.0]), np.array([10.0, 12.0, 14.0])  # mean 1 and 12, sd 1 and 2


def side(values, plate="P1"):
    return Wells(np.asarray(values, float), np.array([plate] * len(values)))


def test_z_prime_and_ssmd_by_hand():
    assert z_prime(CONTROL, EFFECT) == pytest.approx(1 - 3 * (1 + 2) / 11)
    assert ssmd(CONTROL, EFFECT) == pytest.approx(11 / math.sqrt(1 + 4))
    # medians 1 and 12, MADs 1 and 2
    assert robust_z_prime(CONTROL, EFFECT) == pytest.approx(1 - 3 * 1.482602218505602 * (1 + 2) / 11)
    one, other = (np.append(CONTROL, outlier) for outlier in (9.0, 9000.0))
    assert robust_z_prime(one, EFFECT) == robust_z_prime(other, EFFECT)
    assert z_prime(one, EFFECT) > z_prime(other, EFFECT)


def test_an_effect_below_the_control_is_not_separable():
    assert z_prime(EFFECT, CONTROL) == -np.inf  # by the absolute distance it would be 0.18
    assert measure(z_prime, side(EFFECT), side(CONTROL)).reason == NO_HIGHER
    assert measure(z_prime, side([1.0] * 3), side([1.0] * 3)).reason == NO_HIGHER
    assert measure(ssmd, side([1.0] * 3), side([1.0] * 3)).reason == NO_SPREAD
    assert measure(ssmd, side([1.0] * 3), side([2.0] * 3)).reason == NO_BOUND
    assert measure(z_prime, side([1.0] * 3), side([2.0] * 3)).value == 1


def test_auc_is_that_of_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    control, effect = rng.integers(0, 6, 40), rng.integers(2, 8, 25)
    expected = roc_auc_score(np.repeat([0, 1], [40, 25]), np.concatenate([control, effect]))
    assert auc(control, effect) == pytest.approx(expected, abs=1e-12)


def test_a_perfect_order_of_few_wells_is_no_certainty():
    found = measure_auc(side([1.0, 2, 3, 4]), side([5.0, 6, 7, 8, 9]))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(stats.binomtest(4, 4).proportion_ci(0.95, method="exact").low)
    assert measure_auc(side([]), side([1.0])).reason == "no wells of a side"


def test_statistics_of_many_draws_are_those_of_each():
    rng = np.random.default_rng(1)
    controls, effects = rng.normal(0, 1, (5, 7)), rng.normal(3, 2, (5, 4))
    for statistic in (z_prime, robust_z_prime, ssmd, auc):
        one_by_one = [float(statistic(*pair)) for pair in zip(controls, effects, strict=True)]
        assert statistic(controls, effects) == pytest.approx(one_by_one)


def test_too_few_wells_have_a_reason_and_no_number():
    assert measure(z_prime, side(CONTROL[:2]), side(EFFECT)) == Measure(reason="fewer than 3 wells of a side")
    assert measure(auc, side(CONTROL[:1]), side(EFFECT), fewest=1).value == 1
    with pytest.raises(ValueError, match="neither a value nor a reason"):
        Measure()


def test_intervals_cover_the_truth_and_are_wider_where_plates_differ():
    rng = np.random.default_rng(2)
    truth, covered = 1 - 3 * (1 + 1) / 12, 0
    for _ in range(40):
        found = measure(z_prime, side(rng.normal(0, 1, 60)), side(rng.normal(12, 1, 60)))
        covered += found.low <= truth <= found.high
    assert covered >= 34  # of 40; 38 are expected, and 34 or more in 99 % of runs
    plates = np.repeat([f"P{number}" for number in range(6)], 5)
    shift = np.repeat([0, 0, 0, 6, 6, 6], 5)
    control, effect = rng.normal(0, 1, 30), rng.normal(9, 1, 30) - shift
    together = measure(ssmd, Wells(control, np.array(["P"] * 30)), Wells(effect, np.array(["P"] * 30)))
    apart = measure(ssmd, Wells(control, plates), Wells(effect, plates))
    assert apart.high - apart.low > together.high - together.low


@pytest.mark.parametrize(("hits", "total"), [(0, 4), (1, 12), (6, 6), (10, 200)])
def test_rates_on_one_plate_are_exact_binomial(hits, total):
    found = rate(np.arange(total) < hits, np.array(["P1"] * total))
    expected = stats.binomtest(hits, total).proportion_ci(0.95, method="exact")
    assert (found.count, found.total, found.low, found.high) == (hits, total, expected.low, expected.high)


def test_wells_that_are_hit_together_on_a_plate_widen_the_interval():
    plates = np.repeat([f"P{number}" for number in range(8)], 50)
    is_hit = plates == "P3"  # all of one plate
    found, exact = rate(is_hit, plates), stats.binomtest(50, 400).proportion_ci(0.95, method="exact")
    # Of 8 drawn plates 0 are P3 in 34 % of draws, and 4 or more in 1.1 %: the percentiles are 0 and 3 of 8.
    assert (found.low, found.high) == (0.0, 0.375)
    assert found.high > exact.high


def test_records_are_read_as_written():
    for record in (rate(np.array([True, False]), np.array(["a", "b"])), measure(z_prime, side(CONTROL), side(EFFECT)),
                   Rate(0, 0), Measure(reason="none")):
        assert isinstance(record, Record)
        assert type(record).from_json(record.to_json()) == record
    assert Rate(0, 0).share is None
