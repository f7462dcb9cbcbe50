"""Grids in the shape of a plate."""

import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.read_map import read_plate_map
from mscnn.data.tables.wells import well_name
from tests.data.plate_maps.maps import read_text_map, reasons, treatments

STACK = """Compound
,1,2,3
A,taxol,DMSO,
B,,nocodazole,x

Concentration (nM)
,1,2,3
A,300,0.1,
B,,1000,2

MOA
,1,2,3
A,stabiliser,,
B,,destabiliser,

"""


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_grids_below_their_titles_make_one_map(tmp_path, separator):
    found = read_text_map(tmp_path, STACK.replace(",", separator))
    assert treatments(found) == {
        "A01": ("taxol", 0.3, "µM", "stabiliser"), "A02": ("DMSO", None, "", ""),
        "B02": ("nocodazole", 1, "µM", "destabiliser"), "B03": ("x", 0.002, "µM", "")}
    assert (found.format, found.problems) == ("grids of a plate", ())


def test_a_title_in_the_corner_and_other_variables(tmp_path):
    found = read_text_map(tmp_path, "Drug,01,02\nA,a,b\nDose [uM],01,02\nA,1,2\nCell line,1,2\nA,U2OS,HeLa\n")
    assert treatments(found) == {"A01": ("a", 1, "µM", ""), "A02": ("b", 2, "µM", "")}
    assert found.wells.columns[-1].startswith("Metadata_")


def test_grids_without_titles_are_told_by_what_they_hold(tmp_path):
    found = read_text_map(tmp_path, ",1,2\nA,taxol,b\n\n,1,2\nA,10 uM,3 nM\n")
    assert treatments(found) == {"A01": ("taxol", 10, "µM", ""), "A02": ("b", 0.003, "µM", "")}
    assert found.notes == ("the grid at row 1 (map) is read as the compound, by what it holds",
                           "the grid at row 4 (map) is read as the concentration, by what it holds")


def test_one_grid_with_an_unknown_title_is_the_compound(tmp_path):
    found = read_text_map(tmp_path, "Layout of May\n,1,2\nA,a,b\n")
    assert treatments(found)["A02"][0] == "b"


@pytest.mark.parametrize(("rows", "columns"), [(8, 12), (16, 24), (32, 48)])
def test_every_well_of_a_plate_is_read_at_its_place(tmp_path, rows, columns):
    lines = ["," + ",".join(map(str, range(1, columns + 1)))]
    lines += [",".join([well_name(row, 0)[:-2], *(f"c{row}x{column}" for column in range(columns))]) for row in range(rows)]
    found = treatments(read_text_map(tmp_path, "\n".join(["Compound", *lines])))
    assert {well: one[0] for well, one in found.items()} == {
        well_name(row, column): f"c{row}x{column}" for row in range(rows) for column in range(columns)}


def test_a_grid_may_start_inside_the_plate_and_the_sheet(tmp_path):
    found = read_text_map(tmp_path, ",,,\n,,2,3\n,B,a,b\n,C,c,\n")
    assert {well: one[0] for well, one in treatments(found).items()} == {"B02": "a", "B03": "b", "C02": "c"}


def test_plates_are_named_above_their_grids(tmp_path):
    found = read_text_map(tmp_path, "Plate: P1\nCompound\n,1,2\nA,a,b\n\n"
                                    "Plate,P2\nCompound\n,1,2\nA,c,\nDose uM\n,1,2\nA,3,\n")
    assert treatments(found) == {"P1 A01": ("a", None, "", ""), "P1 A02": ("b", None, "", ""), "P2 A01": ("c", 3, "µM", "")}


def test_cells_beyond_the_plate_or_the_grid_are_problems(tmp_path):
    labels = ["A", "B"]
    found = read_text_map(tmp_path, "Compound,,\n,1,2\n" + "".join(f"{label},a,b,c\n" for label in labels))
    assert reasons(found) == [(3, "cell 4, 'c', is beyond the plate or the grid"),
                              (4, "cell 4, 'c', is beyond the plate or the grid")]
    found = read_text_map(tmp_path, "Compound\n,48,49\nAF,a,b\nAG,c,d\n")
    assert reasons(found) == [(3, "cell 3, 'b', is beyond the plate or the grid"),
                              (4, "cell 2, 'c', is beyond the plate or the grid"),
                              (4, "cell 3, 'd', is beyond the plate or the grid")]
    assert list(treatments(found)) == ["AF48"]


def test_a_row_that_belongs_to_no_grid_is_a_problem(tmp_path):
    found = read_text_map(tmp_path, "Compound\n,1,2\nA,a,b\nC,c,d\n")
    assert reasons(found) == [(4, "row 'C' belongs to no grid")]


@pytest.mark.parametrize(("text", "reason"), [
    ("Compound\n,1,2\nA,a,b\nDrug\n,1,2\nA,c,d\n", "more than one grid is the compound"),
    ("Dose uM\n,1,2\nA,1,2\n", "no grid is the compound"),
    ("One\n,1,2\nA,a,b\nTwo\n,1,2\nA,c,d\n", "no grid is the compound for sure"),
    ("Well\n,1,2\nA,a,b\nDrug\n,1,2\nA,c,d\n", "a grid cannot be the well")])
def test_grids_that_are_not_clear_are_refused(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        read_text_map(tmp_path, text)


def test_a_title_is_chosen(tmp_path):
    found = read_text_map(tmp_path, "One\n,1,2\nA,a,b\nTwo\n,1,2\nA,c,d\n", columns={"compound": "Two"})
    assert [one[0] for one in treatments(found).values()] == ["c", "d"]
    assert found.wells["Metadata_One"].tolist() == ["a", "b"]
    with pytest.raises(DataError, match="no grids with these titles; it has One, Two"):
        read_text_map(tmp_path, "One\n,1,2\nA,a,b\nTwo\n,1,2\nA,c,d\n", columns={"compound": "Three"})


def test_a_folder_with_a_grid_a_file(tmp_path):
    (tmp_path / "compound.csv").write_text(",1,2\nA,a,DMSO\n")
    (tmp_path / "dose_uM.csv").write_text(",1,2\nA,3,\n")
    assert treatments(read_plate_map(tmp_path)) == {"A01": ("a", 3, "µM", ""), "A02": ("DMSO", None, "", "")}


def test_a_title_that_is_chosen_for_the_concentration_keeps_its_unit(tmp_path):
    text = "Experiment,1,2\nA,x,y\n\n[aTc] (nM),1,2\nA,500,250\n\n[tetR] (uM),1,2\nA,1,2\n"
    found = read_text_map(tmp_path, text, columns={"compound": "Experiment", "concentration": "[aTc] (nM)"})
    assert treatments(found) == {"A01": ("x", 0.5, "µM", ""), "A02": ("y", 0.25, "µM", "")}
    found = read_text_map(tmp_path, text, columns={"compound": "Experiment"})
    assert found.notes == ("no grid for the concentration: all doses of a compound count as one (--columns "
                           "concentration=TITLE)",)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_grid_of_units_that_contradicts_the_title_of_the_doses_is_a_problem(tmp_path, is_first):
    compound, doses, units = "Compound,1,2\nA,a,DMSO\n\n", "Dose (uM),1,2\nA,3,\n\n", "Unit,1,2\nA,nM,nM\n\n"
    found = read_text_map(tmp_path, compound + (units + doses if is_first else doses + units))
    assert len(found.problems) == 1
    assert "is no unit of concentration" in found.problems[0].reason
    agreed = read_text_map(tmp_path, compound + doses + units.replace("nM", "µM"))
    assert treatments(agreed) == {"A01": ("a", 3, "µM", ""), "A02": ("DMSO", None, "", "")}
