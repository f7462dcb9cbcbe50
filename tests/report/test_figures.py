"""Pictures of the page: small enough for a telephone, with plain numbers at their axes."""

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest

from mscnn.evaluation.calibration import calibration
from mscnn.evaluation.scoring import Score
from mscnn.profiling.resampling import Interval
from mscnn.report import calibration as of_calibration
from mscnn.report import figures
from mscnn.report.run import Fold

NAMES = ["a mechanism with a long name", "$b_{", "c"]


def fold(*losses):
    return Fold("run", pd.DataFrame({"kind": "train", "step": range(len(losses)), "epoch": np.arange(len(losses)) / 2,
                                     "loss": losses}), None, {})


def ticks(*values):
    with figures.svg(2) as (figure, _):
        axes = figure.subplots()
        axes.plot(values)
        figures.log_axis(axes.yaxis, np.array(values, float))
        figure.draw_without_rendering()
        low, high = axes.get_ylim()
        return axes.get_yscale(), [label.get_text() for label in axes.get_yticklabels()
                                   if low <= label.get_position()[1] <= high]


@pytest.mark.parametrize(("values", "labels"), [
    ((0.001, 20), {"0.001", "0.01", "0.1", "1", "10"}), ((0.06, 2), {"0.1", "0.2", "0.5", "1", "2"}),
    ((1.0, 1.4), {"1", "1.2", "1.4"})])
def test_a_logarithmic_axis_has_plain_numbers(values, labels):
    """The finding: every axis of a training read $\\mathdefault{10^{0}}$."""
    scale, found = ticks(*values)
    assert scale == "log"
    assert labels <= set(found)
    assert all(re.fullmatch(r"[\d.e-]+", label) for label in found)


def test_losses_that_reach_zero_stay_on_a_linear_axis():
    assert ticks(0.0, 1.0)[0] == "linear"
    assert figures.learning([fold(float("nan"))]) == ""


def texts(monkeypatch, draw):
    """The texts of a drawn picture: as text, and not as paths."""
    kept = matplotlib.rc_context
    monkeypatch.setattr(matplotlib, "rc_context", lambda rc: kept(rc | {"svg.fonttype": "none"}))
    return re.findall(r"<text[^>]*>([^<]*)</text>", draw())


def test_the_picture_of_a_training_counts_it_and_holds_no_mathematics(monkeypatch):
    said = texts(monkeypatch, lambda: figures.learning([fold(2.0, 0.5, 0.01)]))
    assert "(1 training)" in said
    assert not [text for text in said if "$" in text]
    assert "(2 trainings)" in texts(monkeypatch, lambda: figures.learning([fold(2.0, 0.5)] * 2))


def test_doses_have_the_unit_of_the_table(monkeypatch):
    wells = pd.DataFrame({"Metadata_MOA": "m", "Metadata_Compound": "x", "Metadata_Concentration": [1.0, 10.0],
                          "Probability_m": [0.2, 0.9]})
    said = texts(monkeypatch, lambda: figures.doses(wells, {"m": ("black", "o")}, 1, "mg/l")["m", "x"])
    assert "concentration, mg/l" in said
    assert not any("µM" in text for text in said)


def sizes():
    score = Score(8, 10, Interval(0.5, 0.9, 0.95, 5))
    found = calibration(np.full(20, 0.7), np.arange(20) < 14, np.arange(20))
    wells = pd.DataFrame({"Metadata_MOA": "m", "Metadata_Compound": "x", "Metadata_Concentration": [1.0],
                          "Probability_m": 0.5})
    yield "bars", figures.compared([(name, score, "black") for name in NAMES], "fields")
    counts = pd.DataFrame(np.eye(6, dtype=int), [*"abcdef"], [*"abcdef"])
    yield "confusion", figures.confusions({"fields": counts})["fields"]
    yield "reliability", of_calibration.reliability({"fields": found})["fields"]
    yield "doses", figures.doses(wells, {"m": ("black", "o")}, 1, "µM")["m", "x"]
    yield "learning", figures.learning([fold(2.0, 0.5)])


def test_pictures_are_made_for_a_page_of_390_pixels():
    """A point is 4/3 pixels; the page has a margin of 16 pixels on both sides."""
    for name, drawn in sizes():
        width = float(re.search(r'width="([\d.]+)pt"', drawn).group(1)) * 4 / 3
        assert 280 < width <= 358, name


def test_the_texts_of_pictures_are_at_least_seven_points():
    assert min(size for key, size in figures.STYLE.items() if "size" in key) >= 7
