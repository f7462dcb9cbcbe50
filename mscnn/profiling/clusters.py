"""Cluster treatments by their profiles, and tell how stable each cluster is.

Average linkage of cosine distances.  The number of clusters is the one with the largest mean silhouette (Rousseeuw, J.
Comput. Appl. Math. 20 (1987) 53-65).  The stability of a cluster is its mean Jaccard similarity to the most similar cluster
of drawn compounds (Hennig, Comput. Stat. Data Anal. 52 (2007) 258-271).  Treatments that are not drawn join the cluster
with the least mean distance (Fang & Wang, Comput. Stat. Data Anal. 56 (2012) 468-477): else small clusters look stable.

A cluster of nearly all treatments is stable in any table: read the stability beside the silhouette.  Noise is cut into
clusters too; drawn normally in 50, 8 and 3 dimensions their mean stability was 0.5, 0.7 and 0.75.

Shapes: T treatments, F features, K clusters, N clusters of a draw.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, silhouette_samples
from sklearn.metrics.cluster import contingency_matrix

from mscnn.core.records import Count, Record, Share
from mscnn.core.words import counted
from mscnn.profiling.known import unit_profiles
from mscnn.profiling.resampling import FEW
from mscnn.profiling.treatment_profiles import KEYS

MOST_TREATMENTS = 5000  # the distances of more take gigabytes
MOST_CLUSTERS = 30
STABLE, DISSOLVED = 0.75, 0.5  # Hennig's rules of thumb for the mean Jaccard similarity
DECIMALS = 6                   # of a distance, which has 7 in float32: equal profiles have distance 0
COLUMNS = [*KEYS, "Cluster", "Stability", "Silhouette"]


@dataclass(frozen=True)
class Cluster(Record):
    """A cluster of treatments."""

    cluster: Count           # its number; 1 is the largest
    treatments: Count
    compounds: Count
    silhouette: float        # mean over its treatments: 1 far from all other clusters, 0 between two
    stability: Share | None  # mean Jaccard similarity over draws; None where it cannot be had
    mechanism: str           # most frequent one of the known; "" where none is known
    share: Share | None      # of the treatments with a known mechanism that have it; None where none is known

    @property
    def verdict(self) -> Literal["stable", "doubtful", "dissolved", ""]:
        """Return what the stability says; "" where it cannot be had."""
        if self.stability is None:
            return ""
        return "stable" if self.stability >= STABLE else "dissolved" if self.stability < DISSOLVED else "doubtful"


@dataclass(frozen=True)
class ClusterSummary(Record):
    """The clusters of the treatments of a screen."""

    treatments: Count                  # that were clustered
    silhouette: float | None = None    # mean over the treatments; None where nothing was clustered
    draws: Count = 0                   # of compounds, for the stability
    adjusted_rand: float | None = None         # agreement with known mechanisms: 1 the same, 0 by chance; None where fewer
    adjusted_information: float | None = None  # than two are known.  Rand index, and mutual information
    note: str = ""                     # why something cannot be had and what to do, or what is left out
    clusters: list[Cluster] | None = None        # the largest first; None where nothing was clustered

    @property
    def stable(self) -> int:
        """Return how many clusters are stable."""
        return sum(cluster.verdict == "stable" for cluster in self.clusters or [])


@dataclass(frozen=True)
class Clustering:
    """Clusters, and the cluster of each treatment."""

    summary: ClusterSummary
    table: pd.DataFrame  # COLUMNS; a row per treatment, by cluster; empty where nothing was clustered


def cluster_treatments(frame: pd.DataFrame, profiles_TF: np.ndarray, *, draws: int = 30, seed: int = 0) -> Clustering:
    """Return the clusters of treatments; without clusters, and with a reason, where there can be none.

    frame, profiles_TF: as treatment_profiles.of_wells returns them, or only the active ones of them; Metadata_MOA "" is not
    known.  draws: of as many compounds as there are, with replacement, copies left out; None of it with fewer than FEW.
    """
    has_profile_T = profiles_TF.any(axis=1)
    frame = frame[has_profile_T].reset_index(drop=True)
    unit_TF = unit_profiles(profiles_TF[has_profile_T]).astype(np.float32)
    if reason := _why_none(unit_TF, len(has_profile_T)):
        return Clustering(ClusterSummary(len(frame), note=reason), pd.DataFrame(columns=COLUMNS))
    distances_TT = _distances(unit_TF)
    if not distances_TT.any():
        return Clustering(ClusterSummary(len(frame), note="all profiles are alike: there is nothing to cluster; check the "
                                         "features"), pd.DataFrame(columns=COLUMNS))
    cluster_T, silhouette_T = _best_cut(distances_TT)
    compounds_T = frame["Metadata_Compound"].to_numpy(str)
    num_compounds, zeros = len(np.unique(compounds_T)), int((~has_profile_T).sum())
    notes = [f"{zeros} treatments with profiles of zeros are in no cluster"] if zeros else []
    if num_compounds < FEW:
        draws, notes = 0, [*notes, f"{counted(num_compounds, 'compound')} "
                             f"{'is' if num_compounds == 1 else 'are'} too few to judge stability; {FEW} are needed"]
    stability_K = _stability(distances_TT, cluster_T, compounds_T, draws=draws, seed=seed)
    table = frame[KEYS].assign(Cluster=cluster_T, Stability=stability_K[cluster_T - 1], Silhouette=silhouette_T)
    summary = ClusterSummary(len(table), float(silhouette_T.mean()), draws, *_agreement(table), "; ".join(notes),
                             [_describe(members) for _, members in table.groupby("Cluster")])
    return Clustering(summary, table.sort_values("Cluster", kind="stable", ignore_index=True))


def _why_none(unit_TF: np.ndarray, total: int) -> str:
    number = len(unit_TF)
    if number > MOST_TREATMENTS:
        return (f"{number:,} treatments are too many to cluster, as all distances are needed; give at most "
                f"{MOST_TREATMENTS:,}, such as the active ones")
    if number < 3:
        return (f"{number} of {total} treatments have a profile that is not zero, too few to cluster; 3 are needed")
    return ""


def _distances(unit_TF: np.ndarray) -> np.ndarray:
    """Return cosine distances (T, T), float32: half the memory of float64."""
    distances_TT = np.maximum(np.round(1 - unit_TF @ unit_TF.T, DECIMALS), 0)
    np.fill_diagonal(distances_TT, 0)
    return distances_TT


def _best_cut(distances_TT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster of each treatment, 1 is the largest, and its silhouette, where the mean silhouette is largest."""
    tree, best = _tree(distances_TT), None
    for number in range(2, min(len(distances_TT) - 1, MOST_CLUSTERS) + 1):
        cluster_T = fcluster(tree, number, "maxclust")
        if 1 < cluster_T.max() < len(cluster_T):  # treatments that are equally far join at once, so that a cut may lack
            silhouette_T = silhouette_samples(distances_TT, cluster_T, metric="precomputed")
            if best is None or silhouette_T.mean() > best[1].mean() + 1e-9:
                best = cluster_T, silhouette_T
    if best is None:
        return np.ones(len(distances_TT), int), np.zeros(len(distances_TT))
    numbers, first, code_T, sizes = np.unique(best[0], return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(numbers), int)
    rank[np.lexsort((first, -sizes))] = np.arange(1, len(numbers) + 1)
    return rank[code_T], best[1]


def _tree(distances_TT: np.ndarray) -> np.ndarray:
    return linkage(squareform(distances_TT, checks=False), "average")


def _stability(distances_TT: np.ndarray, cluster_T: np.ndarray, compounds_T: np.ndarray, *, draws: int,
               seed: int) -> np.ndarray:
    """Return (K,) of each cluster the mean over draws of its Jaccard similarity to the most similar cluster; NaN without.

    A draw is cut into as many clusters.
    """
    number = int(cluster_T.max())
    found_DK = np.full((max(draws, 1), number), np.nan)
    for draw, rows in enumerate(_draw_compounds(compounds_T, draws, seed)):
        drawn_T = fcluster(_tree(distances_TT[np.ix_(rows, rows)]), number, "maxclust")
        is_member_TN = (drawn_T[:, None] == np.unique(drawn_T)).astype(np.float32)
        joined_T = (distances_TT[:, rows] @ (is_member_TN / is_member_TN.sum(axis=0))).argmin(axis=1) + 1
        joined_T[rows] = drawn_T
        shared_KN = contingency_matrix(cluster_T, joined_T)
        sizes_K1, sizes_1N = shared_KN.sum(axis=1, keepdims=True), shared_KN.sum(axis=0, keepdims=True)
        found_DK[draw] = (shared_KN / (sizes_K1 + sizes_1N - shared_KN)).max(axis=1)
    return found_DK.mean(axis=0)


def _draw_compounds(compounds_T: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the treatments of drawn compounds: all doses of a compound, or none; two compounds at least."""
    names, compound_T = np.unique(compounds_T, return_inverse=True)
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        drawn = rng.integers(len(names), size=len(names))
        while np.ptp(drawn) == 0:
            drawn = rng.integers(len(names), size=len(names))
        yield np.flatnonzero(np.isin(compound_T, drawn))


def _agreement(table: pd.DataFrame) -> tuple[float | None, float | None]:
    """Return adjusted Rand index and adjusted mutual information of clusters and known mechanisms; None without two."""
    known = table[table["Metadata_MOA"] != ""]
    if known["Metadata_MOA"].nunique() < 2:
        return None, None
    return (float(adjusted_rand_score(known["Metadata_MOA"], known["Cluster"])),
            float(adjusted_mutual_info_score(known["Metadata_MOA"], known["Cluster"])))


def _describe(members: pd.DataFrame) -> Cluster:
    known, stability = members["Metadata_MOA"][members["Metadata_MOA"] != ""], members["Stability"].iloc[0]
    counts = known.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return Cluster(int(members["Cluster"].iloc[0]), len(members), members["Metadata_Compound"].nunique(),
                   float(members["Silhouette"].mean()), None if np.isnan(stability) else float(stability),
                   str(counts.index[0]) if len(counts) else "", float(counts.iloc[0] / len(known)) if len(counts) else None)
