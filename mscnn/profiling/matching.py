"""Match profiles of treatments with their neighbours: how often does the nearest agree, and how do all of them rank?

NSC: not of the same compound (Ljosa et al., J. Biomol. Screen. 18 (2013) 1321-1329).  NSCB: nor of the same batch (Ando et
al., bioRxiv 161422 (2017)).  mAP: mean average precision of the mechanism, under either (Kalinin et al., Nat. Commun. 16
(2025) 5181).   mscnn score PROFILES

Shapes: T treatments, Q treatments of a block as queries, F features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core.records import Record
from mscnn.profiling.neighbours import LabelDraws, Rows, barred, batch_members, blocks, similarity_rows
from mscnn.profiling.protocol import PROTOCOLS, Count, Found, Match, ProtocolScore
from mscnn.profiling.resampling import permuted_labels

_MOST_PAIRS = 100_000_000  # of a query and a treatment of its mechanism, over all permutations of a null distribution


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
    weekless: int = 0  # rows with a mechanism that have no week or batch, where others have one: NSCB needs all


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

    similarity: as in `similarities`; draws: of compounds, for the intervals; permutations: of labels, fewer where many
    treatments share a mechanism (the scores tell how many).
    """
    return score_similarities(treatments.frame, similarity_rows(treatments.profiles_TF, similarity), draws=draws,
                              permutations=permutations, seed=seed)


def score_similarities(frame: pd.DataFrame, rows: Rows, *, draws: int = 5000, permutations: int = 1000,
                       seed: int = 0) -> ProfileScores:
    """Score treatments by how alike they are; rows: of queries.  NSCB needs weeks: None without any.

    frame: as in Treatments; draws, permutations: as in score_profiles.
    """
    labels_T, compounds_T = frame["Metadata_MOA"].to_numpy(), frame["Metadata_Compound"].to_numpy()
    per_draw = int((np.unique(labels_T, return_counts=True)[1] ** 2).sum())
    permutations = min(permutations, max(1, _MOST_PAIRS // per_draw))
    nulls = [LabelDraws(permuted_labels(labels_T, compounds_T, groups, draws=permutations, seed=seed))
             for groups in (None, _batches_of_compounds(frame))]
    observed = LabelDraws(labels_T[None])
    found = {protocol: Found(frame, observed, nulls) for protocol in PROTOCOLS
             if protocol != "nscb" or any(batch for batches in frame["Batches"] for batch in batches)}
    members_TB = batch_members(frame["Batches"].to_list())
    for queries in blocks(len(frame)):
        likeness_QT = rows(queries)
        for protocol, of_protocol in found.items():
            of_protocol.add(queries, likeness_QT, ~barred(protocol, compounds_T, members_TB, queries))
    names = [name(frame, t) for t in range(len(frame))]
    scores: dict[str, Any] = {protocol: found[protocol].score(names, draws, seed) if protocol in found else None
                              for protocol in PROTOCOLS}
    matches = {protocol: found[protocol].matches(names) if protocol in found else [None] * len(frame)
               for protocol in PROTOCOLS}
    treatments = [MatchedTreatment(
        row["Metadata_Compound"], _number(row["Metadata_Concentration"]), row["Metadata_MOA"], bool(row["Scored"]),
        sorted(filter(None, row["Batches"])), int(row["Wells"]),
        **{protocol: matches[protocol][t] for protocol in PROTOCOLS})
        for t, row in enumerate(frame.to_dict("records"))]
    trained = [names[t] for t in np.flatnonzero(~frame["Scored"].to_numpy())]
    return ProfileScores(**scores, mechanisms=_by_mechanism(treatments), treatments=treatments, trained=trained)


def _batches_of_compounds(frame: pd.DataFrame) -> np.ndarray:
    """Return the batches of each treatment's compound, (T,) text."""
    batches = frame["Batches"].groupby(frame["Metadata_Compound"].to_numpy()).agg(
        lambda of_treatments: repr(sorted(frozenset.union(*of_treatments))))
    return batches[frame["Metadata_Compound"].to_numpy()].to_numpy()


def _by_mechanism(rows: list[MatchedTreatment]) -> list[MechanismCounts]:
    by_name: dict[str, list[MatchedTreatment]] = {}
    for row in rows:
        by_name.setdefault(row.mechanism, []).append(row)
    counts = []
    for mechanism, members in sorted(by_name.items()):
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
