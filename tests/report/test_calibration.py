"""The reliability picture: what is drawn is what the record holds."""

import json

import numpy as np

from mscnn.evaluation.calibration import calibration
from mscnn.report.calibration import figure, reliability
from tests.report.test_html import folds, plain, written  # noqa: F401 a fixture

RNG = np.random.default_rng(0)
FIELDS = calibration(RNG.beta(4, 2, size=200), RNG.random(200) < 0.5, np.arange(200) // 10)
TREATMENTS = calibration(RNG.beta(4, 2, size=20), RNG.random(20) < 0.5, np.arange(20) // 2)


def test_each_panel_shows_the_bins_of_its_level():
    drawn = figure({"fields": FIELDS, "treatments": TREATMENTS})
    curves, counts = drawn.axes[:2], drawn.axes[2:]
    for curve, bars, found in zip(curves, counts, (FIELDS, TREATMENTS), strict=True):
        line = curve.lines[1]
        assert list(line.get_xdata()) == [each.confidence for each in found.bins]
        assert list(line.get_ydata()) == [each.right for each in found.bins]
        assert [bar.get_height() for bar in bars.patches] == [each.count for each in found.bins]
        assert [bar.get_x() for bar in bars.patches] == [each.low for each in found.bins]
    assert "200 fields of 20 compounds" in curves[0].get_title()
    assert f"{FIELDS.accuracy:.0%} right" in curves[0].get_title()


def test_one_level_has_one_panel_and_the_picture_is_the_same_each_time():
    assert len(figure({"fields": FIELDS}).axes) == 2
    assert reliability({"fields": FIELDS}) == reliability({"fields": FIELDS})
    assert reliability({"fields": FIELDS}).startswith("<?xml")


def test_the_report_shows_it_and_leaves_it_out_where_scores_hold_none(folds, tmp_path):  # noqa: F811
    text = written(folds, out=tmp_path / "report.html")
    assert 'alt="reliability of probabilities"' in text
    # Confidences of 0.6 to 0.75: mean 0.675; five of six compounds are right.
    assert "Fields: confidence less share right -15.8 points (95 % interval over compounds:" in plain(text)
    assert "Treatments: confidence less share right -15.8 points" in plain(text)
    path = folds / "scores" / "scores.json"
    scores = json.loads(path.read_text())
    del scores["calibration"]
    path.write_text(json.dumps(scores))
    assert "reliability of probabilities" not in written(folds, out=tmp_path / "older.html")


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
