"""Tables of compounds."""

import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.compounds import Compounds, read_compounds


def read(tmp_path, text: str, **options) -> Compounds:
    (tmp_path / "compounds.csv").write_text(text, encoding="utf-8")
    return read_compounds(tmp_path / "compounds.csv", **options)


@pytest.mark.parametrize("header", ["compound,moa", "Name;Mechanism of action", "pert_iname\tmechanism", "drug,target"])
def test_names_of_columns(tmp_path, header):
    separator = next(mark for mark in ",;\t" if mark in header)
    found = read(tmp_path, f"{header}\ntaxol{separator}stabiliser\n")
    assert found.table[["compound", "mechanism"]].to_numpy().tolist() == [["taxol", "stabiliser"]]


def test_a_target_counts_as_the_mechanism_with_a_note_and_only_where_there_is_none(tmp_path):
    assert read(tmp_path, "drug,target\na,T\n").notes == ("the mechanism is taken from column target",)
    found = read(tmp_path, "drug,target,moa\na,T,M\n")
    assert (found.table["mechanism"].tolist(), found.table["Metadata_target_other"].tolist()) == (["M"], ["T"])


def test_identifiers_are_kept_and_what_stands_for_none_is_empty(tmp_path):
    found = read(tmp_path, "broad_sample,InChIKey,pert_iname,moa\nBRD-1,K1,a,m\nNA,K2,DMSO,unknown\n,,n/a,m\n")
    assert found.ids == ("Metadata_broad_sample", "Metadata_InChIKey")
    assert found.table["Metadata_broad_sample"].tolist() == ["BRD-1", ""]
    assert found.table["mechanism"].tolist() == ["m", ""]
    assert found.notes == ("1 rows without a compound are left out",)


def test_a_table_of_identifiers_alone_has_no_names(tmp_path):
    found = read(tmp_path, "broad_sample,moa\nBRD-1,m\n")
    assert (found.table["compound"].tolist(), found.ids) == ([""], ("Metadata_broad_sample",))


def test_compounds_with_two_mechanisms_are_problems_and_repeats_are_none(tmp_path):
    found = read(tmp_path, "drug,moa\nTaxol,m\ntaxol, M\nb,x\nB,y\nb,\n")
    assert [(problem.row, problem.reason) for problem in found.problems] == [
        (4, "compound 'b' has mechanisms 'x' (row 4), 'y' (row 5)")]


def test_mechanisms_may_differ_between_doses(tmp_path):
    found = read(tmp_path, "drug,dose_uM,moa\na,1,x\na,2,y\na,1000 nM,z\n")
    assert [problem.row for problem in found.problems] == [4]  # the unit of row 4 contradicts its column
    found = read(tmp_path, "drug,dose,moa\na,1 uM,x\na,2 uM,y\na,1000 nM,z\n")
    assert [problem.reason for problem in found.problems] == ["compound 'a' has mechanisms 'x' (row 2), 'z' (row 4)"]


def test_an_identifier_of_two_compounds_is_noted(tmp_path):
    found = read(tmp_path, "drug,InChIKey,moa\nquinine,K1,m\nquinidine,K1,n\n")
    assert (found.problems, found.notes) == ((), ("InChIKey k1 is of quinine, quinidine: not joined by it",))
    assert found.unclear == {("Metadata_InChIKey", "k1")}


@pytest.mark.parametrize(("text", "reason"), [
    ("a,b\n1,2\n", "no column for the compound"), ("drug,moa\n,m\n", "names no compound"), ("", "the file is empty"),
    ("drug,treatment,moa\na,b,c\n", "more than one column could be meant"), ("drug,moa\na\n", "do not fit")])
def test_other_tables_are_refused(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        read(tmp_path, text)


def test_columns_are_chosen(tmp_path):
    found = read(tmp_path, "agent,pathway\na,p\n", columns={"compound": "agent", "mechanism": "pathway"})
    assert found.table[["compound", "mechanism"]].to_numpy().tolist() == [["a", "p"]]


def test_the_mechanisms_of_bbbc021(shared_data):
    found = read_compounds(shared_data / "bbbc021_csv" / "BBBC021_v1_moa.csv")
    assert (len(found.table), found.problems) == (104, ())
    first = found.table.iloc[0]
    assert (first["compound"], first["concentration"], first["mechanism"]) == ("PP-2", 3, "Epithelial")


def test_a_unit_that_contradicts_the_header_is_a_problem(tmp_path):
    for unit, number in (("µM", 0), ("nM", 1)):
        (tmp_path / "a.csv").write_text(f"compound,dose_uM,unit,moa\ntaxol,10,{unit},tubulin\n", encoding="utf-8")
        assert len(read_compounds(tmp_path / "a.csv").problems) == number
