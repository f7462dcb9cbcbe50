import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.tables.assays import read_assays
from tests.conftest import make_table

NAN = np.nan
SCREEN = pd.Series(["a", "b", "b", "DMSO", "c"])


def read(tmp_path, text, compounds=SCREEN, column=None):
    (tmp_path / "assays.csv").write_text(text)
    return read_assays(tmp_path / "assays.csv", compounds, column)


def test_values_follow_the_compound_of_each_site_in_any_spelling(tmp_path, caplog):
    caplog.set_level("INFO")
    found = read(tmp_path, "Compound,tox,ahr\n B ,1,0\nA,0,\nz,1,1\n")
    assert found.names == ["ahr", "tox"]  # in alphabetical order
    np.testing.assert_array_equal(found.of_sites(), [[NAN, 0], [0, 1], [0, 1], [NAN, NAN], [NAN, NAN]])
    assert found.of_sites().dtype == np.float32
    assert found.is_measured().tolist() == [True, True, True, False, False]
    assert "assays: 2 of 2 compounds, 75 % of the cells measured; compounds of the screen without any: 2; of the table, " \
        "not in the screen: 1" in caplog.text


@pytest.mark.parametrize(("text", "value"), [
    *[(text, 1) for text in ("1", "1.0", "true", "TRUE", "Active", " positive ")],
    *[(text, 0) for text in ("0", "0.0", "False", "inactive", "Negative")],
    *[(text, NAN) for text in ("", " ", "nan", "N/A", "-", "not known", "?")]])
def test_values_are_written_in_many_ways(tmp_path, text, value):
    found = read(tmp_path, f"compound,one,other\na,{text},1\n")
    np.testing.assert_array_equal(found.of_sites()[0], [value, 1])


@pytest.mark.parametrize(("text", "message", "detail"), [
    ("compound,x,y\na,2,1\nb,0.5,0\n", "values are neither 1 nor 0: 2; write 1, 0 or nothing",
     "row 2: assay x: '2' is neither"),
    ("compound,smiles,y\na,CCO,1\n", "values are neither 1 nor 0: 1;", "row 2: assay smiles: 'CCO' is neither"),
    ("compound,x\na,1\nb,1\nA ,0\n", "values contradict another row of their compound: 2; keep one",
     "row 4: compound 'A ', assay x: '1' in row 2, '0' in row 4"),
    ("compound,x\n,1\na,0\n", "rows have no compound: 1;", "row 2: no compound"),
    ("compound\na\n", "no assay", ""), ("drug,x\na,1\n", "no columns could hold the compound", "column drug"),
    ("compound,Compound Name,x\na,a,1\n", "2 columns could hold the compound", "column Compound Name"),
    ("compound,x,x\na,1,1\n", "do not fit", "column x appears twice"),
    ("compound,tox,TOX \na,1,1\n", "assays are named twice; rename them", "'TOX', 'tox'"),
    (",compound,x\n0,a,1\n", "a column has no name", ""),
    ("compound,x\nq,1\nr,0\n", "none of its 2 compounds is in the screen with a value", ""),
    ("compound,x\na,\nr,0\n", "none of its 2 compounds is in the screen with a value", "")])
def test_tables_that_cannot_be_used_are_refused(tmp_path, text, message, detail):
    with pytest.raises(DataError) as refused:
        read(tmp_path, text)
    assert message in refused.value.what
    assert detail in "\n".join(refused.value.details)
    assert "assays.csv" in refused.value.what


def test_a_table_that_is_not_there_is_refused_with_the_option_that_names_it(tmp_path):
    with pytest.raises(DataError, match="no such table of assays; say where it is with --assays"):
        read_assays(tmp_path / "none.csv", SCREEN)


def test_rows_of_one_compound_are_joined(tmp_path):
    found = read(tmp_path, "compound,x,y,z\na,1,,0\nA,1,0,\n")
    assert found.of_sites()[0].tolist() == [1, 0, 0]


def test_the_column_of_compounds_may_have_a_name_of_its_own(tmp_path):
    assert read(tmp_path, "Drug,x\na,1\n", column="Drug").of_sites()[0].tolist() == [1]
    assert read(tmp_path, "compound,x\na,1\n", column="Drug").of_sites()[0].tolist() == [1]  # the site table's own name


def test_an_assay_is_of_one_class_by_the_compounds_that_are_trained(tmp_path):
    found = read(tmp_path, "compound,both,one,none\na,1,1,\nb,0,1,\nc,0,0,\n")
    assert found.of_one_class(np.array([True, True, True, True, True])) == ["none"]
    assert found.of_one_class(np.array([True, True, False, True, False])) == ["none", "one"]
    assert found.of_one_class(np.zeros(5, bool)) == ["both", "none", "one"]


def test_assays_of_another_screen_take_the_names_that_were_learnt(tmp_path):
    found = read(tmp_path, "compound,TOX,new\na,1,0\n").reordered(["absent", "tox"])
    np.testing.assert_array_equal(found.of_sites()[0], [NAN, 1])
    assert found.names == ["absent", "tox"]


def test_a_site_table_is_labelled_by_its_assays_and_selects_them_with_its_sites(tmp_path):
    from dataclasses import replace

    plain = make_table([("a", ""), ("b", "M"), ("c", "")])
    table = replace(plain, assays=read(tmp_path, "compound,y,x\nc,1,0\na,,1\n", plain.frame["compound"]))
    assert (plain.classes(), table.classes()) == (["M"], ["x", "y"])
    assert table.labelled().frame["compound"].tolist() == ["a", "c"]
    np.testing.assert_array_equal(table.select(np.array([2, 0])).assays.of_sites(), [[0, 1], [1, NAN]])
    other = replace(plain, assays=read(tmp_path, "compound,y,x\nc,1,0\na,,0\n", plain.frame["compound"]))
    assert len({plain.fingerprint(), table.fingerprint(), other.fingerprint()}) == 3
