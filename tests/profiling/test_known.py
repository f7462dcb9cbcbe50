"""Similarity to known compounds by hand, against scikit-learn, and on drawn screens with mechanisms that are new."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_distances

from mscnn.profiling import known
from mscnn.profiling.known import COLUMNS, FIRST, KnownScore, auc_of_left_out, compare_with_known


def screen(*rows: tuple) -> tuple[pd.DataFrame, np.ndarray]:
    """rows: compound, concentration, mechanism, profile."""
    frame = pd.DataFrame([row[:3] for row in rows], columns=["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"])
    frame["Batches"], frame["Wells"], frame["Scored"] = [frozenset({"W1"})] * len(rows), 1, True
    return frame, np.array([row[3] for row in rows], float)


def angle(degrees: float, length: float = 1.0) -> tuple[float, float]:
    """A profile at this angle: the smaller the angle between two, the more alike they are."""
    return length * np.cos(np.radians(degrees)), length * np.sin(np.radians(degrees))


# Degrees to the nearest other compound: a 10 (b), b 8 (c), c 8 (b), d 22 (c).  Without the own mechanism: a 18 (c), b 8,
# c 8, d 30 (b), and e, the only compound of its mechanism, 50 (d).
KNOWN = [("a", 1.0, "M", angle(0)), ("b", 1.0, "M", angle(10, 3)), ("c", 1.0, "N", angle(18)), ("d", 1.0, "N", angle(40)),
         ("e", 1.0, "O", angle(90))]
NEW = [("u", 1.0, "", angle(15)), ("v", 1.0, "", angle(60, 7))]  # 3 degrees from c; 20 from d
BY_HAND = [*KNOWN, *NEW]


def drawn(num_mechanisms: int, *, new: int = 0, noise: float = 0.3, seed: int = 0, width: int = 5) -> tuple:
    """Mechanisms of two to four compounds of one to five doses; the last `new` mechanisms are not in the table."""
    rng, rows = np.random.default_rng(seed), []
    for mechanism in range(num_mechanisms):
        centre = rng.normal(size=width)
        for compound in range(rng.integers(2, 5)):
            of_compound = centre + noise * rng.normal(size=width)
            rows += [(f"c{mechanism}-{compound}", float(dose), "" if mechanism >= num_mechanisms - new else f"m{mechanism}",
                      of_compound + noise * rng.normal(size=width)) for dose in range(rng.integers(1, 6))]
    return screen(*rows)


def test_the_score_by_hand():
    score = compare_with_known(*screen(*BY_HAND)).score
    assert (score.treatments, score.compounds, score.mechanisms, score.left_out) == (4, 4, 2, 5)
    assert score.auc == pytest.approx((2 + 3 + 3 + 1) / 16)  # of 16 pairs of 10, 8, 8, 22 with 18, 8, 8, 30; ties half
    assert score.as_near == pytest.approx(2 / 4)             # 8 and 8 are within 10, the median
    assert score.interval is not None
    assert score.interval.compounds == 4
    assert score.note.startswith("3 mechanisms can be left out; with fewer than 10 p values are up to a third too small")
    assert compare_with_known(*drawn(10)).score.note == ""
    assert KnownScore.from_json(score.to_json()) == score


def test_nearest_known_compounds_by_hand():
    found = compare_with_known(*screen(*BY_HAND), nearest=3)
    table = found.nearest
    assert list(table) == COLUMNS
    assert table["Metadata_Compound"].tolist() == ["u"] * 3 + ["v"] * 3
    assert table["Rank"].tolist() == [1, 2, 3] * 2
    assert table["Nearest_Compound"].tolist() == ["c", "b", "a", "d", "e", "c"]
    assert table["Nearest_MOA"].tolist() == ["N", "M", "M", "N", "O", "N"]
    degrees = np.array([3, 5, 15, 20, 30, 42])
    np.testing.assert_allclose(table["Similarity"], np.cos(np.radians(degrees)), atol=1e-9)  # rounded to 9 decimals
    np.testing.assert_allclose(table["Distance"], 1 - np.cos(np.radians(degrees)), atol=1e-9)
    # Left out: 18, 8, 8, 30, 50 degrees.  None is within 3, three are within 20.
    np.testing.assert_allclose(table["None_Of_The_Known"], [1 / 6] * 3 + [4 / 6] * 3)
    assert found.note == ""


def test_the_best_treatment_stands_for_a_compound():
    rows = [("a", 1.0, "M", angle(0)), ("a", 3.0, "M", angle(20)), ("a", 9.0, "N", angle(40)),
            ("b", np.nan, "N", angle(70)), ("u", 1.0, "", angle(22))]
    table = compare_with_known(*screen(*rows)).nearest
    assert table["Nearest_Compound"].tolist() == ["a", "b"]  # as many as there are
    assert table["Nearest_Concentration"].iloc[0] == 3.0
    assert np.isnan(table["Nearest_Concentration"].iloc[1])
    assert table["Nearest_MOA"].tolist() == ["M", "N"]


def test_a_dose_is_never_compared_with_another_dose_of_its_compound():
    rows = [*KNOWN, ("a", 3.0, "", angle(1))]
    table = compare_with_known(*screen(*rows)).nearest
    assert table["Nearest_Compound"].tolist() == ["b", "c", "d", "e"]
    doses = [(compound, 2.0, mechanism, profile) for compound, _, mechanism, profile in KNOWN]
    assert compare_with_known(*screen(*KNOWN, *doses)).score.auc == pytest.approx(9 / 16)


def test_a_compound_counts_once_whatever_the_number_of_its_doses():
    once = compare_with_known(*screen(*BY_HAND))
    doses = [("c", 2.0 + dose, "N", angle(18)) for dose in range(4)]
    often = compare_with_known(*screen(*BY_HAND, *doses))
    assert often.score.treatments == 8
    assert (often.score.auc, often.score.as_near) == pytest.approx((once.score.auc, once.score.as_near))
    assert often.score.interval == once.score.interval
    assert sorted(set(often.nearest["None_Of_The_Known"])) == pytest.approx([1 / 6, 4 / 6])


@pytest.mark.parametrize("block", [7, 10_000])
def test_neighbours_and_area_are_scikit_learns_in_any_blocks(block, monkeypatch):
    monkeypatch.setattr(known, "BLOCK", block)
    frame, profiles = drawn(9, new=3, noise=0.8)
    found = compare_with_known(frame, profiles, nearest=1000)
    compounds, mechanisms = frame["Metadata_Compound"].to_numpy(), frame["Metadata_MOA"].to_numpy()

    likeness = 1 - cosine_distances(profiles)

    def nearest(query: int, allowed: np.ndarray) -> tuple[float, int]:
        place = np.where(allowed, likeness[query], -2).argmax()
        return likeness[query, place], int(place)

    pairs = np.flatnonzero(mechanisms != "")
    allowed = [(mechanisms != "") & (compounds != compounds[query]) for query in range(len(frame))]
    scores = np.concatenate([[nearest(query, allowed[query])[0] for query in pairs],
                             [nearest(query, allowed[query] & (mechanisms != mechanisms[query]))[0] for query in pairs]])
    weights = 1 / frame["Metadata_Compound"].map(frame["Metadata_Compound"].value_counts()).to_numpy()[pairs]
    assert found.score.auc == pytest.approx(roc_auc_score(np.repeat([1, 0], len(pairs)), scores,
                                                          sample_weight=np.tile(weights, 2)))
    left_out, own = scores[len(pairs):], found.nearest.groupby(["Metadata_Compound", "Metadata_Concentration"])
    for (compound, dose), rows in own:
        query = int(np.flatnonzero((compounds == compound) & (frame["Metadata_Concentration"] == dose))[0])
        for row in rows.itertuples():  # every known compound, each by its best treatment
            similarity, place = nearest(query, allowed[query] & (compounds == row.Nearest_Compound))
            assert row.Similarity == pytest.approx(similarity, abs=1e-9)
            assert frame["Metadata_Concentration"][place] == row.Nearest_Concentration
        assert rows["Similarity"].is_monotonic_decreasing
        assert rows["Nearest_Compound"].nunique() == len(rows) == len(set(compounds[pairs]))
        as_near = (weights * (left_out >= rows["Similarity"].iloc[0] - 1e-9)).sum()
        assert rows["None_Of_The_Known"].tolist() == pytest.approx([(1 + as_near) / (1 + len(rows))] * len(rows))
    order = found.nearest[["None_Of_The_Known", "Metadata_Compound", "Metadata_Concentration", "Rank"]]
    assert order.equals(order.sort_values(list(order)))


def test_p_values_of_new_mechanisms_are_as_small_as_they_say_and_no_smaller():
    """Screens whose last mechanisms are drawn like the others, and not in the table: p <= 0.2 for a fifth."""
    p_values = [compare_with_known(*drawn(18, new=6, seed=seed), nearest=1, draws=2).nearest for seed in range(60)]
    rare = [(table["None_Of_The_Known"] <= 0.2).groupby(table["Metadata_Compound"].str.split("-").str[0]).mean().mean()
            for table in p_values]
    assert np.mean(rare) < 0.2 + 3 * np.std(rare) / np.sqrt(len(rare))
    assert np.mean(rare) > 0.05  # nor is it so cautious that nothing is ever found


def test_treatments_of_known_mechanisms_have_small_p_values():
    frame, profiles = drawn(12, noise=0.15)
    hidden = frame.assign(Metadata_MOA=frame["Metadata_MOA"].where(~frame["Metadata_Compound"].str.endswith("-0"), ""))
    found = compare_with_known(hidden, profiles, nearest=1)
    assert found.nearest["None_Of_The_Known"].median() < 0.1
    assert compare_with_known(frame, profiles).score.auc > 0.95


def test_noise_has_an_interval_around_one_half_and_an_informed_table_does_not():
    frame, profiles = drawn(10)
    score = compare_with_known(frame, np.random.default_rng(0).normal(size=profiles.shape)).score
    assert score.interval.low < 0.5 < score.interval.high
    informed = compare_with_known(frame, profiles).score
    assert informed.interval.low > 0.5


def test_the_interval_is_that_of_drawn_compounds_with_both_scores():
    """Compounds whose score is high with their mechanism have a low one without it: drawn together they vary most."""
    rng, compounds = np.random.default_rng(0), np.repeat(np.arange(40), 2)
    side = np.where(compounds % 2, 1.0, -1.0)
    with_it, without = side + 0.1 * rng.normal(size=80), -side + 0.1 * rng.normal(size=80)
    area, interval = auc_of_left_out(with_it, without, compounds, draws=4000)
    assert area == pytest.approx(roc_auc_score(np.repeat([1, 0], 80), np.concatenate([with_it, without])))
    areas = []
    for draw in np.random.default_rng(1).integers(40, size=(400, 40)):
        rows = np.concatenate([np.flatnonzero(compounds == compound) for compound in draw])
        areas.append(roc_auc_score(np.repeat([1, 0], len(rows)), np.concatenate([with_it[rows], without[rows]])))
    assert [interval.low, interval.high] == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.04)


def test_an_area_of_one_is_not_certain():
    area, interval = auc_of_left_out(np.full(8, 0.9), np.full(8, 0.1), np.arange(8))
    assert (area, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(0.025 ** (1 / 8))  # Clopper and Pearson, of 8 of 8
    area, interval = auc_of_left_out(np.array([0.9, 0.9, 0.9]), np.array([0.1, 0.1, 0.1]), np.zeros(3))
    assert (area, interval.low < 0.05, interval.compounds) == (1.0, True, 1)


def test_equal_scores_have_an_area_of_one_half():
    assert auc_of_left_out(np.ones(6), np.ones(6), np.arange(6))[0] == 0.5


def test_treatments_that_the_network_was_trained_on_are_neighbours_only():
    frame, profiles = screen(*BY_HAND)
    frame["Scored"] = frame["Metadata_Compound"].isin(["c", "d"])
    found = compare_with_known(frame, profiles)
    assert (found.score.treatments, found.score.left_out) == (2, 2)
    assert found.nearest["Nearest_Compound"].iloc[1] == "b"
    assert found.nearest["None_Of_The_Known"].iloc[0] == pytest.approx(1 / 3)
    assert len(found.nearest) == 10  # treatments without a mechanism are listed, whatever the network was trained on
    none = compare_with_known(frame.assign(Scored=False), profiles)
    assert none.score.auc is None
    assert "was trained on all treatments with a mechanism; hold some out" in none.score.note
    assert none.nearest["None_Of_The_Known"].isna().all()
    assert len(none.nearest) == 10


@pytest.mark.parametrize(("rows", "counts", "words"), [
    (NEW, (0, 0, 0, 0), "no treatment has a known mechanism and a profile; fill in Metadata_MOA"),
    ([*KNOWN[:2], *NEW], (0, 0, 0, 0), "one mechanism alone is known"),
    ([KNOWN[0], KNOWN[2], KNOWN[4], *NEW], (0, 0, 0, 3), "no mechanism has two compounds")])
def test_what_cannot_be_scored_is_said_and_the_rest_is_still_there(rows, counts, words):
    found = compare_with_known(*screen(*rows))
    score = found.score
    assert words in score.note
    assert (score.treatments, score.compounds, score.mechanisms, score.left_out) == counts
    assert (score.auc, score.interval, score.as_near) == (None, None, None)
    assert len(found.nearest) == 2 * (len(rows) - 2)
    assert found.nearest["None_Of_The_Known"].notna().any() == (counts[3] > 0)


@pytest.mark.parametrize(("rows", "words"), [
    (KNOWN, "all treatments have a known mechanism"), (NEW, "no treatment has a known mechanism"),
    ([KNOWN[0], ("a", 2.0, "", angle(3))], "no other compound has a known mechanism")])
def test_an_empty_table_has_a_reason(rows, words):
    found = compare_with_known(*screen(*rows))
    assert list(found.nearest) == COLUMNS
    assert len(found.nearest) == 0
    assert words in found.note


def test_profiles_of_zeros_are_neither_neighbours_nor_listed():
    zeros = [("z", 1.0, "M", (0, 0)), ("y", 1.0, "", (0, 0))]
    with_zeros, without = (compare_with_known(*screen(*rows), nearest=9) for rows in ([*BY_HAND, *zeros], BY_HAND))
    assert with_zeros.score == without.score
    pd.testing.assert_frame_equal(with_zeros.nearest, without.nearest)
    assert with_zeros.note == "1 treatment with a profile of zeros: like no other, and not listed"


def test_equally_near_compounds_are_in_the_order_of_the_table():
    rows = [("b", 1.0, "N", (2, 1, 1)), ("a", 1.0, "M", (6, 3, 3)), ("u", 1.0, "", (0.2, 0.1, 0.3))]
    assert compare_with_known(*screen(*rows)).nearest["Nearest_Compound"].tolist() == ["b", "a"]
    twin = [*KNOWN, ("f", 1.0, "O", angle(40, 0.37)), ("w", 1.0, "", angle(10, 1.1)), ("w", 2.0, "", angle(0))]
    p_values = compare_with_known(*screen(*twin)).nearest.groupby("Metadata_Concentration")["None_Of_The_Known"].first()
    assert p_values.tolist() == pytest.approx([3 / 7, 3 / 7])  # d and f are 0 degrees apart, but for rounding


def test_very_large_and_very_small_profiles_are_compared_by_their_direction():
    scales = [1e-200, 1e100, 1.0, 1e-150, 1e90, 1e100, 1e-200]
    frame, profiles = screen(*BY_HAND)
    scaled, plain = compare_with_known(frame, profiles * np.array(scales)[:, None]), compare_with_known(frame, profiles)
    assert scaled.score == plain.score
    pd.testing.assert_frame_equal(scaled.nearest, plain.nearest)


def test_a_table_without_treatments_has_neither_score_nor_neighbours():
    frame, profiles = screen(*BY_HAND)
    found = compare_with_known(frame[:0], profiles[:0])
    assert "no treatment has a known mechanism" in found.score.note
    assert "no treatment has a known mechanism" in found.note
    assert list(found.nearest) == COLUMNS


def test_left_out_mechanisms_that_are_the_opposite_of_all_others_count_too():
    rows = [("a", 1.0, "M", angle(0)), ("b", 1.0, "M", angle(10)), ("c", 1.0, "N", angle(170)), ("d", 1.0, "N", angle(180)),
            ("u", 1.0, "", angle(5))]
    found = compare_with_known(*screen(*rows), nearest=1)
    assert found.score.left_out == 4
    assert found.nearest["None_Of_The_Known"].tolist() == pytest.approx([1 / 5])


def test_the_nearest_of_every_treatment_is_listed_and_its_own_compound_takes_no_part_in_its_p():
    """Degrees without the mechanism: a 18, b 8, c 8, d 30, e 50; nearest of all: a 10, b 8, c 8, d 22, e 50, u 3, v 20."""
    first = compare_with_known(*screen(*BY_HAND)).first.set_index("Metadata_Compound")
    assert list(first.reset_index()[FIRST]) == FIRST
    assert first["Nearest_Compound"].to_dict() == {"a": "b", "b": "c", "c": "b", "d": "c", "e": "d", "u": "c", "v": "d"}
    expected = {"a": 3 / 5, "b": 2 / 5, "c": 2 / 5, "d": 4 / 5, "e": 5 / 5, "u": 1 / 6, "v": 4 / 6}
    assert first["None_Of_The_Known"].to_dict() == pytest.approx(expected)
