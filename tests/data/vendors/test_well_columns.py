"""Wells of tables: their names, and contradictions."""

import pytest

from mscnn.data.vendors.well_columns import (
    harmony_name_conflict,
    other_name_conflict,
    row_column_conflict,
    well_names,
    wells_at,
)


def test_wells_are_named_alike():
    assert well_names(["a1", "B03", "", "R02C12", "AF48", "x", "Q99"]) == (
        ["A01", "B03", "", "B12", "AF48", "", ""], ["x", "Q99"])


def test_wells_by_rows_and_columns():
    rows, columns = ["1", "B", "2.0", "AA", "", "99", "A"], ["1", "03", "12", "1", "1", "1", "B"]
    assert wells_at(rows, columns) == ["A01", "B03", "B12", "AA01", "", "", ""]


@pytest.mark.parametrize(("wells", "rows", "columns", "told"), [
    (["A01", "B03"], ["1", "2"], ["1", "3"], ""), (["A01", "B03"], ["0", "1"], ["0", "2"], ""),
    (["A01", "B03"], ["A", "B"], ["1", "3"], ""), (["", "B03"], ["7", "2"], ["7", "3"], ""), (["A01"], ["x"], ["y"], ""),
    (["A02", "B03"], ["2", "3"], ["1", "2"],
     "2 wells contradict their rows and columns, with rows and columns exchanged: A02 is at row 2 column 1 there"),
    (["A01", "B03"], ["1", "2"], ["2", "4"],
     "2 wells contradict their rows and columns, all shifted alike: A01 is at row 1 column 2 there"),
    (["A01", "B03", "B04"], ["1", "2", "2"], ["1", "3", "5"],
     "1 wells contradict their rows and columns: B04 is at row 2 column 5 there")])
def test_rows_and_columns_tell_wells_that_are_wrong(wells, rows, columns, told):
    assert row_column_conflict(wells, rows, columns) == told


def test_harmony_s_names_tell_wells_that_are_wrong():
    names = ["r01c01f01p01-ch1sk1fk1fl1.tiff", "r02c03f01p01-ch1.tiff", "other.tif"]
    assert harmony_name_conflict(["A01", "B03", "P24"], names) == ""
    assert harmony_name_conflict(["A01", "B04", ""], names) == (
        "1 wells contradict the names of their files: B04 is at row 2 column 3 there")


def test_other_names_tell_wells_only_where_each_has_one():
    assert other_name_conflict(["A01", "B03"], ["P1_A01_s1.tif", "P1_B03_s1.tif"]) == ""
    assert other_name_conflict(["A01", "B04"], ["P1_A01_s1.tif", "P1_B03_s1.tif"]).startswith("1 wells contradict")
    assert other_name_conflict(["A02", "B04"], ["P1_A01_s1.tif", "P1_A01_s2.tif"]) == ""
    assert other_name_conflict(["A02", "B04"], ["P1_A01_s1.tif", "b.tif"]) == ""
    assert other_name_conflict(["A02", "B04"], ["A01_A01_s1.tif", "A02_B07.tif"]) == ""
