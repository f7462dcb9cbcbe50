"""Tables with a row a well."""

import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.read_map import read_plate_map
from mscnn.data.plate_maps.well_list import joined_well
from tests.data.plate_maps.maps import read_text_map, reasons, treatments


def test_a_list_with_everything(tmp_path):
    found = read_text_map(tmp_path, "Plate,Well,Compound,Dose (nM),MOA,gene\n"
                                    "P1,a1,taxol,300,Microtubule stabilizers,TUBB\nP2,R02C03,DMSO,,,\n")
    assert treatments(found) == {"P1 A01": ("taxol", 0.3, "µM", "Microtubule stabilizers"),
                                 "P2 B03": ("DMSO", None, "", "")}
    assert found.wells["Metadata_gene"].tolist() == ["TUBB", ""]
    assert (found.format, found.problems, found.notes) == ("well list", (), ())


@pytest.mark.parametrize("well", ["C5", "C05", "c05", "R03C05", "C - 5", "C-05", "C 5", '"C05"'])
def test_spellings_of_a_well(tmp_path, well):
    (tmp_path / "map.tsv").write_text(f"well\tdrug\n{well}\ta\n")
    assert list(treatments(read_plate_map(tmp_path / "map.tsv"))) == ["C05"]


@pytest.mark.parametrize(("row", "column", "well"), [
    ("C", "3", "C03"), ("R1", "C3", "A03"), ("A1", "2", "row A1 column 2"), ("R1", "3", "A03"),
    ("C", '"03"', "C03"), ("3", "3", "C03"), ("3.0", "3.0", "C03"), ("AF", "48", "AF48"),
    ("27", "1", "AA01"),
    ("", "", ""), ("C", "", "row C column "), ("33", "1", "row 33 column 1")])
def test_rows_and_columns_make_a_well(row, column, well):
    assert joined_well(row, column) == well


@pytest.mark.parametrize("header", ["row,col", "Row,Column", "plate_row,plate_column", "well_row,well_col"])
def test_columns_of_rows_and_columns(tmp_path, header):
    assert list(treatments(read_text_map(tmp_path, f"{header},drug\nB,3,a\n2,4,b\n"))) == ["B03", "B04"]


def test_a_well_that_contradicts_its_row_and_column_is_a_problem(tmp_path):
    found = read_text_map(tmp_path, "well,row,col,drug\nB03,B,3,a\nB04,B,5,b\n")
    assert reasons(found) == [(3, "well 'B04', and its row and column are 'B05'")]


@pytest.mark.parametrize("name", ["compound", "Compound Name", "drug", "treatment", "pert_iname", "Metadata_Compound",
                                  "name", "substance"])
def test_names_of_the_column_of_compounds(tmp_path, name):
    found = read_text_map(tmp_path, f"well,{name},id\nA1,a,7\n")
    assert treatments(found)["A01"][0] == "a"
    assert [column for column in found.wells if column.startswith("Metadata_")] == ["Metadata_id"]


def test_an_identifier_counts_where_there_is_no_name_and_is_kept(tmp_path):
    found = read_text_map(tmp_path, "well,InChIKey,compound_id\nA1,KEY,C-1\n")
    assert found.wells["compound"].tolist() == ["C-1"]
    assert found.wells["Metadata_compound_id"].tolist() == ["C-1"]
    assert found.wells["Metadata_InChIKey"].tolist() == ["KEY"]


def test_a_name_counts_before_an_identifier(tmp_path):
    found = read_text_map(tmp_path, "well,broad_sample,pert_iname\nA1,BRD-1,taxol\n")
    assert (found.wells["compound"][0], found.wells["Metadata_broad_sample"][0]) == ("taxol", "BRD-1")


def test_two_columns_that_could_be_the_compound_are_refused_until_one_is_chosen(tmp_path):
    text = "well,drug,treatment\nA1,a,b\n"
    with pytest.raises(DataError, match="more than one column could be meant") as caught:
        read_text_map(tmp_path, text)
    assert caught.value.details == ["compound: drug, treatment"]
    found = read_text_map(tmp_path, text, columns={"compound": "treatment"})
    assert found.wells["compound"].tolist() == ["b"]
    assert found.wells["Metadata_drug_other"].tolist() == ["a"]  # so that no reader takes it for the compound


def test_two_columns_of_doses_are_refused(tmp_path):
    with pytest.raises(DataError, match="more than one column could be meant"):
        read_text_map(tmp_path, "well,drug,dose_uM,conc_nM\nA1,a,1,1000\n")


@pytest.mark.parametrize(("columns", "wrong"), [({"compound": "nothing"}, "compound=nothing: no such column"),
                                                ({"well": "position"}, "well=position: no such column")])
def test_columns_that_are_not_there_are_refused(tmp_path, columns, wrong):
    with pytest.raises(DataError) as caught:
        read_text_map(tmp_path, "well,drug\nA1,a\n", columns=columns)
    assert caught.value.details == [wrong]


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        read_text_map(tmp_path, "well,drug,note,note\nA1,a,1,2\n")
    assert caught.value.details == ["column note is there 2 times"]
    with pytest.raises(DataError, match="differ by the prefix"):
        read_text_map(tmp_path, "well,drug,note,Metadata_note\nA1,a,1,2\n")


def test_columns_without_a_recognised_name_are_given(tmp_path):
    columns = {"well": "position", "compound": "agent", "concentration": "amount uM", "mechanism": "class"}
    found = read_text_map(tmp_path, "position,agent,amount uM,class\nA1,a,3,kinase\n", columns=columns)
    assert treatments(found) == {"A01": ("a", 3, "µM", "kinase")}


def test_a_unit_column_counts_for_its_row_and_must_not_contradict_the_name_of_the_dose(tmp_path):
    found = read_text_map(tmp_path, "well,drug,conc,unit\nA1,a,5,nM\nA2,b,2,mg/ml\n")
    assert treatments(found) == {"A01": ("a", 0.005, "µM", ""), "A02": ("b", 2000, "µg/ml", "")}
    found = read_text_map(tmp_path, "well,drug,conc_uM,unit\nA1,a,5,nM\nA2,b,2,uM\nA3,c,3,\n")
    assert reasons(found) == [
        (2, "concentration '5' nM or uM: 'nM or uM' is no unit of concentration that is known")]
    assert [treatments(found)[well][1] for well in ("A02", "A03")] == [2, 3]


def test_titles_comments_repeated_headers_and_blank_lines_are_left_out_and_counted(tmp_path):
    found = read_text_map(tmp_path, "My screen,\n# by hand,\n\nwell,drug\nA1,a\n# A2,b\nwell,drug\n\nA3,#12\n")
    assert {well: one[0] for well, one in treatments(found).items()} == {"A01": "a", "A03": "#12"}
    assert found.notes == ("left out: 1 rows above the header", "left out: 2 comments that start with #",
                           "left out: 1 repeated headers",
                           "no column for the concentration: all doses of a compound count as one")


def test_a_compound_that_starts_with_a_hash_is_no_comment(tmp_path):
    assert treatments(read_text_map(tmp_path, "drug,well\n#12,A1\n"))["A01"][0] == "#12"


def test_an_error_of_a_spreadsheet_is_no_comment(tmp_path):
    assert reasons(read_text_map(tmp_path, "well,drug\n#N/A,a\nA2,b\n")) == [(2, "well '#N/A' is no place on a plate")]


def test_rows_that_are_wider_or_narrower_than_the_header_are_problems(tmp_path):
    found = read_text_map(tmp_path, "well,drug\nA1,a\nA2,b,c\nA3\nA4,d,\n")
    assert reasons(found) == [(3, "3 values, where the header has 2"), (4, "1 values, where the header has 2")]
    assert list(treatments(found)) == ["A01", "A04"]


def test_a_column_without_a_name_is_left_out_with_a_note(tmp_path):
    found = read_text_map(tmp_path, ",well,drug\n0,A1,a\n1,A2,b\n")
    assert "column 1 has no name and is left out" in found.notes


@pytest.mark.parametrize(("text", "reason"), [
    ("drug,dose\na,1\n", "no column for the well"), ("well,dose\nA1,1\n", "no column for the compound"),
    ("well,drug\n", "holds no wells below its header"), ("some text\nwithout a table\n", "no column for the well"),
    ("compound,concentration,moa\na,1,b\n", "a table of compounds is no plate map")])
def test_files_without_wells_or_compounds_are_refused(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        read_text_map(tmp_path, text)


def test_a_pick_list_says_what_is_in_the_wells_of_the_destination(tmp_path):
    found = read_text_map(tmp_path, "Source Plate Name,Source Well,Destination Plate Name,Destination Well,Sample Name\n"
                          "S1,A1,P1,B02,taxol\nS1,A2,P1,B03,x\n")
    assert treatments(found) == {"P1 B02": ("taxol", None, "", ""), "P1 B03": ("x", None, "", "")}
    assert found.wells["Metadata_Source Well"].tolist() == ["A1", "A2"]
    assert "the well is taken from column Destination Well" in found.notes


def test_a_well_of_a_pick_list_with_two_compounds_is_a_problem(tmp_path):
    found = read_text_map(tmp_path, "Source Well,Destination Well,Compound\nA1,B02,taxol\nA2,B02,x\n")
    assert [reason for _, reason in reasons(found)] == [
        "well B02 is in rows 2, 3 with different compound, Metadata_Source Well"]


def test_the_report_of_a_dispenser_with_lines_broken_within_names(tmp_path):
    found = read_text_map(tmp_path, 'Plate\t"Dispensed\nwell"\t"Dispensed\nrow"\t"Dispensed\ncol"\tFluid name\t'
                          '"Dispensed\nconc."\t"Conc.\nunits"\nP1\tB2\t2\t2\ttaxol\t300\tnM\n', "report.tsv")
    assert treatments(found) == {"P1 B02": ("taxol", 0.3, "µM", "")}


def test_a_column_that_may_be_the_concentration_is_named(tmp_path):
    found = read_text_map(tmp_path, "well,compound,LogConc,Conc1 (uM),Units\nA1,x,-6,1,uM\n")
    assert ("no column for the concentration: all doses of a compound count as one; not recognised: LogConc, Conc1 (uM) "
            "(--columns concentration=COLUMN)") in found.notes


@pytest.mark.parametrize("name", ["LogConc (nM)", "log10 conc (M)", "-log dose", "Metadata_LnConc"])
def test_logarithms_are_no_concentrations(tmp_path, name):
    with pytest.raises(DataError, match="holds logarithms"):
        read_text_map(tmp_path, f"well,compound,{name}\nA1,x,3\n", columns={"concentration": name})


def test_a_unit_of_the_compound_counts(tmp_path):
    found = read_text_map(tmp_path, "Well,Compound,Compound Concentration,Compound Units\nA1,x,300,nM\nA2,DMSO,,\n")
    assert treatments(found) == {"A01": ("x", 0.3, "µM", ""), "A02": ("DMSO", None, "", "")}


def test_lists_of_the_operetta(shared_data):
    folder = shared_data / "formats" / "harmony" / "operetta-compose"
    found = read_plate_map(folder / "drug_layout.csv")
    assert treatments(found) == {"C03": ("DMSO", None, "", "")}
    assert found.notes == ("1 untreated wells have a concentration (0.125 %), which is of the solvent and no dose: left "
                           "out",)
    found = read_plate_map(folder / "drug_layout_utf8-bom.csv")
    assert treatments(found) == {"B03": ("my_drug", 0.1, "µM", "")}
    assert found.wells["Metadata_my_metadata"].tolist() == ["example"]
