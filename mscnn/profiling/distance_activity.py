"""Phenotypic activity by distance: is a treatment farther from the control wells than other control wells are?

It needs no replicate wells: a treatment of a single well has a p, too.  `mscnn score` and every evaluation use it where the
replicate test (replicates.py) cannot decide for most treatments.

1. Distance.  Each well is taken relative to the median of the control wells of its plate; a treatment is the mean over its
   wells.  Its distance is Mahalanobis' in all features, by the covariance of control wells within plates, shrunk (Ledoit &
   Wolf, J. Multivar. Anal. 88 (2004) 365), so that it has an inverse however few the wells are.  Hutz et al.
   (J. Biomol. Screen. 18 (2013) 367) rank treatments so.
2. Null distribution.  Groups of control wells, as many wells on as many plates as the treatment has, at one position where
   there are such; no well is in two groups.  Median and covariance that a group is measured with are of other wells: the
   median leaves the group out, the covariance its fold (cross-conformal prediction: Vovk, Ann. Math. Artif. Intell. 74
   (2015) 9).
3. p.  Of N null distances d_1 >= d_2 >= ... let u be that of rank k + 1, k = N / 4, at most MOST_EXTREME.
   Up to u:  p = (1 + number of null distances >= d) / (N + 1), which needs no distribution.
   Beyond u: p = (k + 1) / (N + 1) * (1 + ln(d / u) / sum over i <= k of ln(d_i / u)) ** -k
   The tail is Pareto's (Hill, Ann. Stat. 3 (1975) 1163; Weissman, JASA 73 (1978) 812), and the last factor is the
   predictive probability of one more exceedance: the excesses ln(d_i / u) are exponential and independent, and the ratio of
   the new one to their mean has an F distribution of 2 and 2 k degrees of freedom.  It is exact for Pareto tails, and too
   large for lighter ones, as Gaussian and log-normal wells have.  Where one control well is farther out than such a tail
   allows (Fisher's test of the largest share, p < 0.05), p is the share everywhere.  p is never less than
   1 / (BEYOND (N + 1)).
4. q by Benjamini & Hochberg over the treatments that are tested.

Shapes: S wells, F features, C control wells, N null distances, T treatments.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.words import counted
from mscnn.profiling.control_distance import control_spread, null_distances, null_groups, plate_medians, residuals
from mscnn.profiling.profile_table import PLACES, ProfileTable
from mscnn.profiling.replicates import BY_DISTANCE, COLUMNS, LIMIT, TREATMENT, Activity, number_plates, number_treatments
from mscnn.readout.plate_controls import ENOUGH_WELLS

LEAST_WELLS = 8     # null distances of single wells: fewer decide on nothing
LEAST_GROUPS = 12   # of groups of several wells; where there are fewer, the wells of a treatment are taken one by one
MOST_EXTREME = 50   # null distances that the tail is fitted to
TAIL = 4            # one in so many null distances is in the tail
BEYOND = 10         # p is never less than the least share of control wells that can be seen, over this
OUTLIER = 0.05      # p of Fisher's test below which one control well is too far out for the tail


@dataclass(frozen=True)
class DistanceTest:
    """p of each treatment; NaN where it cannot be tested."""

    p_T: np.ndarray
    effect_T: np.ndarray  # its distance, over the median of the null distances it is compared with
    least_T: np.ndarray   # that p can be
    nulls: list[int]      # distances of control wells, or of groups of them, by rising number
    why_not: str = ""     # why no treatment is tested, or some are not, and the remedy


def choose(found: Activity, hits: pd.DataFrame, wells: ProfileTable, control: str) -> tuple[Activity, pd.DataFrame]:
    """Return activity and hits of the test that decides: all of one table by the same test, fixed by this rule.

    Replicates decide where a q below LIMIT is possible and at least half of the treatments have replicates; else the
    distance does, where it can tell any; else the replicates keep their p.  found, hits: of replicates.activity.
    wells: a row a well as they were before any correction, which has seen all control wells.
    Effect_Size is then the distance that was tested, over the median null distance: about 1 for a control well.
    """
    if not len(hits) or found.control_wells < 2 or (found.can_decide and 2 * found.treatments >= len(hits)):
        return found, hits
    treatments, treatment_S = number_treatments(wells, wells.is_control(control), number_plates(wells))
    test = distance_test(wells, control, treatment_S, len(treatments))
    is_tested = np.isfinite(test.p_T)
    can_decide = is_tested.any() and bool(q_values(test.least_T)[is_tested].min() < LIMIT)
    if not can_decide and (found.treatments or not is_tested.any()):
        why = test.why_not if not is_tested.any() else f"p is {np.nanmin(test.least_T):.2g} or more; add control wells"
        return replace(found, note="; ".join(filter(None, [
            found.note, f"the distance from control wells cannot decide: {why}"]))), hits
    scores = treatments[TREATMENT].assign(P_Value=test.p_T, Q_Value=q_values(test.p_T), Effect_Size=test.effect_T,
                                          Test=np.where(is_tested, BY_DISTANCE, ""))
    hits = hits.drop(columns=["P_Value", "Q_Value", "Active", "Effect_Size", "Test"]).merge(scores, "left", TREATMENT)
    hits = hits.assign(Active=hits["Q_Value"] < LIMIT)[COLUMNS]
    hits = hits.sort_values(["Q_Value", "P_Value", "Effect_Size"], ascending=[True, True, False], kind="stable",
                            ignore_index=True)
    return replace(found, active=int(hits["Active"].sum()), tested=int(is_tested.sum()), test=BY_DISTANCE,
                   can_decide=can_decide, note=_note(found, test, can_decide)), hits


def distance_test(wells: ProfileTable, control: str, treatment_S: np.ndarray, count: int) -> DistanceTest:
    """Return p of each of `count` treatments; treatment_S: of each well, -1 for the control.

    Wells on plates with fewer than ENOUGH_WELLS control wells are left out: their plate cannot be told from an effect.
    """
    is_control_S, plate_S = wells.is_control(control), number_plates(wells)
    p_T, effect_T, least_T = (np.full(count, np.nan) for _ in range(3))
    enough_S = np.bincount(plate_S, is_control_S)[plate_S] >= ENOUGH_WELLS
    controls_C = np.flatnonzero(is_control_S & enough_S)
    if len(controls_C) < LEAST_WELLS:
        return DistanceTest(p_T, effect_T, least_T, [], f"{counted(len(controls_C), 'well')} of {control} on plates with "
                            f"{ENOUGH_WELLS} or more are too few; {LEAST_WELLS} are needed")
    relative_SF = wells.features_SF - plate_medians(wells.features_SF, plate_S, controls_C)[plate_S]
    spread_F = relative_SF[enough_S].std(axis=0)
    model = control_spread(residuals(wells.features_SF, plate_S, controls_C), spread_F)
    if model is None:
        return DistanceTest(p_T, effect_T, least_T, [],
                            f"all wells of {control} are alike; see whether their profiles are right")
    place_S, nulls = _places(wells), {}
    for treatments, of_treatments, pattern in _by_pattern(treatment_S, plate_S, enough_S):
        groups = null_groups(pattern, plate_S, place_S, controls_C)
        if len(groups) < LEAST_GROUPS:  # so that each well is a group, and a treatment the median of its wells
            groups, pattern = [np.array([row]) for row in controls_C], (1,)
        if pattern not in nulls:
            nulls[pattern] = null_distances(wells.features_SF, plate_S, controls_C, groups, spread_F)
        if pattern == (1,):
            ends = np.cumsum([len(rows) for rows in of_treatments])[:-1]
            of_wells = np.split(model.distances(relative_SF[np.concatenate(of_treatments)]), ends)
            distances = np.array([np.median(each) for each in of_wells])
        else:
            distances = model.distances(np.array([relative_SF[rows].mean(axis=0) for rows in of_treatments]))
        p_T[treatments], least_T[treatments] = p_values(distances, nulls[pattern])
        effect_T[treatments] = distances / np.median(nulls[pattern])
    lacking = int(np.isnan(p_T).sum())
    return DistanceTest(p_T, effect_T, least_T, sorted({len(null) for null in nulls.values()}), "" if not lacking else
                        f"{lacking} of {count} treatments are on plates with fewer than {ENOUGH_WELLS} control wells; add "
                        "some")


def p_values(distances_T: np.ndarray, null_N: np.ndarray) -> tuple[np.ndarray, float]:
    """Return p of distances, given those of control wells, and the least that it can be; as the module says."""
    number, null_N = len(null_N), np.sort(null_N)[::-1]
    reached_T = number - np.searchsorted(null_N[::-1], distances_T, side="left")
    p_T = (1 + reached_T) / (number + 1)
    extreme = min(number // TAIL, MOST_EXTREME)
    if extreme < 2 or null_N[extreme] <= 0:
        return p_T, 1 / (number + 1)
    excess = np.log(null_N[:extreme] / null_N[extreme])
    if excess[0] <= 0 or largest_share_p(excess[0] / excess.sum(), extreme) < OUTLIER:
        return p_T, 1 / (number + 1)
    least = 1 / (BEYOND * (number + 1))
    beyond_T = np.log(np.maximum(distances_T, null_N[extreme]) / null_N[extreme])
    tail_T = (extreme + 1) / (number + 1) * (1 + beyond_T / excess.sum()) ** -extreme
    return np.where(beyond_T > 0, np.maximum(tail_T, least), p_T), least


def largest_share_p(share: float, number: int) -> float:
    """Return the probability that the largest of `number` exponential values has this share of their sum, or more.

    Fisher, Proc. R. Soc. A 125 (1929) 54.
    """
    return sum((-1) ** (each - 1) * math.comb(number, each) * (1 - each * share) ** (number - 1)
               for each in range(1, min(number, math.floor(1 / share)) + 1))


def _by_pattern(treatment_S: np.ndarray, plate_S: np.ndarray,
                enough_S: np.ndarray) -> Iterator[tuple[list[int], list[np.ndarray], tuple[int, ...]]]:
    """Yield treatments, the rows of each, and how many of these are on each of their plates, most first."""
    rows_T = pd.Series(np.flatnonzero(enough_S)).groupby(treatment_S[enough_S]).agg(np.array).drop(-1, errors="ignore")
    patterns = rows_T.map(lambda rows: tuple(sorted(np.bincount(plate_S[rows]).tolist(), reverse=True)))
    patterns = patterns.map(lambda counts: tuple(count for count in counts if count))
    for pattern in sorted(set(patterns)):
        chosen = rows_T[patterns == pattern]
        yield [int(number) for number in chosen.index], list(chosen), pattern


def _places(wells: ProfileTable) -> np.ndarray:
    """Return the number of each well's position, (S,), by name; all 0 where none is known."""
    if not set(PLACES) <= set(wells.metadata):
        return np.zeros(len(wells.metadata), int)
    return pd.factorize(identity.normal_forms(wells.metadata["Metadata_Well"], "well"), sort=True)[0]


def q_values(p_T: np.ndarray) -> np.ndarray:
    """Return q by Benjamini & Hochberg; NaN stays."""
    from scipy import stats

    q_T, is_tested = np.full(len(p_T), np.nan), np.isfinite(p_T)
    if is_tested.any():
        q_T[is_tested] = stats.false_discovery_control(p_T[is_tested])
    return q_T


def _note(found: Activity, test: DistanceTest, can_decide: bool) -> str:
    """Return which test gave q and why, and what it cannot tell."""
    both = found.single + found.treatments
    why = f"{found.single} of {both} treatments have one well only" if found.can_decide and found.treatments else \
        f"replicates cannot decide: {found.note}"
    tested, least = int(np.isfinite(test.p_T).sum()), float(np.nanmin(test.least_T))
    needed = math.ceil(tested * least / LIMIT)
    nulls = " to ".join(map(str, sorted({test.nulls[0], test.nulls[-1]})))
    said = [f"q is of the distance from control wells ({why})",
            f"by {nulls} distances of control wells p is {least:.2g} or more",
            f"no treatment can have q < {LIMIT:g}: add control wells" if not can_decide else
            f"for a q < {LIMIT:g} {needed} of {tested} treatments must be so far; add control wells" if needed > 1 else "",
            test.why_not]
    return "; ".join(filter(None, said))
