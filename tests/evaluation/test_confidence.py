"""Calibrated confidence, by hand and on drawn tables whose temperature is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mscnn.evaluation import confidence, run
from mscnn.evaluation.confidence import TreatmentConfidence, fit, of_treatments

STEP = 0.01  # of the grid of temperatures, relative


def table(rows: list[tuple], classes: str = "MN") -> pd.DataFrame:
    """rows: compound, mechanism, and a probability for each class."""
    probabilities = [f"Probability_{name}" for name in classes]
    frame = pd.DataFrame(rows, columns=["Metadata_Compound", "Metadata_MOA", *probabilities])
    frame["Predicted_MOA"] = frame[probabilities].idxmax(axis=1).str.removeprefix("Probability_")
    return frame.assign(Metadata_Concentration=1.0)


def drawn(compounds: int, factor: float, *, doses: int = 1, seed: int = 0) -> pd.DataFrame:
    """Mechanisms are drawn by the softmax of scores; the table holds the softmax of `factor` times the scores."""
    rng, rows = np.random.default_rng(seed), []
    for compound in range(compounds):
        scores_K = rng.normal(size=4) * 1.5
        true = rng.choice(4, p=np.exp(scores_K) / np.exp(scores_K).sum())
        shown_K = np.exp(factor * scores_K) / np.exp(factor * scores_K).sum()
        rows += [(f"c{compound}", "MNOP"[true], *shown_K)] * doses
    return table(rows, "MNOP")


@pytest.mark.parametrize("compounds", [1, 4, 20])
def test_right_answers_alone_follow_the_rule_of_succession(compounds):
    found = fit(table([(f"c{number}", "M", 0.999, 0.001) for number in range(compounds)]), is_read_out=False)
    sure = of_treatments(table([("new", "", 0.999, 0.001)]), found, is_fitted_here=False)
    assert sure == pytest.approx((compounds + 1) / (compounds + 2), rel=STEP)
    assert (found.how, found.treatments, found.compounds) == ("temperature", compounds, compounds)


def test_a_doubtful_prediction_stays_doubtful_where_all_were_right():
    """Without the two compounds that are added the least temperature would be best, and 0.6 become 0.98."""
    right = table([(f"c{number}", "M", 0.999, 0.001) for number in range(5)] + [("d", "M", 0.6, 0.4)])
    sure = of_treatments(table([("new", "", 0.6, 0.4)]), fit(right, is_read_out=False), is_fitted_here=False)
    assert 0.5 < sure[0] < 0.65


def test_no_confidence_is_higher_than_that_of_so_many_right_compounds():
    doubtful = fit(table([(f"c{number}", "M", 0.6, 0.4) for number in range(5)]), is_read_out=False)
    sure = of_treatments(table([("new", "", 1 - 1e-9, 1e-9)]), doubtful, is_fitted_here=False)
    assert sure.tolist() == [6 / 7]


def test_the_temperature_of_drawn_tables_is_found_and_the_error_falls():
    found = fit(drawn(4000, 3.0), is_read_out=False)
    assert found.temperature == pytest.approx(3.0, rel=0.1)  # 4,000 draws
    assert found.error_after < 0.03 < 0.1 < found.error_before


def test_each_compound_weighs_one_whatever_its_doses():
    rows = [("a", "M", 0.9, 0.1), ("b", "N", 0.8, 0.2), ("c", "M", 0.7, 0.3), ("d", "M", 0.95, 0.05)]
    once, often = fit(table(rows), is_read_out=False), fit(table([*rows, *[rows[1]] * 9]), is_read_out=False)
    assert (once.temperature, once.compounds) == (often.temperature, often.compounds)
    assert (once.treatments, often.treatments) == (4, 13)


def test_held_out_treatments_get_a_temperature_that_has_not_seen_their_compound():
    frame = drawn(7, 3.0, doses=2, seed=2)
    confidences = of_treatments(frame, fit(frame, is_read_out=False), is_fitted_here=True)
    for compound in frame["Metadata_Compound"].unique():
        is_own = (frame["Metadata_Compound"] == compound).to_numpy()
        without = fit(frame[~is_own], is_read_out=False)
        np.testing.assert_allclose(confidences[is_own], of_treatments(frame[is_own], without, is_fitted_here=False))


def test_the_prediction_stays_and_medians_that_do_not_add_up_are_shares():
    frame = table([("a", "M", 0.3, 0.1), ("b", "N", 0.0, 0.0)])
    assert of_treatments(frame, TreatmentConfidence("read-out"), is_fitted_here=True).tolist() == pytest.approx([0.75, 0.5])
    softened = confidence.softened(confidence.shares(frame), 2.0)
    assert softened[0] == pytest.approx(np.sqrt([3, 1]) / np.sqrt([3, 1]).sum())


def test_what_cannot_be_calibrated_is_empty_and_says_why():
    unknown = table([("a", "", 0.9, 0.1), ("b", "never learnt", 0.9, 0.1)])
    found = fit(unknown, is_read_out=False)
    assert (found.how, found.temperature) == ("none", None)
    assert found.note.startswith("no treatment is held out whose mechanism the network has learnt")
    assert np.isnan(of_treatments(unknown, found, is_fitted_here=True)).all()
    one = table([("a", "M", 0.9, 0.1)])
    assert np.isnan(of_treatments(one, fit(one, is_read_out=False), is_fitted_here=True)).all()
    assert fit(one, is_read_out=False).note.startswith("one compound is held out")
    assert TreatmentConfidence.from_json(found.to_json()) == found


@pytest.mark.parametrize(("leaks", "meaning", "expected"), [("", "", "temperature"), ("fields", "", "none"),
                                                            ("", "wells of trained compounds", "none")])
def test_wells_of_compounds_that_were_trained_on_calibrate_no_other_screen(leaks, meaning, expected, tmp_path, monkeypatch):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "scores.json").touch()
    own = SimpleNamespace(confidence=TreatmentConfidence("temperature", 2.0, 9, 3, checkpoint="0a"))
    monkeypatch.setattr(run.results, "read_scores", lambda folder: own)
    saved = SimpleNamespace(readout=None, sha256="0a", split=SimpleNamespace(leaks=leaks, meaning=meaning))
    found = run._calibrated_by(saved, tmp_path / "checkpoints" / "last.safetensors")
    assert found.how == expected
    assert (found.note == run.LEARNT) == (expected == "none")


@pytest.mark.parametrize(("temperature", "told"), [
    (0.1, "temperature 0.10, the least that is tried, fitted"),
    (100, "temperature 100.00, the highest that is tried, fitted"),
    (1.0, "temperature 1.00, fitted")])
def test_the_log_says_where_the_temperature_is_at_the_end_of_what_is_tried(temperature, told, caplog):
    caplog.set_level("INFO")
    confidence.log_confidence(confidence.TreatmentConfidence("temperature", temperature, 4, 2))
    assert told in caplog.text
