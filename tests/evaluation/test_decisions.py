"""The ranked list of treatments, by hand."""

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import decisions
from mscnn.evaluation.decisions import COLUMNS, Evidence
from mscnn.evaluation.results import EvaluationDescription, FoldDescription

KEY = ["Metadata_Compound", "Metadata_Concentration"]
# compound, dose, mechanism, prediction, probability
TREATMENTS = pd.DataFrame([("=a", 1.0, "", "M", 0.9), ("b", np.nan, "M", "M", 0.8), ("c", 3.0, "", "N", 0.7),
                           ("d", 1.0, "", "N", 0.6), ("e", 1.0, "", "N", 0.5)],
                          columns=[*KEY, "Metadata_MOA", "Predicted_MOA", "Probability_M"])
TREATMENTS = TREATMENTS.assign(Probability_N=0.1, Probability_M=np.where(TREATMENTS["Predicted_MOA"] == "M",
                                                                        TREATMENTS["Probability_M"], 0.05))
FIELDS = pd.DataFrame([("P1", "B02", "=a", 1.0), ("P1", "B02", "=a", 1.0), ("P2", "B02", "=a", 1.0),
                       ("P1", "C02", "b", np.nan), ("P1", "D02", "c", 3.0), ("P1", "E02", "d", 1.0),
                       ("P1", "F02", "e", 1.0), ("P1", "A01", "DMSO", 0.0)],
                      columns=["Metadata_Plate", "Metadata_Well", *KEY])
# mAP, q, effect: a is inactive with a large effect, b and d are active, c is not ranked, e lacks
HITS = pd.DataFrame([("=a", 1.0, 0.3, 0.5, 9.0), ("b", np.nan, 0.9, 0.01, 2.0), ("c", 3.0, np.nan, np.nan, 4.0),
                     ("d", 1.0, 0.8, 0.04, 3.0), ("x", 1.0, 0.8, 0.01, 8.0)],
                    columns=[*KEY, "Mean_Average_Precision", "Q_Value", "Effect_Size"]).assign(Active=False)
FIRST = pd.DataFrame([("=a", 1.0, "", "k", 2.0, "M", 0.9, 0.05), ("b", np.nan, "M", "k", 2.0, "M", 0.8, 0.1),
                      ("d", 1.0, "", "l", np.nan, "O", 0.4, 0.6), ("d", 1.0, "M", "k", 2.0, "M", 0.3, 0.7)],
                     columns=[*KEY, "Metadata_MOA", "Nearest_Compound", "Nearest_Concentration", "Nearest_MOA",
                              "Similarity", "None_Of_The_Known"])
SURE = np.array([0.5, 0.4, 0.3, 0.2, np.nan])


def made(evidence: Evidence, **options) -> pd.DataFrame:
    return decisions.table(TREATMENTS, FIELDS, SURE, ["B", "c"], evidence, **options)


def test_active_ones_come_first_then_undecided_then_inactive_ones_each_by_effect(tmp_path):
    found = made(Evidence(HITS, FIRST))
    assert list(found) == COLUMNS
    assert found["Metadata_Compound"].tolist() == ["d", "b", "c", "e", "=a"]
    assert found["Rank"].tolist() == [1, 2, 3, 4, 5]
    assert found["Active"].tolist() == ["True", "True", "", "", "False"]
    assert found["Wells"].tolist() == [1, 1, 1, 1, 2]
    assert found["Plates"].tolist() == [1, 1, 1, 1, 2]
    assert found["Fields"].tolist() == [1, 1, 1, 1, 3]
    assert found["Trained"].tolist() == [False, True, True, False, False]
    assert found["Nearest_Compound"].tolist() == ["l", "k", "", "", "k"]  # of d without a mechanism, not of the known d
    np.testing.assert_array_equal(found["Probability"], [0.1, 0.8, 0.1, 0.1, 0.9])
    np.testing.assert_array_equal(found["Confidence"], [0.2, 0.4, 0.3, np.nan, 0.5])
    decisions.write(found, tmp_path)
    again = decisions.read(tmp_path)
    pd.testing.assert_frame_equal(again, found.assign(Trained=found["Trained"].astype(str)), check_dtype=False)
    assert ",'=a," in (tmp_path / "decisions.csv").read_text()  # no formula in a spreadsheet


def test_without_activity_those_near_to_a_known_mechanism_come_first():
    found = made(Evidence(None, FIRST))
    assert found["Metadata_Compound"].tolist() == ["=a", "b", "d", "c", "e"]
    assert (found["Active"] == "").all()
    none = made(Evidence())
    assert none["Metadata_Compound"].tolist() == ["=a", "b", "c", "d", "e"]  # by confidence; e has its probability, 0.1


def test_where_no_q_can_be_low_enough_nothing_is_called_inactive():
    found = made(Evidence(HITS.assign(Q_Value=0.2), FIRST, can_decide=False))
    assert (found["Active"] == "").all()
    assert found["Metadata_Compound"].tolist() == ["=a", "c", "d", "b", "e"]  # by effect alone
    assert (found["Q_Value"].dropna() == 0.2).all()


def test_what_is_said_at_the_end():
    evidence = Evidence(HITS, FIRST)
    assert decisions.summary(made(evidence), evidence) == (
        "5 treatments: 2 active (q < 0.05); of these 1 near to a known mechanism (p <= 0.1) and 1 that may be none of "
        "the known")
    evidence = Evidence(None, FIRST, activity_note="no control wells are there")
    assert decisions.summary(made(evidence), evidence) == (
        "5 treatments: activity is not known (no control wells are there); 2 near to a known mechanism (p <= 0.1) and "
        "1 that may be none of the known")
    few = Evidence(HITS, FIRST, least_p=0.2)
    assert "cannot be told (with so few held-out compounds of known mechanisms p is" in decisions.summary(made(few), few)
    alone = decisions.table(TREATMENTS[:1], FIELDS, SURE[:1], [], Evidence(known_note="why"))
    assert decisions.summary(alone, Evidence(known_note="why")).startswith("1 treatment: activity is not known (")
    assert decisions.summary(alone, Evidence(known_note="why")).endswith("a mechanism is known cannot be told (why)")


def test_flagged_fields_are_counted():
    quality = FIELDS.assign(Flags=["blurred", "", "blurred;dim", "", "empty", "", "", "edge"])
    found = made(Evidence(), quality=quality).set_index("Metadata_Compound")["Flagged_Fields"]
    assert found.to_dict() == {"=a": 2, "b": 0, "c": 1, "d": 0, "e": 0}
    assert made(Evidence())["Flagged_Fields"].isna().all()


def test_treatments_without_a_prediction_have_none():
    assays = TREATMENTS.drop(columns="Predicted_MOA")
    nothing = TREATMENTS.drop(columns=["Probability_M", "Probability_N"]).assign(Predicted_MOA="")
    for treatments in (assays, nothing):
        found = decisions.table(treatments, FIELDS, np.full(5, np.nan), [], Evidence(HITS))
        assert (found["Predicted_MOA"] == "").all()
        assert found["Probability"].isna().all()


def test_a_file_that_does_not_fit_is_refused_and_none_is_none(tmp_path):
    assert decisions.read(tmp_path) is None
    (tmp_path / "decisions.csv").write_text("Rank,Metadata_Compound\n1,a\n")
    with pytest.raises(DataError, match=r"decisions.csv: lacks Metadata_Concentration, .*evaluate the run again"):
        decisions.read(tmp_path)


@pytest.mark.parametrize(("leaks", "folds", "expected"), [("", False, ["a"]), ("", True, []), ("random", True, ["a"])])
def test_held_out_compounds_of_folds_are_not_trained_on_unless_the_split_leaks(leaks, folds, expected):
    split = SplitRecord("k-fold", [], leaks, "0", {}, {"compounds": ["a"]}, [])
    assert decisions.trained_compounds(described(split, [split] if folds else None)) == expected


def test_folds_of_plates_are_trained_on_all_compounds_but_those_of_one_plate():
    plates = [SplitRecord("leave-plate-out", ["alone"], "", "0", {}, {"compounds": ["a"]}, []),
              SplitRecord("leave-plate-out", [], "", "0", {}, {"compounds": ["a", "alone"]}, [])]
    assert decisions.trained_compounds(described(plates[0], plates)) == ["a"]
    assert decisions.trained_compounds(described(plates[1], None)) == ["a", "alone"]


def described(split: SplitRecord, folds: list[SplitRecord] | None) -> EvaluationDescription:
    return EvaluationDescription(
        checkpoint="last.safetensors", step=1, compounds=[], control="DMSO", channels=[], classes=[], notes=[],
        aggregate_wells="mean", aggregate_treatments="median", tta="none", head="softmax", seed=0, split=split,
        environment={}, folds=folds and [FoldDescription("folder", "last.safetensors", each) for each in folds])
