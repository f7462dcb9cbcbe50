"""The section on controls: in words, with names escaped, and a picture of every plate."""

import re

import pytest

from mscnn.evaluation import control_scores
from mscnn.evaluation.control_scores import ControlAccuracy
from mscnn.evaluation.plate_statistics import Measure, Rate
from mscnn.evaluation.scoring import BaselineResult, BaselineScores, Score
from mscnn.report import controls
from mscnn.report import html as report
from tests.evaluation.test_control_scores import held_out, row, wells

NOTHING = BaselineScores(*(Score(0, 0) for _ in range(4)), compounds_fields={})


def page(table, baselines=None, control="DMSO") -> str:
    """The section as the report shows it."""
    shown = controls.shown(control_scores.score(table, control, [held_out(table)]), table, control, baselines or {})
    template = report.environment().from_string(
        '{% import "controls.html" as of %}{{ of.section(shown, description) }}')
    return template.render(shown=shown, description={"control": control})


def screen(effect="M"):
    places = [(plate, number) for plate in ("P1", "P2") for number in range(4)]
    table = wells([row(number, "DMSO", 0.9 + number / 200, plate=plate) for plate, number in places]
                  + [row(20 + number, "M", 0.1 + number / 200, plate=plate) for plate, number in places])
    return table.replace({"Metadata_MOA": {"M": effect}, "Predicted_MOA": {"M": effect}}).rename(
        columns={"Probability_M": f"Probability_{effect}"})


def test_false_positives_and_z_prime_are_said_in_words():
    text = page(screen())
    assert "0 of 8 control wells (<bdi>DMSO</bdi>) are called a mechanism" in text
    assert "<td>M</td><td class=\"n\">8/8 (100&nbsp;%, 63 to 100)</td>" in text
    assert "an excellent assay" in text
    assert "nothing of new compounds" in text
    assert text.count("<tr><td>P") == 2  # a row a plate
    assert len(re.findall("data:image/svg", text)) == 1


@pytest.mark.parametrize(("z_prime", "words"), [
    (Measure(0.7, 0.6, 0.8), "an excellent assay"), (Measure(0.3, 0.1, 0.4), "a marginal assay"),
    (Measure(-2.0, None, -0.5), "not separable well by well: control and effect overlap"),
    (Measure(0.7, 0.2, 0.8), "an excellent assay; its interval holds other answers too"),
    (Measure(reason="few wells"), "few wells")])
def test_z_prime_in_words(z_prime, words):
    assert controls.in_words(z_prime) == words


def test_a_baseline_that_sees_no_cells_is_named_where_it_tells_control_from_effect():
    all_right = Rate(8, 8, 0.63, 1)
    always, guess = ControlAccuracy(all_right, all_right), ControlAccuracy(all_right, Rate(0, 8))
    text = page(screen(), {"well position only": BaselineResult("shortcut", NOTHING, None, always),
                           "largest class": BaselineResult("shortcut", NOTHING, None, guess)})
    assert "Told without a look at cells: well position only." in text
    assert '<tr><td>largest class</td><td class="n">50&nbsp;%</td><td class="n">8/8</td><td class="n">0/8</td>' in text


def test_a_name_is_text():
    text = page(screen("<script>alert(1)</script> & $x_1$"))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_no_control_wells_have_no_section_and_no_class_a_reason():
    assert not page(screen(), control="water").strip()
    unlabelled = screen().assign(Metadata_MOA=lambda table: table["Metadata_MOA"].replace("DMSO", "")).drop(
        columns="Probability_DMSO")
    assert "False positives cannot be counted:</strong> the control is no class of the network" in page(unlabelled)
