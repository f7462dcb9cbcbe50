import pandas as pd

from mscnn.report import dose_section
from tests.report.test_html import folds, plain, written  # noqa: F401 a fixture

WELLS = pd.DataFrame([("new", 1.0, ""), ("known", 1.0, "m"), ("half", 1.0, "m"), ("half", 2.0, ""), ("dmso", 0.0, ""),
                      ("surer", 1.0, ""), ("new", 2.0, "")],
                     columns=["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"])
COMPOUNDS = pd.DataFrame([("new", "m", 0.6), ("known", "m", 1.0), ("half", "n", 0.0), ("dmso", "n", 0.0),
                          ("surer", "n", 0.1)], columns=["Metadata_Compound", "Predicted_MOA", "Probability_m"])
COMPOUNDS["Probability_n"] = 1 - COMPOUNDS["Probability_m"]


def test_new_compounds_are_drawn_by_their_prediction_the_surest_first():
    """Of `half` a mechanism is known, and the control is none: neither is new."""
    found = dose_section.predicted(WELLS, COMPOUNDS, "DMSO")
    assert found[["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"]].to_numpy().tolist() == [
        ["surer", 1.0, "n"], ["new", 1.0, "m"], ["new", 2.0, "m"]]


def test_known_compounds_are_drawn_by_their_mechanism():
    assert dose_section.known(WELLS)["Metadata_Compound"].tolist() == ["half", "known"]


def test_assays_and_missing_predictions_have_no_curve():
    assert not len(dose_section.predicted(WELLS, COMPOUNDS.drop(columns="Predicted_MOA"), "DMSO"))
    assert not len(dose_section.predicted(WELLS, COMPOUNDS.assign(Predicted_MOA=""), "DMSO"))
