"""What the treatments of a table find under one protocol: nearest neighbours, average precisions, recalls, and their nulls.

Shapes: T treatments, Q treatments of a block as queries, D draws of labels, V values of a query: right or not, average
precision, recall at each k of RECALL_AT.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mscnn.core.records import KEY, Record, Share
from mscnn.profiling.neighbours import RECALL_AT, LabelDraws, match, ranks
from mscnn.profiling.resampling import Interval, LabelPermutation, interval, null_distribution

PROTOCOLS = {"nsc": "NSC   not same compound", "nscb": "NSCB  nor same batch",
             "same_compound_allowed": "same compound allowed"}


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
class RecallAt(Record):
    """Which share of a treatment's mechanism is among its nearest neighbours."""

    k: int                  # neighbours
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
    recall: list[RecallAt] = field(default_factory=list)  # for each k of RECALL_AT


@dataclass(frozen=True)
class Match(Record):
    """A treatment under one protocol."""

    scorable: bool
    right: bool
    predicted: str | None = None     # mechanism of the neighbour; None without a permitted neighbour
    neighbour: str | None = None
    similarity: float | None = None  # with the neighbour
    average_precision: Share | None = None  # of the ranking of all permitted neighbours; None where not scorable


class Found:
    """What the queries of all blocks find under one protocol."""

    def __init__(self, frame: pd.DataFrame, observed: LabelDraws, nulls: list[LabelDraws]):
        number = len(frame)
        self.mechanisms_T, self.compounds_T = frame["Metadata_MOA"].to_numpy(), frame["Metadata_Compound"].to_numpy()
        self.counts_T, self.observed, self.nulls = frame["Scored"].to_numpy(), observed, nulls
        self.neighbour_T, self.similarity_T = np.full(number, -1), np.full(number, np.nan)
        self.ties: dict[int, list[int]] = {}
        self.values_TV = np.full((number, 2 + len(RECALL_AT)), np.nan)  # NaN: unscorable
        self.null_sums = [np.zeros((len(null.codes_DT), 3 + len(RECALL_AT))) for null in nulls]  # of V, then their number

    def add(self, queries: slice, likeness_QT: np.ndarray, allowed_QT: np.ndarray) -> None:
        """Match and rank the permitted neighbours of a block of queries."""
        neighbour_Q, tied = match(likeness_QT, allowed_QT)
        ranks_QT = ranks(likeness_QT, allowed_QT)
        self.neighbour_T[queries] = neighbour_Q
        self.similarity_T[queries] = likeness_QT[np.arange(len(neighbour_Q)), neighbour_Q]
        self.ties |= {queries.start + query: others for query, others in tied.items()}
        self.values_TV[queries] = self._values(self.observed, queries, neighbour_Q, ranks_QT)[0]
        counts_Q = self.counts_T[queries]
        for null, sums in zip(self.nulls, self.null_sums, strict=True):
            values_DQV = self._values(null, queries, neighbour_Q, ranks_QT)[:, counts_Q]
            sums[:, :-1] += np.nansum(values_DQV, axis=1)
            sums[:, -1] += np.isfinite(values_DQV[..., 0]).sum(axis=1)

    @staticmethod
    def _values(draws: LabelDraws, queries: slice, neighbour_Q: np.ndarray, ranks_QT: np.ndarray) -> np.ndarray:
        """Return right or not, average precision and recalls of each query, (D, Q, V); NaN where it is unscorable."""
        found = draws.retrieve(queries, ranks_QT)
        right_DQ = (draws.codes_DT[:, queries] == draws.codes_DT[:, neighbour_Q]) & (neighbour_Q >= 0)
        right_DQ = np.where(np.isnan(found.precision_DQ), np.nan, right_DQ)
        return np.concatenate([right_DQ[..., None], found.precision_DQ[..., None], found.recall_DQK], axis=2)

    def score(self, names: list[str], draws: int, seed: int) -> ProtocolScore:
        """Return the score of all queries."""
        scorable_T = self._scorable()
        correct, counts = int(np.nansum(self.values_TV[self.counts_T, 0])), int(self.counts_T.sum())

        def summary(value: int) -> tuple[float | None, Interval, ProtocolPermutations]:
            values_T = self.values_TV[scorable_T, value]
            mean = float(values_T.mean()) if len(values_T) else None
            with np.errstate(invalid="ignore"):
                nulls = [null_distribution(sums[:, value] / sums[:, -1], np.nan if mean is None else mean)
                         for sums in self.null_sums]
            of_compounds = interval(values_T, self.compounds_T[scorable_T], draws=draws, seed=seed)
            return mean, of_compounds, ProtocolPermutations(*nulls)

        _, within, permuted = summary(0)
        return ProtocolScore(
            correct, int(scorable_T.sum()), Count(correct, counts), within, permuted, MeanAveragePrecision(*summary(1)),
            unscorable=[names[t] for t in np.flatnonzero(~scorable_T & self.counts_T)],
            ties=[Tie(names[t], [names[u] for u in others]) for t, others in self.ties.items()
                  if self.counts_T[t] and len(set(self.mechanisms_T[others])) > 1],
            recall=[RecallAt(k, *summary(2 + number)) for number, k in enumerate(RECALL_AT)])

    def matches(self, names: list[str]) -> list[Match]:
        """Return the match of each treatment."""
        scorable_T, right_T = self._scorable(), self.values_TV[:, 0] == 1
        return [Match(bool(scorable_T[t]), bool(right_T[t] and self.counts_T[t])) if u < 0 else
                Match(bool(scorable_T[t]), bool(right_T[t] and self.counts_T[t]), self.mechanisms_T[u], names[u],
                      float(self.similarity_T[t]), float(self.values_TV[t, 1]) if scorable_T[t] else None)
                for t, u in enumerate(self.neighbour_T)]

    def _scorable(self) -> np.ndarray:
        return np.isfinite(self.values_TV[:, 0]) & self.counts_T
