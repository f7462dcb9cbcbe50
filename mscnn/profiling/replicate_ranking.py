"""Average precision of replicate wells, ranked against control wells, and compared with random rankings.

Each well of a treatment is a query; its replicates are relevant, control wells are the rest of its ranking (Kalinin et
al., Nat. Commun. 16 (2025) 5181).  copairs gives the null distribution.

Shapes: S wells, F features, N control wells, Q queries, R replicates, T treatments, D draws, C sizes of rankings.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import normalize

from mscnn.profiling.neighbours import TIE

BLOCK = 1024     # queries, more or less, whose similarities to all control wells are in memory at once
ROUNDING = 1e-6  # mean average precisions this close count as equal: those of the null distribution are float32


@dataclass(frozen=True)
class Rankings:
    """Each well of each treatment as a query, in the order of treatments."""

    treatment_Q: np.ndarray  # number of its treatment
    precision_Q: np.ndarray  # average precision
    relevant_Q: np.ndarray   # its replicates
    ranked_Q: np.ndarray     # replicates and control wells together

    def means(self) -> np.ndarray:
        """Return the mean average precision of each treatment, (T,); NaN for those without a query."""
        sums_T, counts_T = (np.bincount(self.treatment_Q, weights) for weights in (self.precision_Q, None))
        with np.errstate(invalid="ignore"):
            return sums_T / counts_T


@dataclass(frozen=True)
class NullComparison:
    """Mean average precisions against random rankings, of each treatment; NaN for those without a query."""

    p_T: np.ndarray       # chance of a mean as high as the observed mean
    least_T: np.ndarray   # p of a perfect ranking
    chance_T: np.ndarray  # mean of random rankings


def rank_replicates(features_SF: np.ndarray, treatment_S: np.ndarray, controls_N: np.ndarray, plate_S: np.ndarray,
                    place_S: np.ndarray | None = None) -> Rankings:
    """Rank the other wells of a query's treatment and control wells by their cosine similarity to the query.

    treatment_S: number of each well's treatment, -1 for none.  controls_N: rows of control wells; those of the query's
    plate are ranked.  plate_S: number of each well's plate; all 0 to rank all control wells.  place_S: number of each
    well's place on its plate; control wells at the query's place are not ranked.
    Equal similarities have one rank together (TIE).  A well without a replicate or without a control well is no query.
    """
    unit_NF = np.asarray(normalize(features_SF[controls_N]))
    found: list[tuple[int, float, int, int]] = []
    for rows, starts in _blocks(treatment_S):
        unit_QF = np.asarray(normalize(features_SF[rows]))
        likeness_QN = unit_QF @ unit_NF.T
        is_ranked_QN = plate_S[rows][:, None] == plate_S[controls_N]
        if place_S is not None:
            is_ranked_QN &= place_S[rows][:, None] != place_S[controls_N]
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            replicates_RR = unit_QF[start:end] @ unit_QF[start:end].T
            for query in range(start, end):
                relevant_R = np.delete(replicates_RR[query - start], query - start)
                rest_N = likeness_QN[query, is_ranked_QN[query]]
                if len(relevant_R) and len(rest_N):
                    found.append((int(treatment_S[rows[query]]), _average_precision(relevant_R, rest_N),
                                  len(relevant_R), len(relevant_R) + len(rest_N)))
    columns = np.array(found, float).reshape(-1, 4)
    return Rankings(columns[:, 0].astype(int), columns[:, 1], columns[:, 2].astype(int), columns[:, 3].astype(int))


def compare_with_chance(rankings: Rankings, *, draws: int, seed: int) -> NullComparison:
    """Compare each treatment's mean average precision with those of random rankings.

    The null distribution of a query is copairs': random rankings of as many replicates and control wells.  The queries of
    a treatment are taken as wholly dependent, as copairs does where their rankings are of one size: its least p is that
    of one query.  A draw as high as the observed mean counts, and so does the observed mean (Phipson & Smyth 2010).
    copairs counts higher draws alone, which makes p of a perfect ranking 1 / (draws + 1) however few wells are ranked.
    """
    from copairs.compute import get_null_dists

    p_T, least_T, chance_T = (np.full(rankings.treatment_Q.max(initial=-1) + 1, np.nan) for _ in range(3))
    if not len(p_T):
        return NullComparison(p_T, least_T, chance_T)
    sizes_C, size_Q = np.unique(np.stack([rankings.relevant_Q, rankings.ranked_Q], axis=1), axis=0, return_inverse=True)
    with tempfile.TemporaryDirectory() as folder:  # copairs would read files of other runs from the home folder
        null_CD = get_null_dists(sizes_C, draws, seed=seed, cache_dir=folder, progress_bar=False)
    null_CD.sort(axis=1)
    means_T = rankings.means()
    for sizes, treatments in _by_sizes(rankings.treatment_Q, size_Q).items():
        null_D = null_CD[list(sizes)].mean(axis=0, dtype=np.float64)  # in rising order, as each row is
        for p, observed in ((p_T, means_T[treatments]), (least_T, np.ones(len(treatments)))):
            p[treatments] = (1 + draws - np.searchsorted(null_D, observed - ROUNDING)) / (1 + draws)
        chance_T[treatments] = null_D.mean()
    return NullComparison(p_T, least_T, chance_T)


def _blocks(treatment_S: np.ndarray) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Yield rows of whole treatments, about BLOCK of them, and where each treatment starts among them."""
    rows = np.argsort(treatment_S, kind="stable")
    rows = rows[treatment_S[rows] >= 0]
    starts = np.flatnonzero(np.diff(treatment_S[rows], prepend=-1))
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + BLOCK)))
        end = starts[last] if last < len(starts) else len(rows)
        yield rows[starts[first]:end], (starts[first:last] - starts[first]).tolist()
        first = last


def _average_precision(relevant_R: np.ndarray, rest_N: np.ndarray) -> float:
    """Return the mean, over replicates, of the share of replicates among all that are as alike as it, or more."""
    bound_R = relevant_R - TIE
    relevant_as_near_R, rest_as_near_R = (len(values) - np.searchsorted(np.sort(values), bound_R)
                                          for values in (relevant_R, rest_N))
    return float((relevant_as_near_R / (relevant_as_near_R + rest_as_near_R)).mean())


def _by_sizes(treatment_Q: np.ndarray, size_Q: np.ndarray) -> dict[tuple[int, ...], list[int]]:
    """Return the treatments by the sizes of their rankings, in rising order."""
    found: dict[tuple[int, ...], list[int]] = {}
    order = np.lexsort([size_Q, treatment_Q])
    numbers, starts = np.unique(treatment_Q[order], return_index=True)
    for treatment, sizes in zip(numbers, np.split(size_Q[order], starts[1:]), strict=True):
        found.setdefault(tuple(sizes.tolist()), []).append(int(treatment))
    return found
