"""Confidences with and without a treatment's mechanism: by hand, and of read-outs that are fitted to drawn features."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mscnn.data.tables.splits import SplitRecord
from mscnn.distributed.world import World
from mscnn.evaluation import aggregate, results
from mscnn.evaluation.left_out_mechanism import LeftOutMechanism, compare, log_left_out, mechanism_folds
from mscnn.evaluation.readout_predictions import over_compounds
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.evaluation.results import EvaluationDescription
from mscnn.readout.tables import UNKNOWN
from tests.readout.test_readout import COMPOUNDS, LABELS, MECHANISMS, NUMBERS, facts, features, noise

NAMES = ["M", "N", "O"]
PROBABILITIES = [f"Probability_{name}" for name in NAMES]


def treatments(*rows: tuple) -> pd.DataFrame:
    """rows: compound, concentration, mechanism, probabilities of M, N and O."""
    return pd.DataFrame(rows, columns=["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA", *PROBABILITIES])


KNOWN = treatments(("a", 1.0, "M", 0.6, 0.3, 0.1), ("a", 2.0, "M", 0.2, 0.5, 0.3), ("b", np.nan, "M", 0.5, 0.25, 0.25),
                   ("c", 1.0, "N", 0.1, 0.8, 0.1), ("d", 1.0, "N", 0.4, 0.5, 0.1), ("e", 1.0, "", 0.9, 0.1, 0.0))
LEFT_OUT = treatments(("a", 1.0, "M", 0, 0.55, 0.45), ("a", 2.0, "M", 0, 0.6, 0.4), ("b", np.nan, "M", 0, 0.65, 0.35),
                      ("c", 1.0, "N", 0.35, 0, 0.15), ("d", 1.0, "N", 0, 0, 0), ("e", 1.0, "", 0, 0, 0))


def test_confidences_by_hand():
    found = compare(KNOWN, LEFT_OUT)
    assert (found.treatments, found.compounds, found.mechanisms) == (4, 3, 2)  # d's and e's mechanisms were not left out
    # Without N or O: of a 1 0.6 of 0.7 or of 0.9, of a 2 0.3 of 0.5 or 0.5 of 0.7.  Without M or O: of c 0.8 of 0.9.
    known = [(0.6 / 0.7 + 0.6 / 0.9) / 2, (0.3 / 0.5 + 0.5 / 0.7) / 2, 0.5 / 0.75, 0.8 / 0.9]
    left_out = [0.55, 0.6, 0.65, 0.7]
    assert found.auc == pytest.approx(roc_auc_score([1] * 4 + [0] * 4, known + left_out,
                                                    sample_weight=[0.5, 0.5, 1, 1] * 2))
    assert (found.confidence, found.left_out_confidence) == pytest.approx((known[2], 0.65))  # half of three compounds
    assert found.interval.compounds == 3
    assert found.note == ""
    assert LeftOutMechanism.from_json(found.to_json()) == found


def test_where_nothing_else_is_likely_the_classes_that_are_left_are_equally_so():
    known = treatments(("a", 1.0, "M", 0, 1, 0), ("b", 1.0, "M", 0, 1, 0))
    found = compare(known, treatments(("a", 1.0, "M", 0, 0.9, 0.1), ("b", 1.0, "M", 0, 0.9, 0.1)))
    assert found.confidence == 1.0  # M is no class, so that one of N and O is left
    known = treatments(("a", 1.0, "M", 0, 1, 0), ("b", 1.0, "M", 0.9, 0.05, 0.05))
    found = compare(known, treatments(("a", 1.0, "M", 0, 0.8, 0.2), ("b", 1.0, "M", 0, 0.8, 0.2)))
    assert found.confidence == pytest.approx((1 / 2 + 1) / 2)  # of a, without N and without O


def predicted(network: np.ndarray, labels: np.ndarray = LABELS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of the treatments of drawn fields, with their compound left out, and with their mechanism left out."""
    known, values = facts(labels=labels), features(network, noise(seed=1))
    compounds = [SplitRecord("leave-compound-out", [f"C{number:02}"], "", "", {}, {}, [])
                 for number in range(COMPOUNDS)]
    tables = []
    for folds in (compounds, mechanism_folds(known)):
        found = over_compounds(values, known, folds, MECHANISMS, inner_folds=3, ranks=World())
        table = pd.DataFrame(found.chosen_SK, columns=PROBABILITIES).assign(
            Metadata_Plate="P", Metadata_Week="", Metadata_Well=known.wells_S, Metadata_Compound=known.compounds_S,
            Metadata_Concentration=1.0, Metadata_MOA=np.array(NAMES)[labels])
        tables.append(aggregate.aggregate(table, "DMSO")["treatments"])
    return tables[0], tables[1]


def test_fitted_without_a_mechanism_it_is_never_right_and_its_probability_is_0():
    known, left_out = predicted(6 * np.eye(MECHANISMS)[LABELS] + noise())
    assert (known["Predicted_MOA"] == known["Metadata_MOA"]).all()
    assert not (left_out["Predicted_MOA"] == left_out["Metadata_MOA"]).any()
    own = [left_out[f"Probability_{name}"].iloc[row] for row, name in enumerate(left_out["Metadata_MOA"])]
    assert own == [0] * COMPOUNDS
    assert (compare(known, left_out).treatments, compare(known, left_out).mechanisms) == (COMPOUNDS, MECHANISMS)


def test_mechanisms_that_lie_between_the_others_are_told_and_noise_is_not():
    """Without its mechanism a treatment lies as far from both others, and the read-out is unsure.

    Of noise it is as unsure with the mechanism, though three classes share the probability instead of two.
    """
    corners = np.eye(MECHANISMS)[LABELS]
    informed = compare(*predicted(6 * corners + noise()))
    assert informed.auc > 0.75
    assert informed.confidence > 0.95
    areas = [compare(*predicted(noise(seed=seed))).auc for seed in (4, 5, 6)]
    assert 0.3 < np.mean(areas) < 0.7  # 36 compounds: sd 0.08


def test_the_compounds_of_a_mechanism_are_left_out_together_and_untreated_wells_never():
    labels = np.where(np.isin(NUMBERS, [0, 3, 6]), 0, np.where(NUMBERS == 1, 1, np.where(NUMBERS < 10, 2, UNKNOWN)))
    known = facts(labels=labels, controls=3)
    folds = mechanism_folds(known)
    assert [fold.held_out for fold in folds] == [["c00", "c03", "c06"], ["c02", "c04", "c05", "c07", "c08", "c09"]]
    # Untreated wells that are a class of their own stay, and make two mechanisms of one.
    three = facts(labels=np.where(NUMBERS == 1, UNKNOWN, labels), controls=3)
    assert mechanism_folds(three) == []  # one mechanism would be left
    for wells in (known, three):  # a class with a treated compound, and without
        of_class = replace(wells, labels_S=np.where(wells.is_control_S, 1, wells.labels_S))
        assert [fold.held_out for fold in mechanism_folds(of_class)] == [fold.held_out for fold in folds]


def test_without_a_mechanism_to_leave_out_there_is_a_reason(caplog):
    found = compare(KNOWN, LEFT_OUT.assign(**dict.fromkeys(PROBABILITIES, 0.0)))
    assert (found.treatments, found.auc, found.interval, found.confidence) == (0, None, None, None)
    assert "no mechanism with two compounds can be left out" in found.note
    nothing = over_compounds(features(noise(), noise()), facts(), [], MECHANISMS, inner_folds=3, ranks=World())
    assert not nothing.chosen_SK.any()
    with caplog.at_level(logging.INFO, logger="mscnn"):
        log_left_out(found)
        log_left_out(compare(KNOWN, LEFT_OUT))
    assert found.note in caplog.messages[0]
    assert "median confidence 0.65, and 0.67 with only the compound left out; AUROC 0." in caplog.messages[1]


def test_scores_of_an_evaluation_hold_it(tmp_path):
    fields = KNOWN[:5].assign(Metadata_Plate="P", Metadata_Well=[f"B{row:02}" for row in range(5)], Metadata_Site="1",
                              Metadata_Week="", Metadata_Replicate="", Predicted_MOA="M")
    split = SplitRecord("leave-compound-out", held_out=["a"], leaks="", sha256="0", sites={}, unlearnable=[], trained={})
    description = EvaluationDescription(
        checkpoint="last.safetensors", step=1, compounds=["a"], control="DMSO", channels=["DNA"], notes=[],
        classes=NAMES, aggregate_wells="mean", aggregate_treatments="median", tta="none", head="chosen", seed=0,
        split=split, environment={})
    left_out = fields.assign(**LEFT_OUT[PROBABILITIES][:5])
    scores = results.write(fields, description, tmp_path, left_out=left_out)
    assert scores.left_out_mechanism == compare(KNOWN, LEFT_OUT)
    assert results.read_scores(tmp_path) == scores
    assert results.write(fields, description, tmp_path).left_out_mechanism is None
    content = scores.to_json()
    del content["left_out_mechanism"]
    assert EvaluationScores.from_json(content).left_out_mechanism is None
