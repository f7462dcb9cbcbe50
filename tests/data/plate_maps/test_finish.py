"""Wells, doses and names of a map in one spelling, and its faults."""

import pandas as pd

from mscnn.data.plate_maps.finish import finish_map
from mscnn.data.plate_maps.plate_map import COLUMNS, RawMap
from tests.data.plate_maps.maps import read_text_map, reasons, treatments


def test_wells_that_are_no_place_on_a_plate_are_problems(tmp_path):
    found = read_text_map(tmp_path, "well,drug\nAF48,a\nAG01,b\nA49,c\n,d\nA0,e\n")
    assert reasons(found) == [(3, "well 'AG01' is no place on a plate"), (4, "well 'A49' is no place on a plate"),
                              (5, "no well"), (6, "well 'A0' is no place on a plate")]


def test_a_well_with_different_contents_is_a_problem_and_an_equal_row_is_left_out(tmp_path):
    found = read_text_map(tmp_path, "well,drug,dose_uM\nA1,a,1\na01,A,1.0\nA2,b,1\nA02,b,2\nR01C02,c,1\n")
    assert reasons(found) == [(5, "well A02 is in rows 4, 5, 6 with different compound, concentration")]
    assert list(treatments(found)) == ["A01", "A02"]
    assert "3 rows repeat a well: left out" in found.notes


def test_a_well_of_two_plates_is_no_repeat(tmp_path):
    found = read_text_map(tmp_path, "plate,well,drug\nP1,A1,a\nP2,A1,b\np1,A1,c\n")
    assert reasons(found) == [(4, "well A01 is in rows 2, 4 with different compound")]


def test_a_well_without_a_plate_beside_others_is_a_problem(tmp_path):
    assert reasons(read_text_map(tmp_path, "plate,well,drug\nP1,A1,a\n,A2,b\n")) == [(3, "no plate")]


def test_a_compound_with_doses_of_two_kinds_is_a_problem(tmp_path):
    found = read_text_map(tmp_path, "well,drug,conc\nA1,Taxol,1 uM\nA2,taxol,2 ng/ml\nA3,b,0.1 %\nA4,c,5 nM\nA5,c,1 mM\n")
    assert reasons(found) == [(None, "compound 'taxol' has doses in µM and in µg/ml")]


def test_doses_without_a_unit_are_noted_and_are_problems_beside_others_with_one(tmp_path):
    found = read_text_map(tmp_path, "well,drug,conc\nA1,a,1\nA2,b,2\n")
    assert (found.problems, "2 concentrations have no unit" in found.notes[0]) == ((), True)
    found = read_text_map(tmp_path, "well,drug,conc\nA1,a,1 uM\nA2,b,2\nA3,c,0\n")
    assert reasons(found) == [(3, "concentration '2' has no unit, where others have one")]


def test_the_dose_of_the_control_is_left_out_in_any_spelling(tmp_path):
    found = read_text_map(tmp_path, "well,drug,conc\nA1,dmso,0.1 % of well\nA2, DMSO ,10 mM\nA3,DMSO,n/a\nA4,a,1 uM\n")
    assert found.problems == ()
    assert treatments(found) == {"A01": ("dmso", None, "", ""), "A02": ("DMSO", None, "", ""),
                                 "A03": ("DMSO", None, "", ""), "A04": ("a", 1, "µM", "")}
    assert found.notes[0].startswith("2 untreated wells have a concentration (0.1 % of well, 10 mM)")
    found = read_text_map(tmp_path, "well,drug,conc\nA1,water,1 uM\nA2,DMSO,1 uM\n", control="Water")
    assert treatments(found) == {"A01": ("water", None, "", ""), "A02": ("DMSO", 1, "µM", "")}


def test_names_near_the_control_are_noted(tmp_path):
    found = read_text_map(tmp_path, "well,drug,dose_uM\nA1,DMSO 0.1%,\nA2,DMSO,\n")
    assert found.notes == ("compounds that are not taken for the control DMSO: DMSO 0.1%",)


def test_missing_names_are_empty_and_noted(tmp_path):
    found = read_text_map(tmp_path, "well,drug,moa,dose\nA1,n/a,unknown,\nA2,,x,\nA3,none,-,\n")
    assert [one[::3] for one in treatments(found).values()] == [("", ""), ("", "x"), ("none", "")]
    assert found.notes == ("compounds that are not given: 'n/a' (1 wells)",
                           "mechanisms that are not given: '-' (1 wells), 'unknown' (1 wells)",
                           "2 wells have no compound: A01, A02")


def test_a_dash_is_no_name_of_a_compound(tmp_path):
    found = read_text_map(tmp_path, "well,compound\nA1,-\nA2,x\nA3,?\nA4,5\n")
    assert [compound for compound, *_ in treatments(found).values()] == ["", "x", "", "5"]
    assert "compounds that are not given: '-' (1 wells), '?' (1 wells)" in found.notes


def test_a_dose_without_a_compound_is_no_problem(tmp_path):
    found = read_text_map(tmp_path, "well,drug,conc\nA1,,x\nA2,a,1 uM\n")
    assert found.problems == ()


def test_a_nul_in_a_name_is_a_problem():
    frame = pd.DataFrame([["", "A1", "a\0", "", "", ""]], [2], list(COLUMNS), dtype="str")
    assert reasons(finish_map(RawMap(frame, "list"), "m", "DMSO")) == [(2, "compound holds a NUL")]


def test_doses_within_names_of_compounds_are_a_problem():
    frame = pd.DataFrame(dict.fromkeys(COLUMNS, ""), index=range(2, 8)).assign(
        well=[f"A0{number}" for number in range(1, 7)],
        compound=["taxol 0,3 \u00b5M", "Taxol 3 uM", "vitamin B 12", "agent 5 nM", "interleukin 2", "DMSO 0.1 %"])
    found = finish_map(RawMap(frame, "grid"), "map.csv", "DMSO")
    assert sorted(problem.reason for problem in found.problems) == [
        "compound 'Taxol 3 uM' holds a dose", "compound 'taxol 0,3 \u00b5M' holds a dose"]
    dosed = finish_map(RawMap(frame.assign(concentration="1 uM"), "grid"), "map.csv", "DMSO")
    assert dosed.problems == ()
