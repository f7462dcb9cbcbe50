"""The reliability picture: what is drawn is what the record holds."""

import json

import numpy as np
import pytest

from mscnn.evaluation.calibration import calibration
from mscnn.report.calibration import figure, reliability
from tests.report.test_html import folds, plain, written  # noqa: F401 a fixture

RNG = np.random.default_rng(0)
FIELDS = calibration(RNG.beta(4, 2, size=200), RNG.random(200) < 0.5, np.arange(200) // 10)
TREATMENTS = calibration(RNG.beta(4, 2, size=20), RNG.random(20) < 0.5, np.arange(20) // 2)


@pytest.mark.parametrize(("level", "found"), [("fields", FIELDS), ("treatments", TREATMENTS)])
def test_a_picture_shows_the_bins_of_its_level(level, found):
    curve, bars = figure(level, found).axes
    line = curve.lines[1]
    assert list(line.get_xdata()) == [each.confidence for each in found.bins]
    assert list(line.get_ydata()) == [each.right for each in found.bins]
    assert [bar.get_height() for bar in bars.patches] == [each.count for each in found.bins]
    assert [bar.get_x() for bar in bars.patches] == [each.low for each in found.bins]
    assert f"{found.total} {level} of {found.compounds} compounds: {found.accuracy:.0%} right" in curve.get_title()


def test_a_level_has_a_picture_and_it_is_the_same_each_time():
    drawn = reliability({"fields": FIELDS, "treatments": TREATMENTS})
    assert list(drawn) == ["fields", "treatments"]
    assert drawn == reliability({"fields": FIELDS, "treatments": TREATMENTS})
    assert drawn["fields"].startswith("<?xml")


def test_the_report_shows_it_and_leaves_it_out_where_scores_hold_none(folds, tmp_path):  # noqa: F811
    text = written(folds, out=tmp_path / "report.html")
    assert 'alt="reliability of probabilities of fields"' in text
    # Confidences of 0.6 to 0.75: mean 0.675; five of six compounds are right.
    assert "Fields: confidence less share right -15.8 points (95 % interval over compounds:" in plain(text)
    assert "Treatments: confidence less share right -15.8 points" in plain(text)
    path = folds / "scores" / "scores.json"
    scores = json.loads(path.read_text())
    del scores["calibration"]
    path.write_text(json.dumps(scores))
    assert "reliability of probabilities of" not in written(folds, out=tmp_path / "older.html")


def test_the_report_says_how_sure_it_is_of_mechanisms_that_were_left_out(folds, tmp_path):  # noqa: F811
    path = folds / "scores" / "scores.json"
    scores = json.loads(path.read_text())
    scores["left_out_mechanism"] = {
        "treatments": 9, "compounds": 6, "mechanisms": 3, "auc": 0.75, "confidence": 0.9, "left_out_confidence": 0.6,
        "interval": {"low": 0.5, "high": 0.95, "level": 0.95, "compounds": 6}}
    path.write_text(json.dumps(scores))
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "the read-out is 60 % sure (median), and 90 % where only the compound was left out" in text
    assert "area under the ROC curve of 0.75 (95 % interval over 6 compounds: 0.50 to 0.95; 0.5 is chance)" in text
    scores["left_out_mechanism"] = {"treatments": 0, "compounds": 0, "mechanisms": 0, "note": "why"}
    path.write_text(json.dumps(scores))
    assert "Mechanisms left out" not in written(folds, out=tmp_path / "none.html")
