"""Match profiles of treatments with their neighbours: how often does the nearest agree, and how do all of them rank?

NSC: not of the same compound (Ljosa et al., J. Biomol. Screen. 18 (2013) 1321-1329).  NSCB: nor of the same batch (Ando et
al., bioRxiv 161422 (2017)).  mAP: mean average precision of the mechanism, under either (Kalinin et al., Nat. Commun. 16
(2025) 5181).   mscnn score PROFILES

Shapes: T treatments, F features, M mechanisms, D draws of labels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core.records import KEY, Record, Share
from mscnn.profiling.neighbours import average_precisions, barred, judge, match, similarities
from mscnn.profiling.resampling import Interval, LabelPermutation, interval, permutation_test

PROTOCOLS = {"nsc": "NSC   not same compound", "nscb": "NSCB  nor same batch",
             "same_compound_allowed": "same compound allowed"}


@dataclass(frozen=True)
class Treatments:
    """Profiles to match: one compound at one concentration per row, without the control."""

    frame: pd.DataFrame      # Metadata_Compound, _Concentration, _MOA (none empty), Batches (frozenset of text), Wells, and
                             # Scored: bool; a treatment that is not scored may be a neighbour
    profiles_TF: np.ndarray  # float64, finite


@dataclass(frozen=True)
class TreatmentCounts(Record):
    """Rows and features of a table of profiles, and what becomes of them."""

    rows: int        # of the table
    control: int     # rows of the control
    unlabelled: int  # rows without a mechanism or a compound
    wells: int
    features: int


@dataclass(frozen=True)
class Count(Record):
    """Treatments that are right, of how many."""

    correct: int
    total: int


@dataclass(frozen=True)
class Tie(Record):
    """A treatment with several nearest neighbours, of different mechanisms."""

    treatment: str
    neighbours: list[str]


@dataclass(frozen=True)
class ProtocolPermutations(Record):
    """Null distributions of a protocol's share."""

    over_compounds: LabelPermutation = field(metadata={KEY: "over compounds"})  # labels move to any compound
    within_batches: LabelPermutation = field(metadata={KEY: "within batches"})  # only between compounds of the same batches


@dataclass(frozen=True)
class MeanAveragePrecision(Record):
    """How high the neighbours of a treatment's own mechanism rank: 1 where they come before all others."""

    mean: Share | None      # over the treatments with a permitted neighbour of their mechanism; None without one
    interval: Interval      # of the mean
    permuted: ProtocolPermutations


@dataclass(frozen=True)
class ProtocolScore(Record):
    """How many treatments have a nearest neighbour of their own mechanism, under one protocol."""

    correct: int
    total: int              # treatments with a permitted neighbour of their mechanism
    of_all: Count           # unscorable treatments counted as wrong
    interval: Interval
    permuted: ProtocolPermutations
    mean_average_precision: MeanAveragePrecision
    unscorable: list[str]   # treatments without a permitted neighbour of their mechanism
    ties: list[Tie]         # decided by the order of the table


@dataclass(frozen=True)
class Match(Record):
    """A treatment under one protocol."""

    scorable: bool
    right: bool
    predicted: str | None = None     # mechanism of the neighbour; None without a permitted neighbour
    neighbour: str | None = None
    similarity: float | None = None  # with the neighbour
    average_precision: Share | None = None  # of the ranking of all permitted neighbours; None where not scorable


@dataclass(frozen=True)
class MatchedTreatment(Record):
    """A treatment under all protocols."""

    compound: str
    concentration: float | None  # None where not given
    mechanism: str
    counts: bool                 # False: the network was trained on it, so it is a neighbour only
    batches: list[str]
    wells: int
    nsc: Match
    nscb: Match | None           # None where no week or batch is known
    same_compound_allowed: Match


@dataclass(frozen=True)
class MechanismCounts(Record):
    """The treatments of one mechanism."""

    mechanism: str
    treatments: int
    compounds: int
    nsc: Count
    nscb: Count | None  # None where no week or batch is known
    same_compound_allowed: Count


@dataclass(frozen=True)
class ProfileScores(Record):
    """The scores of a table of profiles."""

    nsc: ProtocolScore
    nscb: ProtocolScore | None          # None where no week or batch is known
    same_compound_allowed: ProtocolScore
    mechanisms: list[MechanismCounts]   # in alphabetical order
    treatments: list[MatchedTreatment]  # in the order of the table
    trained: list[str]                  # treatments that are neighbours only


def score_profiles(treatments: Treatments, *, similarity: str = "cosine", draws: int = 5000, permutations: int = 1000,
                   seed: int = 0) -> ProfileScores:
    """Score treatments under the three protocols, with intervals and null distributions.

    similarity: as in `similarities`; draws: of compounds, for the intervals; permutations: of labels.
    """
    return score_similarities(treatments.frame, similarities(treatments.profiles_TF, similarity), draws=draws,
                              permutations=permutations, seed=seed)


def score_similarities(frame: pd.DataFrame, likeness_TT: np.ndarray, *, draws: int = 5000, permutations: int = 1000,
                       seed: int = 0) -> ProfileScores:
    """Score treatments by how alike they are; a row of `likeness_TT` is a query.  NSCB needs weeks: None without any.

    frame: as in Treatments; draws, permutations: as in score_profiles.
    """
    scores: dict[str, Any] = dict.fromkeys(PROTOCOLS)
    matches: dict[str, Any] = dict.fromkeys(PROTOCOLS, [None] * len(frame))
    for protocol in PROTOCOLS:
        if protocol != "nscb" or any(batch for batches in frame["Batches"] for batch in batches):
            scores[protocol], matches[protocol] = _score_protocol(protocol, frame, likeness_TT, draws=draws,
                                                                  permutations=permutations, seed=seed)
    rows = [MatchedTreatment(
        row["Metadata_Compound"], _number(row["Metadata_Concentration"]), row["Metadata_MOA"], bool(row["Scored"]),
        sorted(filter(None, row["Batches"])), int(row["Wells"]),
        **{protocol: matches[protocol][t] for protocol in PROTOCOLS})
        for t, row in enumerate(frame.to_dict("records"))]
    trained = [name(frame, t) for t in np.flatnonzero(~frame["Scored"].to_numpy())]
    return ProfileScores(**scores, mechanisms=_by_mechanism(rows), treatments=rows, trained=trained)


def _score_protocol(protocol: str, frame: pd.DataFrame, likeness_TT: np.ndarray, *, draws: int, permutations: int,
                    seed: int) -> tuple[ProtocolScore, list[Match]]:
    """Return the score under one protocol, and the match of each treatment."""
    mechanisms_T, compounds_T = frame["Metadata_MOA"].to_numpy(), frame["Metadata_Compound"].to_numpy()
    counts_T = frame["Scored"].to_numpy()
    allowed_TT = ~barred(protocol, compounds_T, frame["Batches"].to_list())
    neighbour_T, tied = match(likeness_TT, allowed_TT)
    right_1T, scorable_1T = judge(mechanisms_T[None], neighbour_T, allowed_TT)
    right_T, scorable_T = right_1T[0] & counts_T, scorable_1T[0] & counts_T

    def share_of(labels_DT: np.ndarray) -> np.ndarray:
        right_DT, scorable_DT = judge(labels_DT, neighbour_T, allowed_TT)
        with np.errstate(invalid="ignore"):
            return (right_DT & counts_T).sum(axis=1) / (scorable_DT & counts_T).sum(axis=1)

    def mean_of(labels_DT: np.ndarray) -> np.ndarray:
        precisions_DT = average_precisions(labels_DT, likeness_TT, allowed_TT)[:, counts_T]
        with np.errstate(invalid="ignore"):
            return np.nansum(precisions_DT, axis=1) / np.isfinite(precisions_DT).sum(axis=1)

    def permuted(share: Callable[[np.ndarray], np.ndarray]) -> ProtocolPermutations:
        return ProtocolPermutations(*(
            permutation_test(share, mechanisms_T, compounds_T, groups, draws=permutations, seed=seed)
            for groups in (None, _batches_of_compounds(frame))))

    correct, precision_T = int(right_T.sum()), average_precisions(mechanisms_T[None], likeness_TT, allowed_TT)[0]
    score = ProtocolScore(
        correct, int(scorable_T.sum()), Count(correct, int(counts_T.sum())),
        interval(right_T[scorable_T], compounds_T[scorable_T], draws=draws, seed=seed), permuted(share_of),
        MeanAveragePrecision(
            float(precision_T[scorable_T].mean()) if scorable_T.any() else None,
            interval(precision_T[scorable_T], compounds_T[scorable_T], draws=draws, seed=seed), permuted(mean_of)),
        unscorable=[name(frame, t) for t in np.flatnonzero(~scorable_T & counts_T)],
        ties=[Tie(name(frame, t), [name(frame, u) for u in others])
              for t, others in tied.items() if counts_T[t] and len(set(mechanisms_T[others])) > 1])
    matches = [Match(bool(scorable_T[t]), bool(right_T[t])) if u < 0 else
               Match(bool(scorable_T[t]), bool(right_T[t]), mechanisms_T[u], name(frame, u), float(likeness_TT[t, u]),
                     float(precision_T[t]) if scorable_T[t] else None)
               for t, u in enumerate(neighbour_T)]
    return score, matches


def _batches_of_compounds(frame: pd.DataFrame) -> np.ndarray:
    """Return the batches of each treatment's compound, (T,) text."""
    batches = frame["Batches"].groupby(frame["Metadata_Compound"].to_numpy()).agg(
        lambda of_treatments: repr(sorted(frozenset.union(*of_treatments))))
    return batches[frame["Metadata_Compound"].to_numpy()].to_numpy()


def _by_mechanism(rows: list[MatchedTreatment]) -> list[MechanismCounts]:
    counts = []
    for mechanism in sorted({row.mechanism for row in rows}):
        members = [row for row in rows if row.mechanism == mechanism]
        matches = {protocol: [getattr(row, protocol) for row in members] for protocol in PROTOCOLS}
        right: dict[str, Any] = {
            protocol: None if None in found else Count(sum(match.right for match in found),
                                                       sum(match.scorable for match in found))
            for protocol, found in matches.items()}
        counts.append(MechanismCounts(mechanism, len(members), len({row.compound for row in members}), **right))
    return counts


def name(frame: pd.DataFrame, treatment: int | np.integer) -> str:
    """Return "taxol 0.3"; the compound alone where no concentration is given."""
    concentration = frame["Metadata_Concentration"].iat[treatment]
    compound = frame["Metadata_Compound"].iat[treatment]
    return compound if np.isnan(concentration) else f"{compound} {concentration:g}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
