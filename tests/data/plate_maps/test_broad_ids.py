"""Salts and batches of one compound are joined by the first letters of their identifiers."""

import pandas as pd
import pytest

from mscnn.data.plate_maps.broad_ids import cores
from tests.data.plate_maps.test_join_compounds import join

MAP = ("well,broad_sample,dose (uM)\nA1,BRD-K12345678-001-01-1,1\nA2,BRD-K12345678-003-02-9,1\n"
       "A3,BRD-K99999999-001-01-1,1\nA4,,0\n")


def test_the_core_of_an_identifier():
    names = pd.Series(["BRD-K12345678-001-01-1", "brd-a12345678", "BRD-K12345678-001", "BRD-K1234567-001-01-1", "BRD-1",
                       "taxol", "BRD-K12345678-001-01-1x", "BRDN0001054908", ""])
    assert cores(names).tolist() == ["brd-k12345678", "brd-a12345678", "brd-k12345678", "", "", "", "", "", ""]


@pytest.mark.parametrize("column", ["broad_id", "Metadata_broad_sample", "pert_id"])
@pytest.mark.parametrize("other", ["BRD-K12345678", "BRD-K12345678-999-05-3"])
def test_another_salt_or_batch_takes_name_and_mechanism_with_a_note(tmp_path, column, other):
    joined = join(tmp_path, MAP, f"{column},pert_iname,moa\n{other},taxol,stabiliser\nBRD-K00000000-001-01-1,b,x\n")
    assert joined.wells["compound"].tolist() == ["taxol", "taxol", "BRD-K99999999-001-01-1", "DMSO"]
    assert joined.wells["mechanism"].tolist() == ["stabiliser", "stabiliser", "", ""]
    assert joined.wells["Metadata_broad_sample"].tolist()[:2] == ["BRD-K12345678-001-01-1", "BRD-K12345678-003-02-9"]
    assert joined.lines[0] == ("2 compounds are joined by the first 13 letters of their identifiers (another salt or "
                               "batch): BRD-K12345678-001-01-1, BRD-K12345678-003-02-9")


def test_the_full_identifier_counts_before_its_core(tmp_path):
    joined = join(tmp_path, MAP, "broad_id,pert_iname,moa\nBRD-K12345678-001-01-1,taxol,m\nBRD-K12345678-009-01-1,taxol,\n")
    assert joined.wells["mechanism"].tolist() == ["m", "m", "", ""]
    assert "1 compounds are joined" in joined.lines[0]


@pytest.mark.parametrize(("first", "second"), [("taxol,m", "other,m"), (",m", ",other")])
def test_a_core_of_two_names_or_mechanisms_joins_nothing(tmp_path, first, second):
    table = f"broad_id,pert_iname,moa\nBRD-K12345678-007-01-1,{first}\nBRD-K12345678-008-01-1,{second}\n"
    joined = join(tmp_path, MAP, table)
    assert joined.wells["mechanism"].tolist() == ["", "", "", ""]
    assert joined.wells["compound"].tolist()[0] == "BRD-K12345678-001-01-1"


def test_a_mechanism_at_one_dose_is_not_taken_to_another_by_the_core(tmp_path):
    joined = join(tmp_path, MAP, "broad_id,pert_iname,moa,dose (uM)\nBRD-K12345678-001-01-1,taxol,m,3\n")
    assert joined.wells["mechanism"].tolist() == ["", "", "", ""]
