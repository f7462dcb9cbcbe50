"""Held-out wells: whole, of each class on each plate, in any spelling; and leaks that somebody else makes are caught."""

from dataclasses import replace

import numpy as np
import pytest

from mscnn.core.errors import UsageError
from mscnn.data.tables.held_out_wells import choose
from mscnn.data.tables.splits import TEST, TRAIN, UNUSED, Split, _checked, control_wells, make_split
from tests.conftest import make_table

COLUMNS = "plate week well compound mechanism"


def screen(plates=("P1", "P2", "P10"), controls=6, treated=4):
    """On each plate so many wells of DMSO and of compounds a (M) and b (N), two fields each; a week a plate."""
    rows = []
    for week, plate in enumerate(plates):
        plan = [("DMSO", "DMSO")] * controls + [("a", "M")] * treated + [("b", "N")] * treated
        rows += [(plate, f"W{week}", f"{'ABCDEFGH'[number // 12]}{number % 12 + 1:02}", *each)
                 for number, each in enumerate(plan) for _ in range(2)]
    return make_table(rows, COLUMNS)


TABLE = screen()


def numbers(split, table=TABLE):
    """The number of held-out wells of each plate and compound."""
    test = table.frame[split.side == TEST]
    return test.groupby(["plate", "compound"])["well"].nunique().to_dict()


def test_a_share_of_each_class_on_each_plate_is_held_out_whole():
    split = make_split(TABLE, split="wells", test_fraction=0.25)
    assert numbers(split) == {(plate, name): {"DMSO": 2, "a": 1, "b": 1}[name]  # 6 / 4 is rounded to 2
                              for plate in ("P1", "P2", "P10") for name in ("DMSO", "a", "b")}
    sides = TABLE.frame.assign(side=split.side).groupby(["plate", "well"])["side"].nunique()
    assert (sides == 1).all()
    assert len(split.wells) == 12
    assert (split.held_out, "nothing of new compounds" in split.meaning) == ((), True)
    again, other = (make_split(TABLE, split="wells", test_fraction=0.25, seed=seed) for seed in (0, 1))
    assert np.array_equal(split.side, again.side)
    assert not np.array_equal(split.side, other.side)


def test_folds_of_wells_hold_each_once():
    parts = [make_split(TABLE, split="wells", test_fraction=0.5, fold=fold).side == TEST for fold in range(2)]
    assert (parts[0] ^ parts[1]).all()


def test_a_class_that_has_one_well_a_plate_is_divided_over_plates():
    table = screen(treated=1)
    is_out = choose(table, 0.3, seed=0)
    of_a = table.frame[is_out & table.frame["compound"].eq("a").to_numpy()]
    assert of_a["plate"].nunique() == 1  # 0.3 of 3 plates
    with pytest.raises(UsageError, match="needs a class with two wells"):
        make_split(screen(plates=("P1",), controls=1, treated=1), split="wells")


def test_wells_are_one_in_any_spelling():
    frame = TABLE.frame.copy()
    frame.loc[1::2, "well"] = frame["well"].str.replace(r"^(\w)0", r"\1", regex=True).str.lower()  # a1 for A01
    frame.loc[1::2, "plate"] = frame["plate"].str.lower()
    spelt = replace(TABLE, frame=frame)
    assert np.array_equal(choose(spelt, 0.25, seed=0), choose(TABLE, 0.25, seed=0))
    side = np.where(np.arange(len(frame)) == 1, TEST, TRAIN)  # the second field of a well whose first one trains
    with pytest.raises(AssertionError, match="a well is on both sides"):
        _checked(Split("wells", side, (), wells=("p1 a1",)), spelt, True)


def test_a_plate_is_held_out_with_its_controls():
    split = make_split(TABLE, split="leave-plate-out", fold=1)
    assert set(TABLE.frame["plate"][split.side == TEST]) == {"P2"}  # in natural order
    assert (split.side == TRAIN).sum() == 2 * 28
    assert (len(split.wells), len(control_wells(split, TABLE))) == (14, 6)
    assert "another plate" in split.meaning
    with pytest.raises(UsageError, match="fold is 3, but there are 3 plates; use 0 to 2"):
        make_split(TABLE, split="leave-plate-out", fold=3)
    spelt = replace(TABLE, frame=TABLE.frame.assign(plate=["p1" if n == 0 else name for n, name in
                                                           enumerate(TABLE.frame["plate"])]))
    assert np.array_equal(make_split(spelt, split="leave-plate-out", fold=1).side, split.side)
    broken = np.where(np.arange(len(TABLE)) < 28 - 2, TEST, TRAIN)  # one well of P1 trains
    wells = [f"P1 {well}" for well in TABLE.frame["well"][:26].unique()]
    with pytest.raises(AssertionError, match="a plate is on both sides"):
        _checked(Split("leave-plate-out", broken, (), wells=tuple(wells)), TABLE, True)


def test_a_plate_of_compounds_of_its_own_says_nothing_less_of_new_compounds():
    own = TABLE.frame["compound"] + TABLE.frame["plate"]
    frame = TABLE.frame.assign(compound=own.where(~TABLE.is_control(), "DMSO"))
    split = make_split(replace(TABLE, frame=frame), split="leave-plate-out", fold=0)
    assert (split.held_out, split.meaning) == (("aP1", "bP1"), "")


def test_control_wells_are_held_out_beside_compounds():
    table = make_table([*TABLE.frame[COLUMNS.split()].itertuples(index=False),
                        *[("P1", "W0", f"H{n:02}", "c", "N") for n in range(2)]], COLUMNS)
    split = make_split(table, split="hold-out", hold_out="c", hold_out_controls=0.34)
    assert numbers(split, table) == {("P1", "DMSO"): 2, ("P2", "DMSO"): 2, ("P10", "DMSO"): 2, ("P1", "c"): 2}
    assert split.held_out == ("c",)
    assert len(split.wells) == 6
    assert not make_split(table, split="hold-out", hold_out="none", hold_out_controls=0.34).wells
    side = split.side.copy()
    side[np.flatnonzero((side == TEST) & table.is_control())[0]] = TRAIN  # one field of a held-out control well
    with pytest.raises(AssertionError, match="a well is on both sides"):
        _checked(replace(split, side=side), table, True)
    with pytest.raises(AssertionError, match="other wells or control wells are held out"):
        _checked(replace(split, wells=()), table, True)


def test_a_left_out_week_takes_its_own_control_wells():
    table = make_table([("P1", "W1", "A01", "a", "M"), ("P2", "W2", "A01", "b", "N"), ("P3", "W3", "A01", "c", "M"),
                        *[(f"P{n}", f"W{n}", f"B{well:02}", "DMSO", "DMSO") for n in (1, 2, 3) for well in range(4)]],
                       COLUMNS)
    split = make_split(table, split="leave-week-out", fold=1, hold_out_controls=0.5)
    assert numbers(split, table) == {("P2", "DMSO"): 2, ("P2", "b"): 1}
    assert (split.side == UNUSED).sum() == 2
