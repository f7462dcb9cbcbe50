"""Intervals and nulls against exact ones."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mscnn.profiling.resampling import Difference, LabelPermutation, difference, interval, permutation_test, sign_flip_p


def test_interval_of_compounds_with_one_treatment_each_is_the_binomials():
    found = interval(np.arange(40) % 2 == 0, np.arange(40))
    exact = stats.binomtest(20, 40).proportion_ci(method="exact")  # wider than the bootstrap, which is 35 to 65 %
    assert [found.low, found.high] == pytest.approx([exact.low, exact.high])
    assert found.compounds == 40


def test_unequal_compounds_widen_the_interval_beyond_the_binomials():
    """One compound has 60 of 100 fields: whether it is drawn decides, and no binomial of 41 knows of it."""
    compounds, right = np.repeat(np.arange(41), [60, *[1] * 40]), np.repeat([True, False], [60, 40])
    found = interval(right, compounds, draws=20000)
    draws = np.random.default_rng(1).multinomial(41, np.full(41, 1 / 41), size=20000)
    shares = 60 * draws[:, 0] / (60 * draws[:, 0] + draws[:, 1:].sum(axis=1))
    assert [found.low, found.high] == pytest.approx(np.quantile(shares, [0.025, 0.975]), abs=0.02)


def test_more_right_is_never_a_lower_interval():
    """From all of 45 to none, compound by compound: 44 of 45 must not look surer than 45 of 45."""
    compounds = np.arange(45) // 3
    bounds = [interval(np.arange(45) < right, compounds) for right in range(46)]
    for bound in ("low", "high"):
        values = [getattr(found, bound) for found in bounds]
        assert values == sorted(values)


def test_many_treatments_of_few_compounds_do_not_narrow_the_interval():
    """Each compound's treatments agree: ten times as many of them change nothing."""
    right = np.array([True, True, False, True, True, False, True, True])
    once = interval(right, np.arange(8))
    tenfold = interval(np.repeat(right, 10), np.repeat(np.arange(8), 10))
    assert (tenfold.low, tenfold.high) == (once.low, once.high)
    assert once.high - once.low > 0.5


def test_all_right_is_not_certain():
    found = interval(np.ones(45, bool), np.arange(45) % 14)
    assert found.high == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 14))  # the chance of 14 of 14 is 2.5 %: Clopper and Pearson
    assert interval(np.zeros(3, bool), np.arange(3)).high == pytest.approx(1 - 0.025 ** (1 / 3))


def test_one_compound_says_nothing():
    found = interval(np.array([True, True, False]), np.zeros(3))
    assert found.low < 0.05
    assert found.high > 0.95


def test_the_same_seed_gives_the_same_interval():
    right, compounds = np.arange(100) < 60, np.repeat(np.arange(41), [60, *[1] * 40])
    assert interval(right, compounds, seed=3, draws=20) == interval(right, compounds, seed=3, draws=20)
    assert interval(right, compounds, seed=3, draws=20) != interval(right, compounds, seed=4, draws=20)


def share_of_like(truth):
    return lambda labels_DT: (labels_DT == truth).mean(axis=1)


def test_labels_move_with_their_compounds():
    """Two compounds of M and N with many treatments: labels are as they are, or the other way round, one half each."""
    compounds = np.repeat(["a", "b"], [10, 30])
    labels = np.repeat(["M", "N"], [10, 30])
    null = permutation_test(share_of_like(np.repeat([0, 1], [10, 30])), labels, compounds, draws=2000)
    assert null.mean == pytest.approx(0.5, abs=0.05)  # 1 or 0; 4 sd
    assert null.p == pytest.approx(0.5, abs=0.05)


def test_labels_stay_within_their_groups():
    """M and N of one week, O and P of another, each only exchanged with its like: 4 orders, of which one is all right."""
    truth = np.arange(4)
    null = permutation_test(share_of_like(truth), np.array(list("MNOP")), truth, np.array(["W1", "W1", "W2", "W2"]),
                            draws=4000)
    assert null.mean == pytest.approx(0.5, abs=0.03)
    assert null.p == pytest.approx(0.25, abs=0.03)
    alone = permutation_test(share_of_like(truth), np.array(list("MNOP")), truth, truth, draws=50)
    assert (alone.mean, alone.p) == (1.0, 1.0)


def test_what_can_never_be_scored_has_no_null():
    null = permutation_test(lambda labels_DT: np.full(len(labels_DT), np.nan), np.array(["M", "N"]), np.arange(2))
    assert null == LabelPermutation(0, None, None, None)


def is_told(change, total=None):
    """Return whether the interval of these changes leaves 0 out."""
    found = difference(np.asarray(change, float), np.zeros(len(change)), np.ones(len(change)) if total is None else total,
                       draws=100)
    return found.low > 0 or found.high < 0


@pytest.mark.parametrize("compounds", range(4, 15))
def test_two_that_are_alike_are_rarely_told_apart(compounds):
    """Enumerated: of compounds in which two differ, each is in favour of one or the other with a chance of a half."""
    for discordant in range(1, compounds + 1):
        counts = [math.comb(discordant, better) for better in range(discordant + 1)]
        told = [is_told([1] * better + [-1] * (discordant - better) + [0] * (compounds - discordant))
                for better in range(discordant + 1)]
        assert sum(count for count, is_so in zip(counts, told, strict=True) if is_so) / 2 ** discordant <= 0.05
        exact = [stats.binomtest(better, discordant).pvalue <= 0.05 for better in range(discordant + 1)]  # the sign test
        assert not any(is_so and not is_exact for is_so, is_exact in zip(told, exact, strict=True))
        assert told[-1] == exact[-1] == (discordant >= 6)


def test_compounds_of_several_sizes_that_are_alike_are_rarely_told_apart():
    """Each of the 2^9 signs of changes of any size is as likely as the others."""
    rng = np.random.default_rng(0)
    change_C, total_C = rng.random(9), rng.integers(1, 9, 9)
    signs_SC = np.array(list(itertools.product((-1, 1), repeat=9)))
    assert np.mean([is_told(signs_C * change_C * total_C, total_C) for signs_C in signs_SC]) <= 0.05


def test_four_compounds_of_fourteen_do_not_tell():
    """A bootstrap alone would: P(none of the four is drawn) = (10/14)^14 = 0.9 %; the sign test says p = 1/8."""
    change_C = np.repeat([1, 0], [4, 10])
    assert difference(change_C, np.zeros(14), np.ones(14)).low == 0
    assert difference(np.repeat([1, 0], [6, 8]), np.zeros(14), np.ones(14)).low > 0


def test_the_sign_flip_test_is_the_permutation_test_of_scipy():
    change_C = np.random.default_rng(2).normal(0.4, 1, 10)
    expected = stats.permutation_test((change_C,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(change_C) == pytest.approx(expected.pvalue)
    many_C = np.random.default_rng(3).normal(0.15, 1, 300)
    assert sign_flip_p(many_C) == pytest.approx(stats.ttest_1samp(many_C, 0).pvalue, abs=0.01)  # 5,000 draws


def test_a_difference_is_judged_in_pairs():
    """One is right in 3 fields more of each of 10 compounds, however much compounds differ: no doubt about the sign."""
    other = np.arange(10)
    steady = difference(other + 3, other, np.full(10, 20))
    assert steady == Difference(0.15, 0.15, 0.15)
    unsteady = difference(other + np.where(other % 2, 12, -6), other, np.full(10, 20))
    assert unsteady.difference == pytest.approx(0.15)
    halves = stats.binom(10, 0.5).ppf([0.025, 0.975]) / 10  # compounds drawn that gain 12 of 20, the others lose 6
    assert [unsteady.low, unsteady.high] == pytest.approx(halves * 0.9 - 0.3, abs=0.091)  # one step of the binomial
    few = difference(np.full(5, 9), np.full(5, 4), np.full(5, 10))
    assert few == Difference(0.5, -1.0, 1.0)  # five compounds agree by chance once in sixteen
