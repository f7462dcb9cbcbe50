"""Compare treatments with the compounds whose mechanism is known: is a mechanism one of theirs, or none of the known?

The score of a treatment is its cosine similarity to the nearest treatment of another compound whose mechanism is known.
Leaving one mechanism out tells how good the score is: each treatment with a mechanism is compared with the table as it
is, and with the table without its mechanism.  The compound is the unit: each counts once, whatever the number of its
doses.  A network that learnt the mechanisms has learnt the one that is left out, which flatters; a label-free one has not.

Shapes: T treatments, F features, L treatments that may be neighbours, Q queries, B queries of a block, N treatments with
a mechanism, D draws of compounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mscnn.core.records import Count, Record, Share
from mscnn.core.words import counted
from mscnn.profiling import resampling
from mscnn.profiling.resampling import LEVEL, Interval

NEAREST = 5     # known compounds that are listed for a treatment
FEW = 10        # mechanisms: with fewer the p values are too small
BLOCK = 512     # queries that are compared at once: with 10,000 neighbours 40 MB
DECIMALS = 9    # of a similarity: sums in another order differ by less, so that equal profiles tie
COLUMNS = ["Metadata_Compound", "Metadata_Concentration", "Rank", "Nearest_Compound", "Nearest_Concentration",
           "Nearest_MOA", "Similarity", "Distance", "None_Of_The_Known"]
FIRST = ["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA", "Nearest_Compound", "Nearest_Concentration",
         "Nearest_MOA", "Similarity", "None_Of_The_Known"]


@dataclass(frozen=True)
class KnownScore(Record):
    """How well similarity to the known compounds tells a known mechanism from one that is left out of the table.

    NSC, of matching.py, tells how often the nearest neighbour has the right mechanism.
    """

    treatments: Count        # with a mechanism that another compound has too; the network was not trained on them
    compounds: Count         # of these treatments
    mechanisms: Count        # of these treatments
    left_out: Count          # compounds with a mechanism, left out in turn with it: the null distribution of p values
    auc: Share | None = None           # area under the ROC curve; 0.5 is chance
    interval: Interval | None = None   # of auc, over compounds
    as_near: Share | None = None       # left-out treatments as near as the median treatment whose mechanism is known: 0 is
                                       # best, 0.5 is chance
    note: str = ""           # why a number cannot be had and what to do, or what to know of it


@dataclass(frozen=True)
class KnownComparison:
    """The treatments of a screen beside the known compounds."""

    score: KnownScore
    nearest: pd.DataFrame  # COLUMNS; a row per treatment without a mechanism and known compound, from low p values up
    first: pd.DataFrame    # FIRST; a row per treatment with a profile and a known neighbour, with a mechanism or without
    note: str = ""         # why `nearest` is empty, or lacks treatments; what to do


@dataclass(frozen=True)
class _Profiles:
    """Profiles of length 1, and what they are of."""

    unit_TF: np.ndarray      # a profile of zeros stays one
    compound_T: np.ndarray   # code of each compound
    mechanism_T: np.ndarray  # code of each mechanism; 0: not known
    library_L: np.ndarray  # positions of the treatments that may be neighbours: with a mechanism and a profile

    def blocks(self, queries_Q: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions of queries (B,) and their similarities (B, L); -inf where the compound is the same."""
        known_LF = self.unit_TF[self.library_L]
        for start in range(0, len(queries_Q), BLOCK):
            block_B = queries_Q[start:start + BLOCK]
            likeness_BL = np.round(self.unit_TF[block_B] @ known_LF.T, DECIMALS)
            likeness_BL[self.compound_T[block_B, None] == self.compound_T[self.library_L]] = -np.inf
            yield block_B, likeness_BL


def compare_with_known(frame: pd.DataFrame, profiles_TF: np.ndarray, *, nearest: int = NEAREST, draws: int = 2000,
                       seed: int = 0) -> KnownComparison:
    """Score the similarity to known compounds, and list the nearest ones of each treatment without a mechanism.

    frame, profiles_TF: as treatment_profiles.of_wells returns them; Metadata_MOA "" is not known.  A treatment with Scored
    False, which the network was trained on, is a neighbour only.  nearest: compounds that are listed for a treatment.
    draws: of compounds, for the interval.

    None_Of_The_Known is a conformal p value of "this mechanism is none of the known" (Bates et al., Ann. Stat. 51 (2023)
    149-178): the share of left-out treatments that are as near to a known compound.  A small one says that a mechanism of
    the table is believable.  Each compound weighs 1, spread over its treatments, and the query weighs 1 (Lee, Barber &
    Willett, arXiv 2306.06342, for repeated measurements).  The query's own compound takes no part.  The p value is valid as
    far as new mechanisms are like the known ones and these are many: of drawn screens with 12 or 30 mechanisms 10 % of new
    ones got p <= 0.1, and with 6 mechanisms 13 %, since a table without a mechanism is smaller.
    """
    profiles = _profiles(frame, profiles_TF)
    is_known_T, has_profile_T = profiles.mechanism_T > 0, profiles.unit_TF.any(axis=1)
    asked_N = np.flatnonzero(is_known_T & has_profile_T & frame["Scored"].to_numpy(bool))
    with_N, without_N = _leave_mechanisms_out(profiles, asked_N)
    score = _score(profiles, asked_N, with_N, without_N, draws=draws, seed=seed)
    found = _nearest_compounds(profiles, np.flatnonzero(~is_known_T & has_profile_T), nearest)
    of_known = _nearest_compounds(profiles, np.flatnonzero(is_known_T & has_profile_T), 1)
    first = pd.concat([found[found["Rank"] == 1], of_known], ignore_index=True)
    first["None_Of_The_Known"] = _p_values(first["Similarity"].to_numpy(float), profiles.compound_T[first["query"]],
                                           without_N, profiles.compound_T[asked_N])
    found["None_Of_The_Known"] = found["query"].map(first.set_index("query")["None_Of_The_Known"])
    return KnownComparison(score, _table(frame, found, COLUMNS), _table(frame, first, FIRST),
                           _nearest_note(is_known_T, has_profile_T, found.empty))


def unit_profiles(profiles_TF: np.ndarray) -> np.ndarray:
    """Return profiles (T, F) of length 1, whose products are cosines; a profile of zeros stays one."""
    largest_T1 = np.abs(profiles_TF).max(axis=1, keepdims=True, initial=0)
    scaled_TF = profiles_TF / np.where(largest_T1 > 0, largest_T1, 1)  # squares of it neither overflow nor vanish
    length_T1 = np.linalg.norm(scaled_TF, axis=1, keepdims=True)
    return scaled_TF / np.where(length_T1 > 0, length_T1, 1)


def auc_of_left_out(known_N: np.ndarray, left_out_N: np.ndarray, compounds_N: np.ndarray, *, draws: int = 2000,
                    seed: int = 0) -> tuple[float, Interval]:
    """Return the area under the ROC curve (AUROC) of two scores of the same treatments, and its interval.

    known_N, left_out_N: score with the treatment's mechanism, and without it; the area is the probability that the first
    is higher, ties half.  compounds_N: each weighs 1 over its treatments.

    A bootstrap draws compounds with both scores (percentiles).  The interval is at least as wide as resampling.interval of
    the compounds' shares of left-out treatments that they exceed: a bootstrap of areas near 1 is too narrow.
    """
    names, compound_N = np.unique(compounds_N, return_inverse=True)
    order_N = np.argsort(left_out_N, kind="stable")
    below_N, to_N = (np.searchsorted(left_out_N[order_N], known_N, side) for side in ("left", "right"))
    weights_N = _compound_weights(compounds_N)

    def exceeded(times_DC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return of each treatment the share of left-out ones that it exceeds, ties half, (D, N), and weights (D, N)."""
        drawn_DN = times_DC[:, compound_N] * weights_N
        sums_DN = np.pad(drawn_DN[:, order_N].cumsum(axis=1), ((0, 0), (1, 0))) / drawn_DN.sum(axis=1, keepdims=True)
        return np.minimum((sums_DN[:, below_N] + sums_DN[:, to_N]) / 2, 1.0), drawn_DN  # 1 but for rounding

    def area(drawn_DC: np.ndarray, axis: int = -1) -> np.ndarray:
        share_DN, drawn_DN = exceeded(np.stack([np.bincount(draw, minlength=len(names)) for draw in drawn_DC]))
        return (share_DN * drawn_DN).sum(axis=axis) / drawn_DN.sum(axis=axis)

    every_C = np.arange(len(names))
    shares_C = np.bincount(compound_N, weights_N * exceeded(np.ones((1, len(names))))[0][0])
    auc, least = min(float(shares_C.mean()), 1.0), resampling.interval(shares_C, every_C, draws=draws, seed=seed)
    if len(names) < 2:
        return auc, least
    drawn = stats.bootstrap((every_C,), area, vectorized=True, n_resamples=draws, batch=20, confidence_level=LEVEL,
                            method="percentile", rng=np.random.default_rng(seed)).confidence_interval
    return auc, Interval(min(least.low, float(drawn.low)), max(least.high, float(drawn.high)), LEVEL, len(names))


def _profiles(frame: pd.DataFrame, profiles_TF: np.ndarray) -> _Profiles:
    mechanisms_T = frame["Metadata_MOA"].to_numpy(str)
    codes_T = np.unique(mechanisms_T, return_inverse=True)[1] + ("" not in mechanisms_T)  # "" sorts first: 0
    unit_TF = unit_profiles(profiles_TF)
    return _Profiles(unit_TF, np.unique(frame["Metadata_Compound"].to_numpy(str), return_inverse=True)[1], codes_T,
                     np.flatnonzero((codes_T > 0) & unit_TF.any(axis=1)))


def _leave_mechanisms_out(profiles: _Profiles, asked_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each treatment's similarity to the nearest other compound, (N,): in the table, and without its mechanism.

    The first is -inf where no other compound has the mechanism, the second where no other mechanism is known.
    """
    with_N, without_N = np.full(len(asked_N), -np.inf), np.full(len(asked_N), -np.inf)
    if not len(asked_N):
        return with_N, without_N
    library_mechanisms_L = profiles.mechanism_T[profiles.library_L]
    for start, (block_B, likeness_BL) in zip(range(0, len(asked_N), BLOCK), profiles.blocks(asked_N), strict=True):
        rows = slice(start, start + len(block_B))
        is_own_BL = profiles.mechanism_T[block_B, None] == library_mechanisms_L
        has_partner_B = (is_own_BL & np.isfinite(likeness_BL)).any(axis=1)
        with_N[rows] = np.where(has_partner_B, likeness_BL.max(axis=1), -np.inf)
        likeness_BL[is_own_BL] = -np.inf
        without_N[rows] = likeness_BL.max(axis=1)
    return with_N, without_N


def _score(profiles: _Profiles, asked_N: np.ndarray, with_N: np.ndarray, without_N: np.ndarray, *, draws: int,
           seed: int) -> KnownScore:
    is_pair_N, is_left_out_N = np.isfinite(with_N) & np.isfinite(without_N), np.isfinite(without_N)
    compounds_N, pairs_N = profiles.compound_T[asked_N], asked_N[is_pair_N]
    counts = (int(is_pair_N.sum()), len(np.unique(profiles.compound_T[pairs_N])),
              len(np.unique(profiles.mechanism_T[pairs_N])), len(np.unique(compounds_N[is_left_out_N])))
    if not len(pairs_N):
        return KnownScore(*counts, note=_why_no_score(profiles, asked_N))
    known_N, left_out_N, compounds_N = with_N[is_pair_N], without_N[is_pair_N], compounds_N[is_pair_N]
    weights_N = _compound_weights(compounds_N)
    median = np.quantile(known_N, 0.5, weights=weights_N, method="inverted_cdf")
    auc, interval = auc_of_left_out(known_N, left_out_N, compounds_N, draws=draws, seed=seed)
    left_out = len(np.unique(profiles.mechanism_T[asked_N[is_left_out_N]]))
    note = (f"{counted(left_out, 'mechanism')} can be left out; with fewer than {FEW} p values are up to a third too "
            "small: take them as a ranking") if left_out < FEW else ""
    return KnownScore(*counts, auc, interval, min(float(np.average(left_out_N >= median, weights=weights_N)), 1.0), note)


def _compound_weights(compounds_N: np.ndarray) -> np.ndarray:
    """Return the weight of each treatment, (N,): 1 over the treatments of its compound."""
    _, compound_N, sizes_C = np.unique(compounds_N, return_inverse=True, return_counts=True)
    return 1 / sizes_C[compound_N]


def _p_values(similarity_Q: np.ndarray, compound_Q: np.ndarray, without_N: np.ndarray,
              compounds_N: np.ndarray) -> np.ndarray:
    """Return the p value of each similarity to the nearest known compound, (Q,).

    NaN where no mechanism of another compound can be left out.
    """
    is_left_out_N = np.isfinite(without_N)
    values_N, compounds_N = without_N[is_left_out_N], compounds_N[is_left_out_N]
    order_N, weights_N = np.argsort(values_N, kind="stable"), _compound_weights(compounds_N)
    sums_N = np.append(0, weights_N[order_N].cumsum())
    as_near_Q = sums_N[-1] - sums_N[np.searchsorted(values_N[order_N], similarity_Q)]
    others_Q = len(np.unique(compounds_N)) - np.isin(compound_Q, compounds_N)
    for compound in np.intersect1d(compound_Q, compounds_N):
        own_Q, own_N = compound_Q == compound, compounds_N == compound
        as_near_Q[own_Q] -= (values_N[own_N] >= similarity_Q[own_Q, None]) @ weights_N[own_N]
    p_Q = np.clip((1 + as_near_Q) / (1 + others_Q), 0, 1)  # 1 but for rounding
    return np.where(others_Q > 0, p_Q, np.nan)


def _nearest_compounds(profiles: _Profiles, queries_Q: np.ndarray, number: int) -> pd.DataFrame:
    """Return query, neighbour (positions), Rank and Similarity: the best treatment of each of the nearest compounds."""
    ranked, library_L = [], profiles.library_L
    for block_B, likeness_BL in profiles.blocks(queries_Q) if len(library_L) else ():
        for rank in range(1, number + 1):
            best_B = likeness_BL.argmax(axis=1)
            similarity_B = likeness_BL[np.arange(len(block_B)), best_B]
            ranked.append(pd.DataFrame({"query": block_B, "neighbour": library_L[best_B], "Rank": rank,
                                        "Similarity": similarity_B})[np.isfinite(similarity_B)])
            compounds_L = profiles.compound_T[library_L]
            likeness_BL[compounds_L[best_B, None] == compounds_L] = -np.inf
    empty = pd.DataFrame({"query": [], "neighbour": [], "Rank": [], "Similarity": []})
    return pd.concat(ranked, ignore_index=True) if ranked else empty.astype({"query": int, "neighbour": int, "Rank": int})


def _table(frame: pd.DataFrame, found: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    queries, neighbours = (frame.iloc[found[name]].reset_index(drop=True) for name in ("query", "neighbour"))
    of_neighbours = {f"Nearest_{name}": neighbours[f"Metadata_{name}"] for name in ("Compound", "Concentration", "MOA")}
    table = queries.assign(**found, **of_neighbours, Distance=1 - found["Similarity"])
    by = ["None_Of_The_Known", "Metadata_Compound", "Metadata_Concentration", "Rank"]
    return table.sort_values(by, kind="stable", ignore_index=True)[columns]


def _why_no_score(profiles: _Profiles, asked_N: np.ndarray) -> str:
    if not len(profiles.library_L):
        return "no treatment has a known mechanism and a profile; fill in Metadata_MOA"
    if not len(asked_N):
        return "the network was trained on all treatments with a mechanism; hold some out, or use a label-free network"
    if len(np.unique(profiles.mechanism_T[profiles.library_L])) < 2:
        return "one mechanism alone is known, and one is left out; fill in Metadata_MOA of compounds of another"
    return "no mechanism has two compounds, so that none is found again; fill in Metadata_MOA of more compounds"


def _nearest_note(is_known_T: np.ndarray, has_profile_T: np.ndarray, is_empty: bool) -> str:
    """Return why the table is empty or lacks treatments, or ""."""
    if len(is_known_T) and is_known_T.all():
        return "all treatments have a known mechanism: none is left to compare; leave Metadata_MOA empty where not known"
    if not (is_known_T & has_profile_T).any():
        return "no treatment has a known mechanism and a profile; fill in Metadata_MOA"
    lacking = int((~is_known_T & ~has_profile_T).sum())
    if is_empty and not lacking:
        return "no other compound has a known mechanism; fill in Metadata_MOA"
    return f"{counted(lacking, 'treatment')} with a profile of zeros: like no other, and not listed" if lacking else ""
