"""Workbooks: lists and grids in sheets, numbers, dates and formulas."""

import datetime
import sys
import zipfile
from pathlib import Path

import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.data.plate_maps.read_map import read_plate_map
from tests.data.plate_maps.maps import reasons, treatments

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed: pip install mscnn[plates]")
LIST = [["Well", "Drug", "Conc uM"], ["A1", "taxol", 0.3], ["A2", "DMSO", None]]
GRID = [[None, 1, 2.0], ["A", "taxol", "DMSO"]]


def write(path: Path, **sheets: list[list]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def read(tmp_path: Path, **sheets: list[list]):
    return read_plate_map(write(tmp_path / "map.xlsx", **sheets))


def with_results(path: Path, results: dict[str, str]) -> Path:
    """Store results of formulas, as a spreadsheet does: {formula without =: result}."""
    changed = path.with_name("stored.xlsx")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for part in old.namelist():
            text = old.read(part)
            for formula, result in results.items():
                start = f"<f>{formula}</f><v".encode()
                assert part != "xl/worksheets/sheet1.xml" or start in text
                for end in (b" />", b"/>", b"></v>"):
                    text = text.replace(start + end, start + f">{result}</v>".encode())
            new.writestr(part, text)
    return changed


def test_a_list_of_wells(tmp_path):
    assert treatments(read(tmp_path, Plan=LIST)) == {"A01": ("taxol", 0.3, "µM", ""), "A02": ("DMSO", None, "", "")}


def test_the_sheet_with_wells_is_read_and_others_are_named(tmp_path):
    found = read(tmp_path, Notes=[["by hand"]], Empty=[], Plan=LIST)
    assert list(treatments(found)) == ["A01", "A02"]
    assert found.notes == ("sheets without wells are left out: Notes",)


def test_several_sheets_with_wells_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"several sheets hold wells \(First, Second\)"):
        read(tmp_path, First=LIST, Other=[["x"]], Second=LIST)
    with pytest.raises(DataError, match=r"several sheets hold wells \(First, Grid\)"):
        read(tmp_path, First=LIST, Grid=GRID)


def test_a_grid_a_sheet_and_grids_below_each_other(tmp_path):
    expected = {"A01": ("taxol", 3, "µM", ""), "A02": ("DMSO", None, "", "")}
    dose = [[None, 1, 2], ["A", 3, None]]
    assert treatments(read(tmp_path, Compound=GRID, **{"Dose (uM)": dose})) == expected
    assert treatments(read(tmp_path, Plate=[["Compound"], *GRID, [], ["Dose (uM)"], *dose])) == expected


def test_numbers_in_text_cells_and_numbers_as_names(tmp_path):
    found = read(tmp_path, Plan=[["row", "col", "drug", "dose_uM"], ["B", 3, 1234.0, "0.30"], ["C", "03", "x", 0.1 + 0.2]])
    assert treatments(found) == {"B03": ("1234", 0.3, "µM", ""), "C03": ("x", 0.3, "µM", "")}


def test_dates_are_refused_as_compounds_and_kept_elsewhere(tmp_path):
    day = datetime.datetime(2026, 9, 2)
    found = read(tmp_path, Plan=[["well", "drug", "day"], ["A1", day, day], ["A2", "a", day]])
    assert reasons(found) == [(2, "compound '2026-09-02' is a date")]
    assert found.wells["Metadata_day"].tolist() == ["2026-09-02", "2026-09-02"]
    assert reasons(read(tmp_path, Compound=[[None, 1, 2], ["A", "a", day]])) == [(2, "cell 3, '2026-09-02', is a date")]


def test_results_of_formulas_are_read_as_they_are_stored(tmp_path):
    rows = [["well", "drug", "dose_uM"], ["A1", "a", "=1/4"], ["A2", "b", "=2+2"]]
    path = with_results(write(tmp_path / "map.xlsx", Plan=rows), {"1/4": "0.25", "2+2": "4"})
    assert [one[1] for one in treatments(read_plate_map(path)).values()] == [0.25, 4]


def test_formulas_without_stored_results_are_problems(tmp_path):
    found = read(tmp_path, Plan=[["well", "drug", "dose_uM"], ["A1", "a", "=1/4"]])
    assert reasons(found) == [(2, "the formula of cell 3 has no stored result")]


def test_errors_of_formulas_are_problems(tmp_path):
    assert (2, "cell 2 holds the error #REF!") in reasons(read(tmp_path, Plan=[["well", "drug"], ["A1", "#REF!"]]))


def test_without_openpyxl_the_remedy_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "map.xlsx", Plan=LIST)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UsageError, match=r'pip install "mscnn\[plates\]"'):
        read_plate_map(path)


def test_damaged_and_other_files_are_refused(tmp_path):
    path = write(tmp_path / "map.xlsx", Plan=LIST)
    whole = path.read_bytes()
    for place in range(100, len(whole), 700):
        (tmp_path / "cut.xlsx").write_bytes(whole[:place])
        with pytest.raises(DataError, match="no readable workbook"):
            read_plate_map(tmp_path / "cut.xlsx")
    with zipfile.ZipFile(tmp_path / "other.xlsx", "w") as other:
        other.writestr("a.txt", "x")
    with pytest.raises(DataError, match="ZIP file of another kind"):
        read_plate_map(tmp_path / "other.xlsx")
    with pytest.raises(DataError, match="holds no values"):
        read(tmp_path, Plan=[])


def test_parts_that_are_no_xml_or_declare_entities_are_refused(tmp_path):
    path = write(tmp_path / "map.xlsx", Plan=LIST)
    for content in (b"<worksheet", b'<!DOCTYPE x [<!ENTITY a "b">]><worksheet>&a;</worksheet>', b"\x00"):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "new.xlsx", "w") as new:
            for part in old.namelist():
                new.writestr(part, content if part == "xl/worksheets/sheet1.xml" else old.read(part))
        with pytest.raises(DataError, match="no readable workbook"):
            read_plate_map(tmp_path / "new.xlsx")


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mscnn.data.plate_maps.workbook.LARGEST", 100)
    with pytest.raises(DataError, match="bytes when unpacked"):
        read(tmp_path, Plan=LIST)
