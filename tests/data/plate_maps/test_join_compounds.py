"""Tables of compounds joined to the wells of a map."""

import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.compounds import read_compounds
from mscnn.data.plate_maps.join_compounds import JoinedCompounds, join_compounds
from mscnn.data.plate_maps.read_map import read_plate_map
from tests.data.plate_maps.maps import read_text_map


def join(tmp_path, plate_map: str, table: str) -> JoinedCompounds:
    found = read_text_map(tmp_path, plate_map)
    assert found.problems == ()
    (tmp_path / "compounds.csv").write_text(table, encoding="utf-8")
    return join_compounds(found.wells, read_compounds(tmp_path / "compounds.csv"))


def test_mechanisms_are_found_by_name_in_any_spelling(tmp_path):
    joined = join(tmp_path, "well,drug\nA1,Taxol\nA2,  TAXOL\nA3,b\nA4,DMSO\n",
                  "name,moa,source\ntaxol,stabiliser,yew\nB,x,\n")
    assert joined.wells["mechanism"].tolist() == ["stabiliser", "stabiliser", "x", ""]
    assert joined.wells["compound"].tolist() == ["Taxol", "TAXOL", "b", "DMSO"]
    assert joined.wells["Metadata_source"].tolist() == ["yew", "yew", "", ""]
    assert (joined.lines, joined.problems) == ((), ())


def test_near_misses_and_compounds_without_a_row_are_listed(tmp_path):
    joined = join(tmp_path, "well,drug\nA1,aphidicolin\nA2,zzz\nA3,DMSO\nA4,b\n", "name,moa\naphidicoline,m\nother,m\nb,\n")
    assert joined.lines == (
        "2 of 3 compounds are not in the table of compounds, so that their mechanism is not known: aphidicolin, zzz",
        "'aphidicolin' is not in the table of compounds, which has 'aphidicoline'",
        "1 of 3 compounds have no mechanism in the table of compounds: b",
        "2 of 3 rows of the table of compounds have no wells")
    assert joined.wells["mechanism"].tolist() == ["", "", "", ""]


def test_an_identifier_counts_before_the_name_and_brings_the_name_of_the_table(tmp_path):
    joined = join(tmp_path, "well,broad_sample\nA1,BRD-1\nA2,BRD-2\nA3,\nA4,BRD-4\n",
                  "broad_sample,pert_iname,moa,pert_type\nBRD-1,taxol,m,trt\nBRD-2,,n,trt\nNA,DMSO,,control\n")
    assert joined.wells["compound"].tolist() == ["taxol", "BRD-2", "DMSO", "BRD-4"]
    assert joined.wells["mechanism"].tolist() == ["m", "n", "", ""]
    assert joined.wells["Metadata_broad_sample"].tolist() == ["BRD-1", "BRD-2", "", "BRD-4"]
    assert joined.wells["Metadata_pert_type"].tolist() == ["trt", "trt", "control", ""]


def test_identifiers_in_the_column_of_compounds_are_found(tmp_path):
    joined = join(tmp_path, "well,drug\nA1,brd-1\n", "broad_sample,pert_iname,moa\nBRD-1,taxol,m\n")
    assert joined.wells[["compound", "mechanism", "Metadata_broad_sample"]].to_numpy().tolist() == [["taxol", "m", "BRD-1"]]


def test_an_unclear_identifier_joins_nothing(tmp_path):
    joined = join(tmp_path, "well,InChIKey\nA1,K1\nA2,K2\n", "InChIKey,name,moa\nK1,quinine,m\nK1,quinidine,n\nK2,b,o\n")
    assert joined.wells["mechanism"].tolist() == ["", "o"]
    assert joined.wells["compound"].tolist() == ["K1", "b"]


def test_a_mechanism_with_a_dose_counts_at_that_dose_alone(tmp_path):
    joined = join(tmp_path, "well,drug,conc\nA1,a,1 uM\nA2,a,3000 nM\nA3,a,10 uM\nA4,b,1 uM\nA5,c,5 ng/ml\n",
                  "drug,dose,moa\na,1000 nM,m\na,3 uM,n\nb,,o\nc,5 uM,p\n")
    assert joined.wells["mechanism"].tolist() == ["m", "n", "", "o", ""]
    assert joined.lines[0] == "2 of 3 compounds have wells at doses that the table of compounds lacks: a, c"


def test_a_row_with_the_dose_counts_before_one_for_every_dose(tmp_path):
    joined = join(tmp_path, "well,drug,conc\nA1,a,1 uM\nA2,a,3 uM\n", "drug,dose,moa\na,,m\na,3 uM,n\n")
    assert joined.wells["mechanism"].tolist() == ["m", "n"]


def test_a_dose_without_a_unit_is_compared_as_a_number(tmp_path):
    assert join(tmp_path, "well,drug,conc\nA1,a,1 uM\n", "drug,dose,moa\na,1,m\n").wells["mechanism"].tolist() == ["m"]
    assert join(tmp_path, "well,drug,conc\nA1,a,1\n", "drug,dose,moa\na,1 uM,m\n").wells["mechanism"].tolist() == ["m"]


def test_a_mechanism_of_the_map_that_contradicts_the_table_is_a_problem(tmp_path):
    joined = join(tmp_path, "well,drug,moa\nA1,a,x\nA2,b,Y\nA3,c,\n", "drug,moa\na,z\nb,y\nc,w\n")
    assert [problem.reason for problem in joined.problems] == ["compound 'a': 'z', where the plate map has 'x'"]
    assert joined.wells["mechanism"].tolist() == ["x", "Y", "w"]


def test_metadata_of_the_map_are_kept_where_the_table_has_others(tmp_path):
    joined = join(tmp_path, "well,drug,cas\nA1,a,1\nA2,b,\n", "drug,moa,cas\na,m,2\nb,m,3\n")
    assert joined.wells["Metadata_cas"].tolist() == ["1", "3"]
    assert joined.lines == ("1 wells keep the cas of the plate map, where the table of compounds has another",)


def test_names_of_the_table_may_bring_doses_of_two_kinds_together(tmp_path):
    joined = join(tmp_path, "well,broad_sample,conc\nA1,BRD-1,1 uM\nA2,BRD-2,1 %\n",
                  "broad_sample,name,moa\nBRD-1,a,m\nBRD-2,a,m\n")
    assert [problem.reason for problem in joined.problems] == ["compound 'a' has doses in % and in µM"]


def test_a_table_with_problems_is_not_joined(tmp_path):
    with pytest.raises(DataError, match="mend them before") as caught:
        join(tmp_path, "well,drug\nA1,a\n", "drug,moa\na,x\na,y\n")
    assert caught.value.details == ["compound 'a' has mechanisms 'x' (row 2), 'y' (row 3)"]


def test_jump_target_takes_names_from_its_metadata(shared_data):
    folder = shared_data / "formats" / "broad_platemap" / "JUMP-Target"
    plate_map = read_plate_map(folder / "JUMP-Target-1_compound_platemap.tsv")
    compounds = read_compounds(folder / "JUMP-Target-1_compound_metadata.tsv", columns={"mechanism": "target_list"})
    joined = join_compounds(plate_map.wells, compounds)
    wells = joined.wells.set_index("well")
    assert wells.loc["A01", ["compound", "Metadata_broad_sample", "Metadata_pert_type"]].tolist() == [
        "gabapentin-enacarbil", "BRD-A86665761-001-01-1", "trt"]
    assert wells.loc["A03", ["compound", "mechanism"]].tolist() == [
        "amlodipine", "CA1|CACNA1B|CACNA1C|CACNA1D|CACNA1F|CACNA1S|CACNA2D1|CACNA2D3|CACNB1|CACNB2|SMPD1"]
    assert wells.loc["A02", ["compound", "Metadata_control_type"]].tolist() == ["DMSO", "negcon"]
    assert (wells["compound"] == "DMSO").sum() == 64
    assert not wells["compound"].str.startswith("BRD-").any()
    assert joined.problems == ()
