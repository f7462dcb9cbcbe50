"""Scores of profiles by hand, and neighbours against scikit-learn's."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from mscnn.profiling import matching
from mscnn.profiling import neighbours as neighbours_module
from mscnn.profiling.matching import ProfileScores, TreatmentCounts, Treatments, score_profiles
from mscnn.profiling.neighbours import RECALL_AT, LabelDraws, barred, batch_members, match, ranks, similarities
from mscnn.profiling.protocol import PROTOCOLS
from mscnn.profiling.resampling import permuted_labels
from mscnn.profiling.score_table import lines

DRAWS = {"draws": 200, "permutations": 200}
COUNTED = TreatmentCounts(rows=9, control=1, unlabelled=2, wells=6, features=2)


def treatments(*rows: tuple) -> Treatments:
    """rows: compound, concentration, mechanism, weeks, profile."""
    frame = pd.DataFrame([row[:3] for row in rows], columns=["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"])
    frame["Batches"], frame["Wells"], frame["Scored"] = [frozenset(row[3].split()) for row in rows], 1, True
    return Treatments(frame, np.array([row[4] for row in rows], float))


def angle(degrees: float) -> tuple[float, float]:
    """A profile at this angle: the smaller the angle between two, the more alike they are."""
    return np.cos(np.radians(degrees)), np.sin(np.radians(degrees))


# By angle: a1 and a2 are nearest to each other; then b (same mechanism and week as a), c (another one's), d, e.
BY_HAND = treatments(
    ("a", 1.0, "M", "W1", angle(0)),
    ("a", 3.0, "M", "W1", angle(2)),
    ("b", 1.0, "M", "W1", angle(6)),          # shares a's week: barred in NSCB
    ("c", 1.0, "N", "W2 W3", angle(14)),      # runs in two weeks
    ("d", 1.0, "M", "W2", angle(21)),
    ("e", 1.0, "N", "W3", angle(40)),         # shares W3 with c
    ("f", 1.0, "O", "W4", angle(80)))         # the only one of its mechanism


def score(table: Treatments) -> dict:
    """As `score --json` writes it."""
    return score_profiles(table, **DRAWS).to_json()


def rounded(result: dict) -> dict:
    """Without the last digits, which depend on the order of sums."""
    return json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 9))


def rights(result: dict, protocol: str) -> list:
    """Per treatment: True, False, or None where it cannot be scored."""
    return [row[protocol]["right"] if row[protocol]["scorable"] else None for row in result["treatments"]]


def neighbours(result: dict, protocol: str) -> list[str]:
    return [row[protocol].get("neighbour") for row in result["treatments"]]


def test_nsc_nscb_and_same_compound_by_hand():
    result = score(BY_HAND)
    assert neighbours(result, "same_compound_allowed") == ["a 3", "a 1", "a 3", "d 1", "c 1", "d 1", "e 1"]
    assert neighbours(result, "nsc") == ["b 1", "b 1", "a 3", "d 1", "c 1", "d 1", "e 1"]
    # NSCB: a's of W1 see c next; b sees c; c (W2, W3) sees b; d (W2) may not see c: b; e (W3) may not see c: d.
    assert neighbours(result, "nscb") == ["c 1", "c 1", "c 1", "b 1", "b 1", "d 1", "e 1"]
    assert rights(result, "nsc") == [True, True, True, False, False, False, None]
    assert rights(result, "nscb") == [False, False, False, None, True, None, None]  # c and e share a week
    assert (result["nsc"]["correct"], result["nsc"]["total"], result["nsc"]["of_all"]) == (3, 6, {"correct": 3, "total": 7})
    assert (result["nscb"]["correct"], result["nscb"]["total"], result["nscb"]["of_all"]) == (
        1, 4, {"correct": 1, "total": 7})
    assert result["nscb"]["unscorable"] == ["c 1", "e 1", "f 1"]
    assert [result[name]["interval"]["compounds"] for name in ("nsc", "nscb")] == [5, 3]  # of what can be scored
    assert (result["same_compound_allowed"]["correct"], result["same_compound_allowed"]["total"]) == (3, 6)
    by_name = {row["mechanism"]: row for row in result["mechanisms"]}
    assert by_name["M"]["nsc"] == {"correct": 3, "total": 4}
    assert by_name["M"]["nscb"] == {"correct": 1, "total": 4}
    assert (by_name["M"]["treatments"], by_name["M"]["compounds"]) == (4, 3)
    assert by_name["O"]["nsc"] == {"correct": 0, "total": 0}
    assert result["treatments"][3]["batches"] == ["W2", "W3"]
    assert result["treatments"][0]["nsc"]["similarity"] == pytest.approx(np.cos(np.radians(6)))


def test_a_treatment_without_any_permitted_neighbour_is_unscorable_not_class_0():
    result = score(treatments(("a", 1.0, "M", "W1 W2", (1, 0)), ("b", 1.0, "M", "W1", (1, 0)),
                              ("c", 1.0, "M", "W2", (1, 0))))
    assert result["treatments"][0]["nscb"] == {"scorable": False, "right": False}
    assert result["nscb"]["unscorable"] == ["a 1"]
    assert (result["nscb"]["correct"], result["nscb"]["total"]) == (2, 2)


def test_ties_go_to_the_first_in_the_table_and_are_told_where_they_decide():
    result = score(treatments(("a", 1.0, "M", "W1", (1, 0)), ("b", 1.0, "N", "W2", (2, 0)),
                              ("c", np.nan, "M", "W3", (3, 0)), ("d", 1.0, "M", "W4", (0, 1)),
                              ("e", 1.0, "N", "W5", (0, 2))))
    assert neighbours(result, "nsc")[:3] == ["b 1", "a 1", "a 1"]          # lengths do not matter, c has no concentration
    assert result["nsc"]["ties"] == [
        {"treatment": "a 1", "neighbours": ["b 1", "c"]}, {"treatment": "c", "neighbours": ["a 1", "b 1"]}]  # b's two agree
    assert any("tie: a 1 is equally near to b 1; c" in line for line in lines(ProfileScores.from_json(result), COUNTED))


@pytest.mark.parametrize("kind", ["cosine", "correlation", "euclidean"])
def test_neighbours_are_scikit_learns(kind):
    rng = np.random.default_rng(0)
    profiles = rng.normal(size=(60, 5)) + 1
    compounds = np.array([f"c{number // 3}" for number in range(60)])
    batches = [frozenset({f"W{number // 9}"}) for number in range(60)]
    for protocol in PROTOCOLS:
        barred_TT = barred(protocol, compounds, batch_members(batches))
        found, _ = match(similarities(profiles, kind), ~barred_TT)
        for t in range(60):
            allowed = np.flatnonzero([u != t and (protocol == "same_compound_allowed" or compounds[u] != compounds[t])
                                      and (protocol != "nscb" or not batches[u] & batches[t]) for u in range(60)])
            oracle = NearestNeighbors(n_neighbors=1, metric=kind, algorithm="brute").fit(profiles[allowed])
            assert found[t] == allowed[oracle.kneighbors(profiles[[t]], return_distance=False)[0, 0]]


def test_mean_average_precision_by_hand():
    result = score(BY_HAND)
    # a 1 (and a 3) rank b, c, d, e, f: b and d have its mechanism.  b: a 3, a 1, c, d.  d: c, b, e, a 3, a 1.
    # c: b 1, d, a 3, a 1, e.  e: d, c.  f is the only one of its mechanism.
    of_a = (1 + 2 / 3) / 2
    expected = [of_a, of_a, (1 + 1 + 3 / 4) / 3, 1 / 5, (1 / 2 + 2 / 4 + 3 / 5) / 3, 1 / 2, None]
    assert [row["nsc"].get("average_precision") for row in result["treatments"]] == [
        value if value is None else pytest.approx(value) for value in expected]
    assert result["nsc"]["mean_average_precision"]["mean"] == pytest.approx(np.mean(expected[:-1]))
    # In NSCB a 1 (W1) ranks c, d, e, f; b the same; d (W2) ranks b, e, a 3, a 1, f.
    expected = [1 / 2, 1 / 2, 1 / 2, None, (1 + 2 / 3 + 3 / 4) / 3, None, None]
    assert [row["nscb"].get("average_precision") for row in result["treatments"]] == [
        value if value is None else pytest.approx(value) for value in expected]
    assert result["nscb"]["mean_average_precision"]["interval"]["compounds"] == 3


def drawn(number: int = 40) -> Treatments:
    """Five mechanisms, two treatments a compound, batches of eight; profiles that tell a little."""
    rng = np.random.default_rng(5)
    return treatments(*((f"c{n // 2:02}", float(n % 2), f"m{n // 2 % 5}", f"W{n // 8}",
                         0.5 * np.eye(5)[n // 2 % 5] + rng.normal(size=5)) for n in range(number)))


@pytest.mark.parametrize("steps", [1000, 4])
def test_average_precision_is_scikit_learns(steps):
    """Of 4 steps of similarity most are ties."""
    table = drawn()
    labels = table.frame["Metadata_MOA"].to_numpy()
    labels_DT = np.stack([labels, np.random.default_rng(0).permutation(labels)])
    likeness = np.round(similarities(table.profiles_TF, "cosine") * steps) / steps
    for protocol in PROTOCOLS:
        allowed = ~barred(protocol, table.frame["Metadata_Compound"].to_numpy(), batch_members(table.frame["Batches"]))
        expected = [[average_precision_score(draw[allowed[t]] == draw[t], likeness[t][allowed[t]])
                     if (draw[allowed[t]] == draw[t]).any() else np.nan for t in range(len(labels))] for draw in labels_DT]
        np.testing.assert_allclose(
            LabelDraws(labels_DT).retrieve(slice(None), ranks(likeness, allowed)).precision_DQ, expected, rtol=1e-12)


def test_mean_average_precision_is_copairs():
    import copairs.map as copairs

    table = drawn()
    frame = table.frame.assign(Metadata_Week=[next(iter(batches)) for batches in table.frame["Batches"]])
    result = score_profiles(table, **DRAWS).to_json()
    for protocol, barred_columns in (("nsc", ["Metadata_Compound"]), ("nscb", ["Metadata_Compound", "Metadata_Week"])):
        found = copairs.average_precision(
            frame.drop(columns=["Batches", "Wells", "Scored"]), table.profiles_TF, pos_sameby=["Metadata_MOA"],
            pos_diffby=barred_columns, neg_sameby=[], neg_diffby=["Metadata_MOA", *barred_columns])
        ours = [row[protocol]["average_precision"] for row in result["treatments"]]
        np.testing.assert_allclose(found["average_precision"].to_numpy(), ours, rtol=1e-6)
        assert result[protocol]["mean_average_precision"]["mean"] == pytest.approx(found["average_precision"].mean(), 1e-6)


def test_profiles_without_information_score_inside_the_null_and_informed_ones_far_above():
    rng = np.random.default_rng(1)
    rows = [(f"{mechanism}{compound}", float(dose), mechanism, f"W{(compound + number) % 5}", mechanism)
            for number, mechanism in enumerate("MNOP") for compound, dose in itertools.product(range(5), range(3))]
    centres = dict(zip("MNOP", rng.normal(size=(4, 8)), strict=True))
    noise = score(treatments(*((*row[:4], rng.normal(size=8)) for row in rows)))["nscb"]
    noise_of_ranks, noise = noise["mean_average_precision"]["permuted"], noise["permuted"]
    signal = score(treatments(*((*row[:4], centres[row[4]] + 0.2 * rng.normal(size=8)) for row in rows)))["nscb"]
    for null in noise.values():
        assert null["p"] > 0.05
    for null in noise_of_ranks.values():
        assert null["p"] > 0.05
    assert signal["mean_average_precision"]["mean"] > 0.99
    assert signal["mean_average_precision"]["permuted"]["over compounds"]["p"] == pytest.approx(1 / 201)
    assert signal["correct"] == signal["total"] == 60
    for null in signal["permuted"].values():
        assert null["p"] == pytest.approx(1 / 201)
        assert null["mean"] < 0.4


def test_batches_that_pose_as_biology_are_found_out_by_permuting_within_them():
    """Profiles tell the batch alone, and each batch holds one mechanism twice: right, but not by mechanism."""
    rng = np.random.default_rng(2)
    where = rng.normal(size=(6, 4))
    result = score(treatments(*((f"c{number}", 1.0, "MNMNMN"[number // 2], f"W{number // 2}",
                                 where[number // 2] + 0.01 * rng.normal(size=4)) for number in range(12))))
    assert result["nsc"]["correct"] == 12
    assert result["nsc"]["permuted"]["within batches"]["p"] == 1.0
    assert result["nsc"]["permuted"]["over compounds"]["p"] < 0.05


def test_recall_by_hand():
    """The share of a treatment's mechanism that is among its nearest permitted neighbours; a 1 ranks b, c, d, e, f."""
    recall = {row["k"]: row for row in score(BY_HAND)["nsc"]["recall"]}
    assert sorted(recall) == list(RECALL_AT)
    # of 2 (a 1, a 3: b and d), 3 (b: a 3, a 1, d), 1 (c: e, e: c), 3 (d: b, a 3, a 1)
    assert recall[1]["mean"] == pytest.approx(np.mean([1 / 2, 1 / 2, 1 / 3, 0, 0, 0]))
    assert recall[3]["mean"] == pytest.approx(np.mean([1, 1, 2 / 3, 0, 1 / 3, 1]))  # d: c, b, e, a 3, a 1;  e: d, c, b
    assert recall[10]["mean"] == 1
    assert recall[10]["permuted"]["over compounds"] == pytest.approx(
        {"draws": 200, "mean": 1.0, "high": 1.0, "p": 1.0})


def test_neighbours_that_tie_share_the_last_of_their_ranks():
    likeness = np.array([[1.0, 0.5, 0.5, 0.9, 0.5 + 1e-12, 0.1]])
    allowed = np.array([[False, True, True, True, True, True]])
    assert ranks(likeness, allowed).tolist() == [[np.inf, 4, 4, 1, 4, 5]]
    found = LabelDraws(np.array([list("MMNNMM")])).retrieve(slice(0, 1), ranks(likeness, allowed))
    assert found.precision_DQ[0, 0] == pytest.approx((2 / 4 + 2 / 4 + 3 / 5) / 3)
    assert found.recall_DQK[0, 0].tolist() == [0, 0, 1, 1]


def test_blocks_of_queries_change_nothing(monkeypatch):
    table = drawn()
    table.profiles_TF[35:] = table.profiles_TF[34]  # of several mechanisms: ties that are told
    expected = rounded(score(table))
    assert {tie["treatment"] for tie in expected["nsc"]["ties"]} >= {"c17 1", "c19 1"}
    monkeypatch.setattr(neighbours_module, "_MOST", 3 * len(table.frame))  # three queries a block, few draws at once
    assert len(list(neighbours_module.blocks(len(table.frame)))) == 14
    assert rounded(score(table)) == expected


def test_many_treatments_of_a_mechanism_are_permuted_less_often(monkeypatch):
    monkeypatch.setattr(matching, "_MOST_PAIRS", 5 * 8 * 8 * 7)  # five mechanisms of eight treatments
    assert score_profiles(drawn(), **DRAWS).nsc.permuted.over_compounds.draws == 7


def test_null_distributions_are_of_the_treatments_that_count():
    """Those that the network was trained on are neighbours only: without them as queries the null is another."""
    table = drawn()
    table.frame["Scored"] = np.arange(len(table.frame)) < 8
    found = score_profiles(table, **DRAWS)
    counts, labels = table.frame["Scored"].to_numpy(), table.frame["Metadata_MOA"].to_numpy()
    drawn_DT = permuted_labels(labels, table.frame["Metadata_Compound"].to_numpy(), draws=200, seed=0)
    allowed = ~barred("nsc", table.frame["Metadata_Compound"].to_numpy(), batch_members(table.frame["Batches"]))
    likeness = similarities(table.profiles_TF, "cosine")
    expected = [np.mean([average_precision_score(draw[allowed[t]] == draw[t], likeness[t][allowed[t]])
                         for t in np.flatnonzero(counts)]) for draw in drawn_DT]
    assert found.nsc.mean_average_precision.permuted.over_compounds.mean == pytest.approx(np.mean(expected))
