"""Scores of a classifier's predictions, by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

from mscnn.evaluation.scoring import Score, by_compound, by_mechanism, confusion, count_right, scores

TABLE = pd.DataFrame({"Metadata_MOA": ["M", "M", "N", "O", ""], "Predicted_MOA": ["M", "N", "N", "M", "M"],
                      "Metadata_Compound": list("abcde")})
DRAWS = {"draws": 200, "permutations": 200}


def test_right_and_total_at_each_level_leave_out_the_unknown():
    found = scores({"fields": TABLE, "compounds": TABLE[:1]}, "DMSO", **DRAWS)
    assert {level: (score.correct, score.total) for level, score in found.items()} == {
        "fields": (2, 4), "compounds": (1, 1)}
    assert found["fields"].interval.compounds == 4
    assert 0 < found["fields"].permuted.p <= 1
    assert scores({"fields": TABLE[4:]}, "DMSO") == {"fields": Score(0, 0)}


def test_predictions_null_is_the_mean_over_all_permutations():
    """Of four compounds' mechanisms M M N O, with predictions M N N M: the mean over all 24 orders, by counting."""
    true, predicted = TABLE["Metadata_MOA"][:4].to_numpy(), TABLE["Predicted_MOA"][:4].to_numpy()
    expected = np.mean([np.mean(np.array(order) == predicted) for order in itertools.permutations(true)])
    null = scores({"fields": TABLE}, "DMSO", draws=10, permutations=4000)["fields"].permuted
    assert null.mean == pytest.approx(expected, abs=0.02)  # 4 sd of a mean of 4000 draws


def test_by_mechanism():
    assert by_mechanism(TABLE, "DMSO").to_dict("records") == [
        {"mechanism": "M", "correct": 1, "total": 2, "predicted": 2},
        {"mechanism": "N", "correct": 1, "total": 1, "predicted": 2},
        {"mechanism": "O", "correct": 0, "total": 1, "predicted": 0}]


def test_confusion_has_true_rows_and_only_what_occurs():
    more = pd.DataFrame({"Metadata_MOA": ["M"], "Predicted_MOA": ["Q"], "Metadata_Compound": ["f"]})
    counts = confusion(pd.concat([TABLE, more]), "DMSO")
    assert (counts.index.tolist(), counts.columns.tolist()) == (["M", "N", "O"], ["M", "N", "O", "Q"])
    assert counts.to_numpy().tolist() == [[1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]


def test_control_wells_are_never_counted_in_any_spelling():
    """Every well is called DMSO, as is right of the control alone: nothing is right."""
    table = pd.DataFrame({"Metadata_MOA": ["DMSO", "DMSO", "M", ""], "Predicted_MOA": ["DMSO"] * 4,
                          "Metadata_Compound": ["DMSO", "dmso ", "a", "new"]})
    found = scores({"fields": table}, "DMSO", **DRAWS)["fields"]
    assert (found.correct, found.total, found.interval.compounds) == (0, 1, 1)
    assert (count_right(table, "DMSO"), by_compound(table, "DMSO")) == ((0, 1), {"a": [0, 1]})
    assert by_mechanism(table, "DMSO")["mechanism"].tolist() == ["M"]
    assert confusion(table, "DMSO").to_dict() == {"DMSO": {"M": 1}, "M": {"M": 0}}
    assert scores({"fields": table.assign(Predicted_MOA="")}, "DMSO") == {"fields": Score(0, 0)}  # none could be predicted
