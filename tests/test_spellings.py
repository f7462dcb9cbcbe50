"""Names are compared in their normal form wherever two tables meet: no leak hides behind a spelling."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.tables.bbbc021 import is_taxol_control
from mscnn.data.tables.splits import make_split, overlap, to_record, unlearnable, with_trained_spelling
from mscnn.evaluation import aggregate
from mscnn.evaluation.baselines import align
from mscnn.evaluation.combine_folds import combine_folds
from mscnn.profiling import profile_table
from tests.conftest import make_table
from tests.evaluation.test_baselines import noise
from tests.evaluation.test_results import fold

TRAINED = make_table([("Taxol", "Micro tubule"), ("b", "Eg5"), ("c", "Eg5"), ("DMSO", "DMSO")])


def test_a_table_to_score_is_compared_with_the_training_in_any_spelling():
    record = to_record(make_split(TRAINED, split="hold-out", hold_out="C\u200b"), TRAINED)
    assert record.held_out == ["c"]
    other = make_table([("TAXOL\u00a0", "micro\u00a0tubule"), ("new", "eg5"), ("dmso", "dmso"), ("odd", "Other")])
    assert overlap(record, other)[0].endswith("says nothing of new ones: TAXOL\u00a0")
    respelt = with_trained_spelling(other, record).frame["mechanism"]
    assert respelt.tolist() == ["Micro tubule", "Eg5", "DMSO", "Other"]  # a class of the network, or none


def test_a_mechanism_in_two_spellings_can_be_learnt():
    table = make_table([("a", "Eg5"), ("b", "EG5"), ("c", "x"), ("d", "y")])
    assert unlearnable(make_split(table, split="hold-out", hold_out="b"), table) == []


@pytest.mark.parametrize(("rows", "reason", "details"), [
    ([("P1", "B4", "1", "TAXOL", 1.0, "dark", 0.1, 0.2, 0.7)], "was trained on what it is scored on", ["compound TAXOL"]),
    ([("P1", "b2", "01", "c", 1.0, "dark", 0.1, 0.2, 0.7)], "predicted more than once", ["P1 b2 01"]),
    ([("P1", "B5", "1", "A", 1.0, "dark", 0.1, 0.2, 0.7)], "in more than one spelling", ["'A', 'a'"]),
    ([("P1", "B5", "1", "c", 1.0, "Dark", 0.1, 0.2, 0.7)], "in more than one spelling", ["'Dark', 'dark'"])])
def test_folds_that_leak_behind_a_spelling_are_not_gathered(tmp_path, rows, reason, details):
    folds = [fold(tmp_path / "0", [("P1", "B02", "1", "a", 1.0, "bright", 0.0, 0.9, 0.1),
                                   ("P1", "B03", "1", "b", 1.0, "dark", 0.0, 0.7, 0.3)]),
             fold(tmp_path / "1", rows, trained=["taxol"])]
    with pytest.raises(DataError, match=reason) as refusal:
        combine_folds(folds, tmp_path / "all")
    assert refusal.value.details == details


def test_features_find_sites_in_any_spelling():
    table = make_table([("P1", "B02", "1"), ("P1", "B03", "1")], "plate well site")
    written = pd.concat([aggregate.metadata(table), noise(table)], axis=1)
    written["Metadata_Well"], written["Metadata_Plate"], written["Metadata_Site"] = ["b3", "B2"], "p1", "1.0"
    pd.testing.assert_frame_equal(align(table, written), noise(table).iloc[[1, 0]].reset_index(drop=True))


def profiles(**columns: list) -> pd.DataFrame:
    frame = {"Metadata_Compound": ["a", "b", "DMSO"], "Metadata_Concentration": [1.0, 1.0, 0.0],
             "Metadata_MOA": ["x", "y", ""], "Metadata_Week": ["1", "2", "1"], "F": [1.0, 2.0, 3.0]}
    return pd.DataFrame({**frame, **columns})


@pytest.mark.parametrize(("column", "names"), [
    ("Metadata_Compound", ["a", "\u0430", "DMSO"]), ("Metadata_MOA", ["x", "X\u200b", ""]),
    ("Metadata_Week", ["1", "\uff11", "1"]), ("Metadata_Plate", ["P 1", "P\u00a01", "P2"]),
    ("Metadata_Well", ["A1", "a01", "A1"])])
def test_profiles_with_a_name_in_two_spellings_are_refused(column, names):
    with pytest.raises(DataError, match=f"{column} holds names in more than one spelling") as refusal:
        profile_table.from_frame(profiles(**{"Metadata_Plate": ["P", "P", "Q"], column: names}), "the table")
    assert refusal.value.details == [", ".join(map(ascii, sorted(names[:2])))]


def test_profiles_know_doses_controls_and_missing_values_in_any_spelling():
    table = profile_table.from_frame(profiles(Metadata_MOA=["x", "N/A", "unknown"],
                                              Metadata_Concentration=["0.30000000000000004", "n/a", "0.3"]), "the table")
    assert table.metadata["Metadata_MOA"].tolist() == ["x", "", ""]
    np.testing.assert_array_equal(table.metadata["Metadata_Concentration"], [0.3, np.nan, 0.3])
    assert table.is_control(" dmso\u200b").tolist() == [False, False, True]


def test_control_wells_are_known_in_any_spelling():
    table = make_table([("Taxol\u00a0", 0.3, "b11"), ("taxol", 0.3, "B12"), ("taxol", 1.0, "B11")],
                       "compound concentration well")
    assert is_taxol_control(table.frame).tolist() == [True, False, False]
    assert replace(TRAINED, control="d\u00admso").is_control().tolist() == [False, False, False, True]
