"""Activity of treatments by hand, and of control wells at positions that look alike."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from copairs.map.normalization import expected_ap

from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.replicates import ALL_PLATES, SAME_PLATE, Activity, activity

DRAWS = 10_000
SD = 4 * np.sqrt(0.25 / DRAWS)  # four standard deviations of a share of the draws, at most


def table(rows: list[tuple], features: np.ndarray) -> ProfileTable:
    """rows: plate, well, compound, concentration, mechanism."""
    names = [f"Metadata_{name}" for name in ("Plate", "Well", "Compound", "Concentration", "MOA")]
    metadata = pd.DataFrame(rows, columns=names).assign(Metadata_Week="", Scored=True)
    return ProfileTable(metadata, np.array(features, float), [f"F{number}" for number in range(np.shape(features)[1])])


def circle(*degrees: float) -> np.ndarray:
    """Profiles at these angles: the smaller the angle between two, the more alike they are."""
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def screen(plates: int, seed: int, *, controls: int = 8, treatments: int = 4, features: int = 30) -> ProfileTable:
    """Noise: on each plate control wells in row A, and a well of each treatment in row B, everywhere at the same place."""
    rows = [(f"P{plate}", *well) for plate in range(plates) for well in (
        *((f"A{number + 1:02}", "DMSO", 0.0, "DMSO") for number in range(controls)),
        *((f"B{number + 1:02}", f"c{number}", 1.0, "") for number in range(treatments)))]
    return table(rows, np.random.default_rng(seed).normal(size=(len(rows), features)))


BY_HAND = table(
    [("P1", f"A{number:02}", *well) for number, well in enumerate(
        [("a", 1.0, "M"), ("a", 1.0, ""), ("b", 1.0, ""), ("b", 1.0, ""), ("b", 3.0, "N"), ("b", 3.0, "N"),
         ("b", 3.0, "N"), ("c", np.nan, ""), ("DMSO", 0.0, "DMSO"), ("dmso", 0.0, ""), ("DMSO ", 1.0, ""),
         ("DMSO", 0.0, "")], start=1)],
    circle(10, 20, 60, 128, 210, 220, 300, 45, 40, 100, 190, 300))


def test_activity_by_hand():
    """a: both perfect.  b 1: third and third of five.  b 3: two of 3/4, and 7/12; the last is as near to a control well."""
    found, hits = activity(BY_HAND, "DMSO", draws=DRAWS)
    assert hits.columns.tolist() == ["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA", "Wells", "Plates",
                                     "Mean_Average_Precision", "P_Value", "Q_Value", "Active", "Effect_Size", "Test"]
    assert hits["Test"].tolist() == ["replicates"] * 3 + [""]
    names = hits[["Metadata_Compound", "Metadata_MOA", "Wells", "Plates"]]
    assert names.to_numpy().tolist() == [["a", "M", 2, 1], ["b", "N", 3, 1], ["b", "", 2, 1], ["c", "", 1, 1]]
    assert hits["Metadata_Concentration"].to_numpy() == pytest.approx([1, 3, 1, np.nan], nan_ok=True)
    assert hits["Mean_Average_Precision"].to_numpy() == pytest.approx([1, 25 / 36, 1 / 3, np.nan], nan_ok=True)
    assert hits["P_Value"].to_numpy() == pytest.approx([1 / 5, 4 / 15, 3 / 5, np.nan], abs=SD, nan_ok=True)
    assert hits["Q_Value"].to_numpy() == pytest.approx([2 / 5, 2 / 5, 3 / 5, np.nan], abs=2 * SD, nan_ok=True)
    assert not hits["Active"].any()
    assert found.mean_average_precision == pytest.approx((1 + 25 / 36 + 1 / 3) / 3)
    assert found.chance == pytest.approx((2 * expected_ap(1, 4) + expected_ap(2, 4)) / 3, abs=SD)
    assert (found.treatments, found.active, found.single, found.control_wells, found.draws) == (3, 0, 1, 4, DRAWS)
    assert (found.negatives, found.interval.compounds) == (SAME_PLATE, 2)
    assert "no treatment can have q < 0.05" in found.note
    assert "p is 0.0" in found.note  # of b 3: one in fifteen
    assert Activity.from_json(found.to_json()) == found


def test_the_effect_size_is_a_distance_in_units_of_the_control_wells_own():
    """Control wells 0, 2, 4 and 10 lie 3, 1, 1 and 7 from their median 3; 2 in the middle, enlarged by 4/3."""
    wells = table([("P1", f"A{number}", compound, 1.0, "") for number, compound in
                   enumerate([*["DMSO"] * 4, "a", "a", "a", "b"], start=1)],
                  np.array([0, 2, 4, 10, 11, -1, 2, 19])[:, None])
    _, hits = activity(wells, "DMSO", draws=100)
    assert dict(zip(hits["Metadata_Compound"], hits["Effect_Size"], strict=True)) == pytest.approx({"a": 1.5, "b": 6.0})


def test_effect_sizes_are_taken_within_plates():
    """P2 is as P1, but ten times as wide and elsewhere."""
    values = np.array([0, 2, 4, 10, 11])
    wells = table([(plate, f"A{number}", compound, 1.0, "") for plate in ("P1", "P2") for number, compound in
                   enumerate([*["DMSO"] * 4, f"of {plate}"], start=1)], np.append(values, 10 * values + 500)[:, None])
    _, hits = activity(wells, "DMSO", draws=100)
    assert hits["Effect_Size"].tolist() == pytest.approx([3.0, 3.0])


def test_inactive_treatments_have_effect_size_one_however_few_the_control_wells():
    for controls in (4, 16):
        found, hits = activity(screen(6, 0, controls=controls, treatments=40, features=100), "DMSO", draws=100)
        assert hits["Effect_Size"].median() == pytest.approx(1, abs=0.08)
        assert found.active == hits["Active"].sum() == 0


def test_many_treatments_need_a_lower_p():
    """Of forty treatments without effect some have p below 0.05, and none is active."""
    found, hits = activity(screen(4, 1, treatments=40), "DMSO", draws=2000)
    assert hits["P_Value"].min() < 0.05 < hits["Q_Value"].min()
    assert found.active == hits["Active"].sum() == 0


def test_active_treatments_are_found_and_come_first():
    wells = screen(5, 0)
    for compound, size in (("c1", 3), ("c3", 1.5)):
        wells.features_SF[(wells.metadata["Metadata_Compound"] == compound).to_numpy(), :15] += size
    found, hits = activity(wells, "DMSO", draws=2000)
    assert hits["Metadata_Compound"].tolist()[:2] == ["c1", "c3"]  # of equal q the higher mAP
    assert hits["Active"].tolist() == [True, True, False, False]
    assert (found.active, found.positions.active, found.positions.positions) == (2, 0, 8)
    assert (found.chance, found.positions.chance) == pytest.approx((expected_ap(4, 8), expected_ap(4, 7)), abs=0.02)
    assert found.note == found.positions.note == ""


def test_a_plate_effect_is_no_activity_where_control_wells_share_the_plate():
    """All four wells of a treatment are on one plate; a plate's wells are alike."""
    wells = screen(12, 0, treatments=8)
    names = wells.metadata["Metadata_Plate"].to_numpy()
    wells.features_SF[:] += 10 * np.random.default_rng(1).normal(size=(12, 30))[pd.factorize(names)[0]]
    treated = wells.metadata["Metadata_Compound"] != "DMSO"
    halves = (wells.metadata.loc[treated, "Metadata_Well"] < "B05").map({True: " one", False: " two"})
    wells.metadata.loc[treated, "Metadata_Compound"] = names[treated] + halves
    found, hits = activity(wells, "DMSO", draws=1000)
    assert (found.active, found.negatives) == (0, SAME_PLATE)
    assert hits["Wells"].tolist() == [4] * 24
    lacking = wells.select(~((names == "P1") & (wells.metadata["Metadata_Well"] > "A03") & ~treated).to_numpy())
    found, _ = activity(lacking, "DMSO", draws=1000)
    assert found.active > 12  # which plates pose as
    assert found.negatives == ALL_PLATES
    assert found.note.startswith("1 of 12 plates with treated wells have fewer than 4 control wells (P1)")


def test_plates_without_treated_wells_may_lack_control_wells():
    wells = screen(4, 0)
    found, _ = activity(wells.select(~((wells.metadata["Metadata_Plate"] == "P0")
                                       & (wells.metadata["Metadata_Well"] != "A01")).to_numpy()), "DMSO", draws=100)
    assert (found.negatives, found.note) == (SAME_PLATE, "")


def test_a_position_effect_is_reported_as_active_control_wells():
    wells = screen(6, 0)
    places = pd.factorize(wells.metadata["Metadata_Well"])[0]
    wells.features_SF[:] += 2 * np.random.default_rng(1).normal(size=(12, 30))[places]
    found, hits = activity(wells, "DMSO", draws=2000)
    assert hits["Active"].all()  # and all of it is position
    assert (found.positions.positions, found.positions.groups, found.positions.active) == (8, 8, 8)
    assert found.positions.mean_average_precision > 0.9


def in_threes(plates: int) -> ProfileTable:
    """Treatments on three plates next to each other, but one on all plates."""
    wells = screen(plates, 0)
    part = (wells.metadata["Metadata_Plate"].str[1:].astype(int) // 3).map(" {}".format)
    compound = wells.metadata["Metadata_Compound"]
    names = compound.where(wells.is_control("DMSO") | (compound == "c0"), compound + part)
    return ProfileTable(wells.metadata.assign(Metadata_Compound=names), wells.features_SF, wells.names)


def test_control_wells_are_grouped_by_as_many_plates_as_a_treatment_has():
    """Most treatments are on three of ten plates: three groups of a position, and a plate left over."""
    found, hits = activity(in_threes(10), "DMSO", draws=1000)
    assert sorted(hits["Wells"]) == [1] * 3 + [3] * 9 + [10]
    assert (found.positions.replicates, found.positions.groups, found.positions.positions) == (3, 24, 8)
    assert found.positions.chance == pytest.approx(expected_ap(2, 7), abs=0.02)
    assert found.chance == pytest.approx(0.9 * expected_ap(2, 8) + 0.1 * expected_ap(9, 8), abs=0.02)
    assert found.active == found.positions.active == 0
    few = in_threes(4)
    is_left_S = ~few.metadata["Metadata_Compound"].isin(["c2 0", "c3 0"]).to_numpy()
    found, _ = activity(few.select(is_left_S), "DMSO", draws=100)
    assert found.positions.replicates == 3  # of 3 and 4: wells without a replicate do not count


def test_the_order_of_the_table_does_not_matter():
    wells = in_threes(9)
    (one, hits), (other, again) = (activity(table, "DMSO", draws=100) for table in (
        wells, wells.select(np.random.default_rng(0).permutation(len(wells.metadata)))))
    assert one.positions.mean_average_precision == pytest.approx(other.positions.mean_average_precision)
    pd.testing.assert_frame_equal(hits, again)


def test_treated_wells_at_a_position_of_the_control_are_no_control_wells():
    wells = screen(6, 0)
    as_it_was = activity(wells, "DMSO", draws=100)[0].positions
    more = wells.select(np.append(np.arange(len(wells.metadata)), [0, 0]))  # two wells of a compound, at A01
    more.metadata.loc[len(wells.metadata):, ["Metadata_Plate", "Metadata_Compound"]] = [["P0", "new"], ["P1", "new"]]
    assert activity(more, "DMSO", draws=100)[0].positions == as_it_was


def test_positions_of_all_plates_are_compared_where_plates_have_few_control_wells():
    """Three control wells a plate, at three positions: six wells of two positions on three plates are the rest."""
    found, _ = activity(screen(3, 0, controls=3), "DMSO", draws=1000)
    assert found.negatives == ALL_PLATES
    assert found.positions.chance == pytest.approx(expected_ap(2, 6), abs=0.02)
    assert found.chance == pytest.approx(expected_ap(2, 9), abs=0.02)


def test_q_is_possible_where_one_treatment_in_many_reaches_it():
    """Of two treatments with six wells and forty with two only the longer rankings allow a low p: not low enough a q."""
    wells = screen(6, 0, controls=4, treatments=42)
    number = wells.metadata["Metadata_Compound"].str[1:].replace("MSO", "0").astype(int)
    found, _ = activity(wells.select(((number < 2) | (wells.metadata["Metadata_Plate"] < "P2")).to_numpy()), "DMSO",
                        draws=2000)
    assert found.note.startswith("no treatment can have q < 0.05: with so few replicates and control wells p is 0.0")


def test_positions_rank_control_wells_of_other_positions_on_their_plate():
    """Two positions on two plates: each query has one replicate and one other control well."""
    wells = table([("P1", "A1", "DMSO", 0.0, ""), ("P1", "A2", "DMSO", 0.0, ""), ("P2", "A01", "DMSO", 0.0, ""),
                   ("P2", "A02", "DMSO", 0.0, "")], circle(0, 30, 10, 50))
    found, hits = activity(wells, "DMSO", draws=1000)
    assert found.positions.positions == 2
    # A01: 10 before 30, and 10 before 40.  A02: 20 before 30, and 20 before 40.
    assert found.positions.mean_average_precision == 1
    assert "no position can have q < 0.05" in found.positions.note
    assert (len(hits), found.treatments, found.mean_average_precision, found.interval) == (0, 0, None, None)
    assert found.note == "all wells hold DMSO; add treated wells, or name another compound with --control"


def test_what_cannot_be_had_is_said_and_the_rest_is_computed():
    wells = screen(4, 0)
    metadata, is_control = wells.metadata, wells.is_control("DMSO")
    first = (metadata["Metadata_Plate"] == "P0").to_numpy()

    found, hits = activity(wells.select(first), "DMSO", draws=100)
    assert (found.treatments, found.single, found.note) == (0, 4, "each treatment has one well only; add replicate wells")
    assert found.positions.note == "fewer than two plates have control wells; add plates"
    assert hits["Effect_Size"].notna().all()

    found, hits = activity(wells.select(~is_control), "DMSO", draws=100)
    assert found.note == ("0 wells of DMSO are too few to compare with; name another compound with --control, or write all "
                          "profiles with `mscnn evaluate --profiles all`")
    assert hits[["P_Value", "Effect_Size"]].isna().all(axis=None)
    assert len(hits) == 4
    assert activity(wells.select(~is_control | (np.arange(48) == 0)), "DMSO")[0].note.startswith("1 wells of DMSO")

    found, hits = activity(dataclasses.replace(wells, metadata=metadata.drop(columns="Metadata_Well")), "DMSO", draws=100)
    assert found.positions.note == "no wells are known; add Metadata_Plate and Metadata_Well"
    assert found.treatments == 4
    found, _ = activity(dataclasses.replace(wells, metadata=metadata.drop(columns=["Metadata_Well", "Metadata_Plate"])),
                        "DMSO", draws=100)
    assert (found.negatives, found.treatments) == (ALL_PLATES, 4)
    assert found.note.startswith("no plate is known")

    elsewhere = metadata.assign(Metadata_Well=[f"{chr(65 + number // 12)}{number % 12 + 1}" for number in range(48)])
    found, _ = activity(dataclasses.replace(wells, metadata=elsewhere), "DMSO", draws=100)
    assert found.positions.note.startswith("no well holds the control on two plates")
    together = wells.select(~is_control | (metadata["Metadata_Well"] == "A01").to_numpy())
    assert activity(together, "DMSO", draws=100)[0].positions.note == (
        "all control wells are at one position; add some at another")


@pytest.mark.parametrize("value", [0, 1])
def test_constant_profiles_are_not_active(value):
    wells = screen(4, 0)
    wells.features_SF[:] = value
    found, hits = activity(wells, "DMSO", draws=100)
    assert hits["P_Value"].min() > 0.5  # half of random rankings are better than one in which all have the last rank
    assert hits["Effect_Size"].isna().all()
    assert (found.active, found.positions.active) == (0, 0)
    assert found.mean_average_precision == pytest.approx(3 / 11)


def test_the_same_seed_gives_the_same_hits():
    first, second = (activity(screen(4, 0), "DMSO", draws=100, seed=3) for _ in range(2))
    assert first[0] == second[0]
    pd.testing.assert_frame_equal(first[1], second[1])
