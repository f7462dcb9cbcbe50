"""Calibration by hand, of outcomes drawn from the probabilities, and against scikit-learn's reliability curve."""

import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve

from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import aggregate, results
from mscnn.evaluation.calibration import (
    LevelCalibration,
    ReliabilityBin,
    calibration,
    calibrations,
    log_calibration,
)
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.evaluation.results import EvaluationDescription
from mscnn.profiling.resampling import Difference


def drawn(seed: int, compounds: int = 40, fields: int = 25, *, together: bool = False) -> tuple:
    """Confidences, outcomes drawn from them, each alone or those of a compound together, and compounds."""
    rng = np.random.default_rng(seed)
    confidence, names = rng.beta(4, 1.5, size=compounds * fields), np.repeat(np.arange(compounds), fields)
    return confidence, (rng.random(compounds)[names] if together else rng.random(len(names))) < confidence, names


def test_calibration_by_hand():
    """Six predictions in two bins: 0.6 to 0.7 with one of two right, 0.8 to 0.9 with one of four."""
    confidence, right = [0.65, 0.69, 0.81, 0.85, 0.87, 0.9], [True, False, True, False, False, False]
    found = calibration(np.array(confidence), np.array(right), np.array(list("aabbcc")))
    assert found.bins == [ReliabilityBin(0.6, 0.7, 2, 1, pytest.approx(0.67), 0.5),
                          ReliabilityBin(0.8, 0.9, 4, 2, pytest.approx(0.8575), 0.25)]
    assert found.error == pytest.approx((2 * (0.67 - 0.5) + 4 * (0.8575 - 0.25)) / 6)
    assert (found.total, found.compounds) == (6, 3)
    assert (found.confidence, found.accuracy) == pytest.approx((4.77 / 6, 2 / 6))
    assert found.overconfidence == Difference(pytest.approx(2.77 / 6), -1.0, 1.0)  # three compounds tell nothing of it
    assert LevelCalibration.from_json(LevelCalibration(found, None).to_json()).fields == found


def test_the_curve_is_scikit_learns():
    confidence, right, compounds = drawn(0)
    edges = np.array([0.1, 0.3, 0.7])  # on the edge of a bin: the lower one
    confidence, right = np.concatenate([confidence, edges, [0, 1]]), np.concatenate([right, [True] * 5])
    found = calibration(confidence, right, np.concatenate([compounds, np.arange(5)]))
    share, mean = calibration_curve(right, confidence, n_bins=10)
    np.testing.assert_allclose([each.right for each in found.bins], share)
    np.testing.assert_allclose([each.confidence for each in found.bins], mean)
    assert sum(each.count for each in found.bins) == found.total == 1005
    assert all(each.low <= each.confidence <= each.high for each in found.bins)


@pytest.mark.parametrize("together", [False, True])
def test_outcomes_drawn_from_the_confidences_are_as_calibrated_as_chance_lets_them_be(together):
    found = [calibration(*drawn(seed, together=together), draws=200, seed=seed) for seed in range(40)]
    rare = np.mean([each.by_chance.p <= 0.1 for each in found])
    assert rare < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 40)
    if together:  # the null distribution itself: p is uniform
        assert 0.3 < np.mean([each.by_chance.p for each in found]) < 0.7
        assert np.mean([each.error for each in found]) == pytest.approx(found[0].by_chance.mean, rel=0.25)
        assert found[0].by_chance.mean < found[0].by_chance.high
    covers = [each.overconfidence.low <= 0 <= each.overconfidence.high for each in found]
    assert np.mean(covers) > 0.8


def test_the_error_by_chance_is_that_of_drawn_outcomes():
    confidence, right, compounds = drawn(3, compounds=6, fields=9)
    rng, errors = np.random.default_rng(1), []
    for _ in range(1500):
        outcome = rng.random(6)[compounds] < confidence
        inside = [(confidence > low / 10) & (confidence <= (low + 1) / 10) for low in range(10)]
        errors.append(sum(abs(outcome[rows].sum() - confidence[rows].sum()) for rows in inside) / len(confidence))
    found = calibration(confidence, right, compounds, draws=4000).by_chance
    assert found.mean == pytest.approx(np.mean(errors), rel=0.05)   # 4 sd
    assert found.high == pytest.approx(np.quantile(errors, 0.95), rel=0.08)
    own = calibration(confidence, right, compounds, draws=4000).error
    assert found.p == pytest.approx(np.mean(np.array(errors) >= own), abs=0.06)


def test_too_sure_and_too_unsure_classifiers_are_found():
    confidence, _, compounds = drawn(0)
    rng = np.random.default_rng(1)
    sure = calibration(confidence, rng.random(1000) < confidence ** 3, compounds)
    assert sure.by_chance.p < 0.01
    assert sure.overconfidence.low > 0.1
    assert sure.error > sure.by_chance.high
    unsure = calibration(confidence, np.ones(1000, bool), compounds)
    assert unsure.overconfidence.high < 0
    assert unsure.by_chance.p < 0.01


def test_few_compounds_are_not_called_badly_calibrated_for_many_fields():
    """Four compounds, one wrong altogether: a thousand fields, and four outcomes."""
    compounds = np.repeat(np.arange(4), 250)
    found = calibration(np.full(1000, 0.9), compounds > 0, compounds)
    assert found.error == pytest.approx(0.15)
    assert found.by_chance.p > 0.3


def test_predictions_of_a_compound_are_drawn_together_in_all_bins():
    """Confidences 0.45 and 0.55: one number decides on both, so that the first is never right alone."""
    found = calibration(np.array([0.45, 0.55]), np.array([True, False]), np.array(["a", "a"]))
    assert found.error == pytest.approx(0.55)
    assert found.by_chance.p == pytest.approx(1 / 1001)
    assert found.by_chance.high == pytest.approx(0.5)


def test_the_order_of_predictions_does_not_matter():
    """Ten confidences of one bin and one compound, from high to low: the expected error is an integral over one number."""
    confidence = np.linspace(0.5, 0.41, 10)
    uniform = (np.arange(100_000) + 0.5) / 100_000
    expected = np.abs((uniform[:, None] < confidence).sum(axis=1) - confidence.sum()).mean() / 10
    found = calibration(confidence, np.ones(10, bool), np.zeros(10), draws=40_000).by_chance
    assert found.mean == pytest.approx(expected, abs=0.002)  # 4 sd


def test_certain_predictions_that_are_right_have_no_error():
    found = calibration(np.ones(12), np.ones(12, bool), np.arange(12))
    assert (found.error, found.by_chance.mean, found.by_chance.p) == (0, 0, 1.0)
    assert found.bins == [ReliabilityBin(0.9, 1.0, 12, 12, 1.0, 1.0)]


def predictions() -> pd.DataFrame:
    """Two wells with two fields each of a and b; c's mechanism is no class, d's is not known."""
    rows = [("P1", f"B{well:02d}", str(site), compound, mechanism, 0.5 + well / 10 + site / 100)
            for compound, mechanism in (("a", "bright"), ("b", "dark"), ("c", "other"), ("d", ""))
            for well in (1, 2) for site in (1, 2)]
    names = [f"Metadata_{name}" for name in ("Plate", "Well", "Site", "Compound", "MOA")]
    table = pd.DataFrame(rows, columns=[*names, "p"])
    bright = table.pop("p")
    return table.assign(Metadata_Week="W1", Metadata_Replicate="1", Metadata_Concentration=1.0, Predicted_MOA="bright",
                        Probability_bright=bright, Probability_dark=1 - bright)


def test_a_mechanism_that_is_no_class_is_wrong_and_one_that_is_not_known_does_not_count():
    tables = aggregate.aggregate(predictions(), "DMSO")
    found = calibrations(tables, "DMSO")
    assert found is not None
    assert (found.fields.total, found.fields.compounds, found.fields.accuracy) == (12, 3, pytest.approx(4 / 12))
    assert found.fields.confidence == pytest.approx(0.665)  # 0.61, 0.62, 0.71, 0.72
    assert (found.treatments.total, found.treatments.accuracy) == (3, pytest.approx(1 / 3))
    assert [each.count for each in found.treatments.bins] == [3]
    assert list(found.by_level()) == ["fields", "treatments"]


def test_the_confidence_of_a_treatment_is_its_probability_as_it_is():
    """Medians of three wells: 0.4, 0.3 and 0.3, which do not add up to 1."""
    table = pd.DataFrame({"Metadata_MOA": ["x"], "Metadata_Compound": ["a"], "Predicted_MOA": ["x"],
                          "Probability_x": [0.4], "Probability_y": [0.2], "Probability_z": [0.1]})
    assert calibrations({"fields": table, "treatments": table}, "DMSO").treatments.confidence == pytest.approx(0.4)


def test_without_a_known_mechanism_there_is_no_calibration():
    table = predictions().assign(Metadata_MOA="")
    assert calibrations(aggregate.aggregate(table, "DMSO"), "DMSO") is None
    only_fields = calibrations({"fields": predictions(), "treatments": table}, "DMSO")
    assert list(only_fields.by_level()) == ["fields"]


def test_one_line_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="mscnn"):
        log_calibration(calibrations(aggregate.aggregate(predictions(), "DMSO"), "DMSO"))
    assert len(caplog.records) == 1
    assert "fields: mean confidence 0.67, 0.33 right, expected calibration error 0." in caplog.text
    assert "treatments: mean confidence" in caplog.text


def test_scores_of_an_evaluation_hold_it_and_files_without_it_are_read(tmp_path):
    split = SplitRecord("leave-compound-out", held_out=["a"], leaks="", sha256="0", sites={}, unlearnable=[], trained={})
    description = EvaluationDescription(
        checkpoint="last.safetensors", step=1, compounds=["a"], control="DMSO", channels=["DNA"], notes=[],
        classes=["bright", "dark"], aggregate_wells="mean", aggregate_treatments="median", tta="none",
        head="softmax", seed=0, split=split, environment={})
    scores = results.write(predictions(), description, tmp_path)
    assert scores.calibration == calibrations(aggregate.aggregate(predictions(), "DMSO"), "DMSO")
    assert results.read_scores(tmp_path) == scores
    content = scores.to_json()
    del content["calibration"]
    assert EvaluationScores.from_json(content).calibration is None
    results.write(predictions().assign(Metadata_MOA=""), description, tmp_path)
    assert results.read_scores(tmp_path).calibration is None
