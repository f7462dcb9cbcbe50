"""Nearest neighbours and rankings of treatments, under a protocol that bars some of them.

Shapes: T treatments, F features, D draws of labels, R permitted neighbours of a treatment.
"""

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

TIE = 1e-9  # similarities this close count as equal: sums in another order differ by less


def similarities(profiles_TF: np.ndarray, kind: str) -> np.ndarray:
    """Return how alike treatments are, (T, T).

    kind: "cosine"; "correlation", the cosine about each profile's mean; "euclidean", minus the distance.  A profile of
    zeros has cosine 0 with all others.
    """
    if kind == "euclidean":
        return -euclidean_distances(profiles_TF)
    if kind == "correlation":
        profiles_TF = profiles_TF - profiles_TF.mean(axis=1, keepdims=True)
    return cosine_similarity(profiles_TF)


def barred(protocol: str, compounds_T: np.ndarray, batches_T: list[frozenset[str]]) -> np.ndarray:
    """Return which treatments must not be neighbours under a protocol, (T, T) bool; the diagonal is True.

    batches_T: of each treatment; a batch in common bars in NSCB.
    """
    if protocol == "same_compound_allowed":
        return np.eye(len(compounds_T), dtype=bool)
    barred_TT = compounds_T[:, None] == compounds_T[None]
    if protocol == "nscb":
        barred_TT = barred_TT | [[bool(one & other) for other in batches_T] for one in batches_T]
    return barred_TT


def match(likeness_TT: np.ndarray, allowed_TT: np.ndarray) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Return each treatment's nearest permitted neighbour, (T,), -1 without any; and {treatment: its neighbours} of ties.

    Of equally near neighbours the first in the table's order is taken, so that the same table gives the same score.
    """
    likeness_TT = np.where(allowed_TT, likeness_TT, -np.inf)
    best_T = likeness_TT.max(axis=1)
    near_TT = allowed_TT & (likeness_TT >= best_T[:, None] - TIE)
    neighbour_T = np.where(near_TT.any(axis=1), near_TT.argmax(axis=1), -1)
    return neighbour_T, {int(t): np.flatnonzero(near_TT[t]).tolist() for t in np.flatnonzero(near_TT.sum(axis=1) > 1)}


def judge(labels_DT: np.ndarray, neighbour_T: np.ndarray, allowed_TT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which treatments are right, and which are scorable, (D, T) bool, under each draw of labels.

    A treatment with a permitted neighbour of its own mechanism is scorable: without one no profile could be right.
    """
    labels_DT = np.unique(labels_DT, return_inverse=True)[1].reshape(np.shape(labels_DT))
    right_DT = (labels_DT == labels_DT[:, neighbour_T]) & (neighbour_T >= 0)
    scorable_DT = np.zeros_like(right_DT)
    for label in range(labels_DT.max() + 1):
        has_label_DT = labels_DT == label
        scorable_DT |= has_label_DT & ((has_label_DT.astype(np.float32) @ allowed_TT.T.astype(np.float32)) > 0)
    return right_DT, scorable_DT


def average_precisions(labels_DT: np.ndarray, likeness_TT: np.ndarray, allowed_TT: np.ndarray) -> np.ndarray:
    """Return the average precision of each treatment as a query, (D, T) float64, under each draw of labels.

    The permitted neighbours are ranked by likeness; those with the query's label are relevant.  Without one: NaN.  Equally
    near neighbours have one rank together (TIE), as in scikit-learn's average_precision_score.
    """
    labels_DT = np.unique(labels_DT, return_inverse=True)[1].reshape(np.shape(labels_DT))
    found_DT = np.full(labels_DT.shape, np.nan)
    for query, likeness_T in enumerate(likeness_TT):
        permitted_R = np.flatnonzero(allowed_TT[query])
        ranked_R = permitted_R[np.argsort(-likeness_T[permitted_R], kind="stable")]
        ends = np.append(np.flatnonzero(np.diff(likeness_T[ranked_R]) < -TIE), len(ranked_R) - 1)  # of runs of ties
        end_R = ends[np.searchsorted(ends, np.arange(len(ranked_R)))]
        relevant_DR = labels_DT[:, ranked_R] == labels_DT[:, [query]]
        precision_DR = relevant_DR.cumsum(axis=1)[:, end_R] / (end_R + 1)
        with np.errstate(invalid="ignore"):
            found_DT[:, query] = (relevant_DR * precision_DR).sum(axis=1) / relevant_DR.sum(axis=1)
    return found_DT
