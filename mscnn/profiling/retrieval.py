"""Retrieval of mechanisms in several tables of profiles of the same treatments: the network's, and those without training.

mAP, NSC and NSCB as in matching.py: cosine similarity of features that are standardised over all rows, without BBBC021's
taxol 0.3 uM control wells.   mscnn baselines RUN

Shapes: T treatments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from mscnn.core.errors import DataError
from mscnn.core.records import Record
from mscnn.profiling import matching, resampling, score_table
from mscnn.profiling.matching import ProfileScores
from mscnn.profiling.neighbours import similarities
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.protocol import ProtocolScore
from mscnn.profiling.resampling import Difference
from mscnn.profiling.treatment_profiles import KEYS

NETWORK = "the network"


@dataclass(frozen=True)
class RetrievalScore(Record):
    """How well a table of profiles finds the treatments of a mechanism."""

    nsc: ProtocolScore
    nscb: ProtocolScore | None  # None where no week or batch is known


@dataclass(frozen=True)
class RetrievalComparison(Record):
    """Retrieval in the tables of profiles of a screen, on the same treatments."""

    tables: dict[str, RetrievalScore]        # by name, those without training
    network: RetrievalScore | None = None    # None where there is nothing to compare
    note: str = ""                           # why there is nothing of the network, or what to know of it
    best: str = ""                           # name of the table with the highest mAP; "" where none has one
    difference: Difference | None = None     # of the network's mAP and the best table's, over compounds in pairs

    def rows(self) -> dict[str, RetrievalScore]:
        """Return the scores by name, the network first."""
        return {**({NETWORK: self.network} if self.network else {}), **self.tables}


def retrieval_over_folds(tables: Sequence[ProfileTable], *, control: str = "DMSO", aggregate_wells: str = "mean",
                         aggregate_treatments: str = "median", draws: int = 5000, permutations: int = 1000,
                         seed: int = 0) -> ProfileScores:
    """Score each fold's held-out treatments in the profiles of its own network, and all of them as one.

    tables: a network's profiles of all treatments, a table a fold; Scored tells the fold's held-out treatments, the
    queries.  Each table is standardised over its rows.  Similarities are taken within a fold alone, since features of two
    networks cannot be compared.  One table is scored as it is.  Raises DataError for tables of other treatments, for a
    treatment that two folds hold out, and where nothing can be scored.
    """
    frame, likeness_TT = None, np.empty((0, 0))
    for number, table in enumerate(tables):
        found, _, _ = score_table.treatments_of(
            table, normalise="standard", sphere=False, control=control, aggregate_wells=aggregate_wells,
            aggregate_treatments=aggregate_treatments, taxol_controls="drop")
        if frame is None:
            frame, likeness_TT = found.frame.assign(Scored=False), np.zeros((len(found.frame),) * 2)
        if not found.frame[KEYS].equals(frame[KEYS]):
            raise DataError(f"profiles of fold {number} are of other treatments than those of fold 0; evaluate each fold "
                            "with --profiles all")
        is_query_T = found.frame["Scored"].to_numpy()
        if twice := [matching.name(frame, t) for t in np.flatnonzero(is_query_T & frame["Scored"].to_numpy())]:
            raise DataError("treatments are held out in more than one fold, so that no network is theirs alone", twice)
        likeness_TT[is_query_T] = similarities(found.profiles_TF, "cosine")[is_query_T]
        frame["Scored"] |= is_query_T
    if frame is None or not frame["Scored"].any():
        raise DataError("no profile is of a held-out treatment; evaluate the folds again")
    return matching.score_similarities(frame, lambda queries: likeness_TT[queries], draws=draws, permutations=permutations,
                                       seed=seed)


def compare(tables: dict[str, ProfileTable], network: Sequence[ProfileTable], *, note: str = "", control: str = "DMSO",
            aggregate_wells: str = "mean", aggregate_treatments: str = "median", seed: int = 0) -> RetrievalComparison:
    """Compare the network's profiles, one table or one a fold, with tables that need no training.

    All must hold the same treatments, with the same ones scored.  Raises DataError where they do not.
    """
    score = partial(retrieval_over_folds, control=control, aggregate_wells=aggregate_wells,
                    aggregate_treatments=aggregate_treatments, seed=seed)
    scored = {name: score([table]) for name, table in tables.items()}
    means = {name: mean for name, scores in scored.items()
             if (mean := scores.nsc.mean_average_precision.mean) is not None}
    best = max(means, key=lambda name: means[name], default="")
    of_tables = {name: RetrievalScore(scores.nsc, scores.nscb) for name, scores in scored.items()}
    if not network:
        return RetrievalComparison(of_tables, note=note, best=best)
    ours = score(network)
    if apart := sorted(_queries(ours) ^ _queries(next(iter(scored.values()))), key=str):
        raise DataError(f"profiles of the network are scored on other treatments than the tables: {len(apart)} differ",
                        [" ".join(map(str, treatment)) for treatment in apart])
    return RetrievalComparison(of_tables, RetrievalScore(ours.nsc, ours.nscb), note, best,
                               _difference(ours, scored[best], seed) if best else None)


def lines(comparison: RetrievalComparison | None) -> list[str]:
    """Return the lines that a console shows: of each table mAP, and treatments right of those that can be scored."""
    if comparison is None:
        return []
    shown = []
    for name, score in comparison.rows().items():
        mean, nscb = score.nsc.mean_average_precision.mean, score.nscb
        shown.append(f"{name:26} mAP {'-' if mean is None else f'{mean:.3f}'}, NSC {_share(score.nsc)}"
                     + (f", NSCB {_share(nscb)}" if nscb else ""))
    return shown + ([f"{NETWORK}: {comparison.note}"] if comparison.note else [])


def _share(score: ProtocolScore) -> str:
    return f"{score.correct}/{score.total}" if score.total else "- (no treatment can be scored)"


def _queries(scores: ProfileScores) -> set[tuple]:
    return {(row.compound, row.concentration) for row in scores.treatments if row.counts}


def _difference(ours: ProfileScores, theirs: ProfileScores, seed: int) -> Difference:
    """Return the difference of two mAPs (NSC) of the same queries."""
    both = pd.DataFrame({
        side: {(row.compound, str(row.concentration)): row.nsc.average_precision for row in scores.treatments
               if row.counts and row.nsc.scorable}
        for side, scores in (("ours", ours), ("theirs", theirs))})
    by_compound = both.groupby(level=0).agg(["sum", "size"])
    return resampling.difference(by_compound["ours", "sum"].to_numpy(), by_compound["theirs", "sum"].to_numpy(),
                                 by_compound["ours", "size"].to_numpy(), seed=seed)
