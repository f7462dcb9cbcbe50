"""Clusters of drawn groups, of noise, and of tables that cannot be clustered."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, silhouette_score

from mscnn.profiling import clusters
from mscnn.profiling.clusters import COLUMNS, Cluster, ClusterSummary, cluster_treatments

SIZES = (18, 14, 10, 6)  # treatments of the drawn groups, two a compound


def frame_of(number: int, mechanisms: list[str] | None = None, doses: int = 2) -> pd.DataFrame:
    return pd.DataFrame({"Metadata_Compound": [f"c{row // doses:02}" for row in range(number)],
                         "Metadata_Concentration": [float(row % doses) for row in range(number)],
                         "Metadata_MOA": mechanisms or [""] * number})


def groups(noise: float = 0.1, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Groups of profiles around centres, in a drawn order of compounds."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(list("MNOP"), SIZES)
    profiles = np.repeat(rng.normal(size=(len(SIZES), 8)), SIZES, axis=0) + noise * rng.normal(size=(len(labels), 8))
    order = np.arange(len(labels)).reshape(-1, 2)[rng.permutation(len(labels) // 2)].ravel()
    return frame_of(len(labels), labels[order].tolist()), profiles[order]


def test_drawn_groups_are_found_and_are_stable():
    frame, profiles = groups()
    found = cluster_treatments(frame, profiles)
    summary = found.summary
    assert summary.clusters is not None
    assert [(cluster.cluster, cluster.treatments, cluster.compounds, cluster.mechanism, cluster.share)
            for cluster in summary.clusters] == [(number + 1, size, size // 2, mechanism, 1.0) for number, (size, mechanism)
                                                 in enumerate(zip(SIZES, "MNOP", strict=True))]
    assert min(cluster.stability for cluster in summary.clusters) > 0.9
    assert summary.stable == 4
    assert (summary.treatments, summary.draws, summary.note) == (48, 30, "")
    assert (summary.adjusted_rand, summary.adjusted_information) == pytest.approx((1.0, 1.0))
    assert ClusterSummary.from_json(summary.to_json()) == summary
    assert list(found.table) == COLUMNS
    assert found.table["Cluster"].is_monotonic_increasing
    assert found.table["Metadata_MOA"].tolist() == list(np.repeat(list("MNOP"), SIZES))
    assert found.table["Stability"].tolist() == [
        cluster.stability for cluster in summary.clusters for _ in range(cluster.treatments)]


def test_clusters_silhouettes_and_agreement_are_scikit_learns():
    frame, profiles = groups(noise=0.8)
    found = cluster_treatments(frame, profiles)
    cuts = {number: AgglomerativeClustering(number, metric="cosine", linkage="average").fit_predict(profiles)
            for number in range(2, 31)}
    scores = {number: silhouette_score(profiles, labels, metric="cosine") for number, labels in cuts.items()}
    best = max(scores, key=lambda number: scores[number])
    keys = ["Metadata_Compound", "Metadata_Concentration"]
    ours = frame.merge(found.table, on=keys)["Cluster"]
    assert adjusted_rand_score(cuts[best], ours) == 1.0
    assert found.summary.silhouette == pytest.approx(scores[best], abs=1e-5)  # distances in float32
    assert found.summary.adjusted_rand == pytest.approx(adjusted_rand_score(frame["Metadata_MOA"], cuts[best]))
    assert found.summary.adjusted_information == pytest.approx(
        adjusted_mutual_info_score(frame["Metadata_MOA"], cuts[best]))
    for cluster in found.summary.clusters:
        of_cluster = found.table[found.table["Cluster"] == cluster.cluster]
        assert cluster.silhouette == pytest.approx(of_cluster["Silhouette"].mean())


def test_stability_by_hand(monkeypatch):
    """Two pairs of treatments, of which one is not drawn at first."""
    frame = frame_of(4, doses=1)
    profiles = np.array([[1, 0, 0], [1, 0.2, 0], [0, 0, 1], [0, 0.2, 1]], float)
    monkeypatch.setattr(clusters, "FEW", 2)
    monkeypatch.setattr(clusters, "_draw_compounds", lambda *_: iter([np.array([0, 1]), np.arange(4)]))
    found = cluster_treatments(frame, profiles, draws=2)
    assert [cluster.treatments for cluster in found.summary.clusters] == [2, 2]
    # First draw: {0} and {1} are the clusters.  2 is as far from both and joins the first, {0, 2}; 3 joins {1, 3}.  The
    # Jaccard similarity of {0, 1} with {0, 2} is 1/3, that of {2, 3} as well.  Second draw: 1.
    expected = (1 / 3 + 1) / 2
    assert [cluster.stability for cluster in found.summary.clusters] == pytest.approx([expected, expected])


def test_treatments_that_are_not_drawn_join_the_cluster_with_the_least_mean_distance(monkeypatch):
    """Angles: 50 degrees lies with 0, 2 and 4, though the sum of its distances to these is larger than to 120 alone."""
    radians = np.radians([0, 2, 4, 50, 120, 122])
    monkeypatch.setattr(clusters, "_draw_compounds", lambda *_: iter([np.array([0, 1, 2, 4])]))
    found = cluster_treatments(frame_of(6, doses=1), np.column_stack([np.cos(radians), np.sin(radians)]), draws=1)
    assert [(cluster.treatments, cluster.stability) for cluster in found.summary.clusters] == [(4, 1.0), (2, 1.0)]


def test_when_all_compounds_are_drawn_the_clusters_are_the_same(monkeypatch):
    """Angles from 0 to 60 degrees and around 92: 60 lies in the first cluster, and is nearer to the second on average."""
    radians = np.radians([*range(0, 61, 5), *np.arange(90, 94, 0.5)])
    monkeypatch.setattr(clusters, "_draw_compounds", lambda *_: iter([np.arange(21)]))
    found = cluster_treatments(frame_of(21, doses=1), np.column_stack([np.cos(radians), np.sin(radians)]), draws=1)
    assert [(cluster.treatments, cluster.stability) for cluster in found.summary.clusters] == [(13, 1.0), (8, 1.0)]
    assert found.table["Silhouette"].min() < 0


def test_noise_is_not_stable():
    found = cluster_treatments(frame_of(100), np.random.default_rng(0).normal(size=(100, 50)))
    assert found.summary.stable <= 1
    assert np.mean([cluster.stability for cluster in found.summary.clusters]) < 0.6
    assert found.summary.silhouette < 0.15
    assert (found.summary.adjusted_rand, found.summary.adjusted_information) == (None, None)
    assert {(cluster.mechanism, cluster.share) for cluster in found.summary.clusters} == {("", None)}


def test_all_doses_of_a_compound_are_drawn_or_none():
    compounds = np.repeat(["a", "b", "c", "d"], [3, 1, 2, 2])
    draws = [set(compounds[rows]) for rows in clusters._draw_compounds(compounds, 200, 0)]
    for rows, names in zip(clusters._draw_compounds(compounds, 200, 0), draws, strict=True):
        assert len(rows) == np.isin(compounds, list(names)).sum()
    assert np.mean([len(names) for names in draws]) == pytest.approx(4 * (1 - 0.75 ** 4), abs=0.2)  # with replacement
    assert min(map(len, draws)) == 2


def test_the_mechanism_of_a_cluster_is_the_most_frequent_known_one():
    frame, profiles = groups()
    some = frame["Metadata_MOA"].where(frame.groupby("Metadata_MOA").cumcount() < 5, "")
    some[np.flatnonzero(frame["Metadata_MOA"] == "M")[:2]] = "P"
    found = cluster_treatments(frame.assign(Metadata_MOA=some), profiles).summary
    assert [(cluster.mechanism, cluster.share) for cluster in found.clusters] == [
        ("M", 3 / 5), ("N", 1.0), ("O", 1.0), ("P", 1.0)]
    assert 0.5 < found.adjusted_rand < 1  # of the 20 treatments whose mechanism is known


def test_the_same_seed_gives_the_same_stability():
    frame, profiles = groups(noise=1.0)
    found = [cluster_treatments(frame, profiles, draws=5, seed=seed).table for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(found[0], found[1])
    assert not found[0]["Stability"].equals(found[2]["Stability"])
    assert found[0]["Cluster"].equals(found[2]["Cluster"])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_too_few_treatments_have_no_clusters(number):
    found = cluster_treatments(frame_of(number), np.random.default_rng(0).normal(size=(number, 4)))
    assert f"{number} of {number} treatments" in found.summary.note
    assert (found.summary.clusters, found.summary.silhouette, len(found.table)) == (None, None, 0)
    assert list(found.table) == COLUMNS
    assert found.summary.stable == 0


def test_equal_profiles_and_profiles_of_zeros_have_no_clusters():
    lengths = np.arange(1, 21)[:, None]
    equal = cluster_treatments(frame_of(20), lengths * np.array([[0.1, 0.7, 0.3]]))  # alike, but for length and rounding
    assert equal.summary.note.startswith("all profiles are alike")
    zeros = cluster_treatments(frame_of(20), np.zeros((20, 4)))
    assert "0 of 20 treatments have a profile that is not zero" in zeros.summary.note
    assert equal.summary.clusters is zeros.summary.clusters is None


def test_profiles_of_zeros_are_left_out_and_counted():
    frame, profiles = groups()
    more = pd.concat([frame, frame_of(2).assign(Metadata_Compound="z")], ignore_index=True)
    found = cluster_treatments(more, np.vstack([profiles, np.zeros((2, 8))]))
    assert found.summary.note == "2 treatments with profiles of zeros are in no cluster"
    assert found.summary.clusters == cluster_treatments(frame, profiles).summary.clusters


def test_few_compounds_have_clusters_without_stability():
    frame, profiles = frame_of(15, doses=3), np.repeat(np.eye(5), 3, axis=0) + np.arange(15)[:, None] % 3 / 20
    found = cluster_treatments(frame, profiles)
    assert len(found.summary.clusters) == 5
    assert {(cluster.stability, cluster.verdict) for cluster in found.summary.clusters} == {(None, "")}
    assert (found.summary.draws, found.summary.stable) == (0, 0)
    assert "5 compounds are too few to judge stability; 6 are needed" in found.summary.note


def test_very_large_and_very_small_profiles_have_the_same_clusters():
    frame, profiles = groups()
    scales = np.array([1e-200, 1.0, 1e100])[np.arange(len(profiles)) % 3, None]
    assert cluster_treatments(frame, profiles * scales).summary == cluster_treatments(frame, profiles).summary


def test_groups_of_equal_profiles_are_clusters():
    found = cluster_treatments(frame_of(24), np.repeat(np.eye(4), 6, axis=0))
    assert [cluster.treatments for cluster in found.summary.clusters] == [6] * 4
    assert found.table["Metadata_Compound"].tolist() == sorted(found.table["Metadata_Compound"])  # the first is number 1


def test_too_many_treatments_are_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(clusters, "MOST_TREATMENTS", 47)
    found = cluster_treatments(*groups())
    assert found.summary.note == ("48 treatments are too many to cluster, as all distances are needed; give at most 47, "
                                  "such as the active ones")
    assert found.summary.clusters is None


@pytest.mark.parametrize(("most", "found"), [(4, 4), (3, 3), (2, 2)])
def test_there_are_no_more_clusters_than_the_most(most, found, monkeypatch):
    monkeypatch.setattr(clusters, "MOST_CLUSTERS", most)
    assert len(cluster_treatments(*groups(), draws=1).summary.clusters) == found


def test_verdicts_are_hennigs():
    def verdict(stability: float | None) -> str:
        return Cluster(1, 2, 2, 0.5, stability, "", None).verdict

    assert [verdict(value) for value in (1.0, 0.75, 0.74, 0.5, 0.49, None)] == [
        "stable", "stable", "doubtful", "doubtful", "dissolved", ""]
