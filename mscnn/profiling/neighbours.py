"""Nearest neighbours and rankings of treatments, under a protocol that bars some of them.

Treatments are compared in blocks of queries: memory grows with their number, not with its square.

Shapes: T treatments, Q treatments of a block as queries, F features, B batches, D draws of labels, L labels, K lengths of a
list of nearest neighbours, G pairs of a draw and a query, N treatments of a label.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

TIE = 1e-9  # similarities this close count as equal: sums in another order differ by less
RECALL_AT = (1, 3, 5, 10)
_MOST = 4_000_000  # values of an array of a block

Rows = Callable[[slice], np.ndarray]  # queries -> how alike they are to each treatment, (Q, T) float64


class Retrieved(NamedTuple):
    """What each query finds, under each draw of labels; NaN where no neighbour of its label is permitted."""

    precision_DQ: np.ndarray  # average precision
    recall_DQK: np.ndarray    # share of the permitted neighbours of its label that are among the RECALL_AT nearest


def similarities(profiles_TF: np.ndarray, kind: str) -> np.ndarray:
    """Return how alike treatments are, (T, T).

    kind: "cosine"; "correlation", the cosine about each profile's mean; "euclidean", minus the distance.  A profile of
    zeros has cosine 0 with all others.
    """
    return similarity_rows(profiles_TF, kind)(slice(None))


def similarity_rows(profiles_TF: np.ndarray, kind: str) -> Rows:
    """Return a function that computes rows of `similarities`."""
    if kind == "correlation":
        profiles_TF = profiles_TF - profiles_TF.mean(axis=1, keepdims=True)
    compare = euclidean_distances if kind == "euclidean" else cosine_similarity
    sign = -1 if kind == "euclidean" else 1
    return lambda queries: sign * compare(profiles_TF[queries], profiles_TF)


def blocks(num_treatments: int) -> Iterator[slice]:
    """Yield the queries in blocks whose rows of similarities are small."""
    step = max(1, _MOST // max(num_treatments, 1))
    return (slice(start, min(start + step, num_treatments)) for start in range(0, num_treatments, step))


def batch_members(batches_T: list[frozenset[str]]) -> np.ndarray:
    """Return whether each treatment has wells in each batch, (T, B) float32."""
    numbers = {batch: number for number, batch in enumerate(sorted(frozenset().union(*batches_T)))}
    members_TB = np.zeros((len(batches_T), len(numbers)), np.float32)
    for treatment, batches in enumerate(batches_T):
        members_TB[treatment, [numbers[batch] for batch in batches]] = 1
    return members_TB


def barred(protocol: str, compounds_T: np.ndarray, members_TB: np.ndarray, queries: slice = slice(None)) -> np.ndarray:
    """Return which treatments must not be neighbours of the queries under a protocol, (Q, T) bool; none is its own.

    members_TB: from batch_members; a batch in common bars in NSCB.
    """
    if protocol == "same_compound_allowed":
        return np.arange(len(compounds_T))[queries, None] == np.arange(len(compounds_T))
    barred_QT = compounds_T[queries, None] == compounds_T
    return barred_QT | (members_TB[queries] @ members_TB.T > 0) if protocol == "nscb" else barred_QT


def match(likeness_QT: np.ndarray, allowed_QT: np.ndarray) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Return each query's nearest permitted neighbour, (Q,), -1 without any; and {query: its neighbours} of ties.

    Of equally near neighbours the first in the table's order is taken, so that the same table gives the same score.
    """
    likeness_QT = np.where(allowed_QT, likeness_QT, -np.inf)
    best_Q = likeness_QT.max(axis=1)
    near_QT = allowed_QT & (likeness_QT >= best_Q[:, None] - TIE)
    neighbour_Q = np.where(near_QT.any(axis=1), near_QT.argmax(axis=1), -1)
    return neighbour_Q, {int(q): np.flatnonzero(near_QT[q]).tolist() for q in np.flatnonzero(near_QT.sum(axis=1) > 1)}


def ranks(likeness_QT: np.ndarray, allowed_QT: np.ndarray) -> np.ndarray:
    """Return the rank of each permitted neighbour by likeness, from 1, (Q, T) float32; inf for others.

    Equally near neighbours (TIE) share the last of their ranks, as in scikit-learn's average_precision_score.
    """
    likeness_QT = np.where(allowed_QT, likeness_QT, -np.inf)
    order_QT = np.argsort(-likeness_QT, axis=1, kind="stable")
    sorted_QT = np.take_along_axis(likeness_QT, order_QT, axis=1)
    with np.errstate(invalid="ignore"):  # two barred ones
        ends_QT = np.append(np.diff(sorted_QT, axis=1) < -TIE, np.ones((len(sorted_QT), 1), bool), axis=1)
    places_T = np.arange(1, sorted_QT.shape[1] + 1, dtype=np.float32)  # whole numbers up to 2**24
    shared_QT = np.minimum.accumulate(np.where(ends_QT, places_T, np.inf)[:, ::-1], axis=1)[:, ::-1]
    ranks_QT = np.empty(sorted_QT.shape, np.float32)
    np.put_along_axis(ranks_QT, order_QT, np.where(np.isneginf(sorted_QT), np.inf, shared_QT), axis=1)
    return ranks_QT


class LabelDraws:
    """Draws of the treatments' labels, (D, T), ordered so that the treatments of a label are found at once."""

    def __init__(self, labels_DT: np.ndarray):
        codes_DT = np.unique(labels_DT, return_inverse=True)[1].reshape(np.shape(labels_DT)).astype(np.int32)
        number, labels = len(codes_DT), int(codes_DT.max()) + 1
        self.codes_DT = codes_DT
        self.members_DT = np.argsort(codes_DT, axis=1, kind="stable").astype(np.int32)
        of_labels = codes_DT + labels * np.arange(number)[:, None]
        self.counts_DL = np.bincount(of_labels.ravel(), minlength=number * labels).reshape(number, labels)
        self.starts_DL = self.counts_DL.cumsum(axis=1) - self.counts_DL

    def retrieve(self, queries: slice, ranks_QT: np.ndarray) -> Retrieved:
        """Return how high the permitted neighbours with each query's own label rank, under each draw."""
        own_DQ = self.codes_DT[:, queries]
        draws_D = np.arange(len(own_DQ))[:, None]
        number_DQ, start_DQ = self.counts_DL[draws_D, own_DQ], self.starts_DL[draws_D, own_DQ]
        step = int(max(1, _MOST // max(number_DQ.sum(axis=1).max(), 1)))
        parts = [_retrieve(self.members_DT[first:first + step], start_DQ[first:first + step],
                           number_DQ[first:first + step], ranks_QT) for first in range(0, len(own_DQ), step)]
        return Retrieved(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _retrieve(members_DT: np.ndarray, start_DQ: np.ndarray, number_DQ: np.ndarray, ranks_QT: np.ndarray) -> Retrieved:
    """Return what is retrieved where members start .. start + number of a draw have the query's label."""
    (num_queries, num_treatments), shape = ranks_QT.shape, number_DQ.shape
    number_G = number_DQ.ravel()
    first_G = (start_DQ + num_treatments * np.arange(shape[0])[:, None]).ravel()
    row_G = num_treatments * (np.arange(len(number_G)) % num_queries)
    found_GV = np.full((len(number_G), 1 + len(RECALL_AT)), np.nan)
    for number in np.unique(number_G):  # N members: a rectangle of those with as many
        chosen = np.flatnonzero(number_G == number)
        member_GN = np.take(members_DT, first_G[chosen, None] + np.arange(number))
        ranks_GN = np.sort(np.take(ranks_QT, row_G[chosen, None] + member_GN), axis=1)
        found_GV[chosen] = _precision_and_recall(ranks_GN)
    found_DQV = found_GV.reshape(*shape, -1)
    return Retrieved(found_DQV[..., 0], found_DQV[..., 1:])


def _precision_and_recall(ranks_GN: np.ndarray) -> np.ndarray:
    """Return average precision and recalls of queries with these ranks of N relevant neighbours, sorted, (G, 1 + K)."""
    hits_N = np.arange(1, ranks_GN.shape[1] + 1)
    found_G = np.isfinite(ranks_GN).sum(axis=1)
    if (same_GN := (ranks_GN[:, 1:] == ranks_GN[:, :-1]) & np.isfinite(ranks_GN[:, 1:])).any():  # the last of a tie counts
        ends_GN = np.append(~same_GN, np.ones((len(same_GN), 1), bool), axis=1)
        hits_N = np.minimum.accumulate(np.where(ends_GN, hits_N, len(hits_N))[:, ::-1], axis=1)[:, ::-1]
    sums = [(hits_N / ranks_GN).sum(axis=1), *((ranks_GN <= k).sum(axis=1) for k in RECALL_AT)]
    with np.errstate(invalid="ignore"):
        return np.stack([values / found_G for values in sums], axis=1)
