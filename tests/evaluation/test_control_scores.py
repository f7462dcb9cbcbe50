"""False positives, and Z' of effects against the control: wells whose answers are known by construction."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import control_scores
from mscnn.evaluation.control_scores import LEAST, ControlScores, log_odds, score
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.evaluation.scoring import Score

TRAINED = {"compounds": ["DMSO", "x"], "mechanisms": ["DMSO", "M"], "weeks": [], "plates": ["P1"]}
WELLS = SplitRecord("wells", [], "", "0", {}, TRAINED, [], wells=["P1 A01"])


def wells(rows: list[tuple], classes=("DMSO", "M", "N")) -> pd.DataFrame:
    """A row a well: plate, well, compound, mechanism, then a probability of each class."""
    names = ["Metadata_Plate", "Metadata_Well", "Metadata_Compound", "Metadata_MOA"]
    table = pd.DataFrame(rows, columns=[*names, *(f"Probability_{name}" for name in classes)])
    predicted = table.filter(like="Probability_").idxmax(axis=1).str.removeprefix("Probability_")
    return table.assign(Predicted_MOA=predicted)


def row(number: int, mechanism: str, p_control: float, *, plate: str = "P1", effect: str = "M") -> tuple:
    compound, other = ("dmso" if mechanism == "DMSO" else f"c-{mechanism}"), 1 - p_control
    return plate, f"A{number:02}", compound, mechanism, p_control, *((other, 0.0) if effect == "M" else (0.0, other))


def held_out(table: pd.DataFrame, method: str = "wells") -> SplitRecord:
    return replace(WELLS, method=method, wells=(table["Metadata_Plate"] + " " + table["Metadata_Well"]).tolist())


def test_false_positives_and_z_prime_by_hand():
    odds = {"DMSO": (-2.0, -1.0, 0.5), "M": (2.0, 3.0, 4.0)}
    table = wells([row(10 * kind + number, name, 1 / (1 + math.exp(each)))
                   for kind, (name, values) in enumerate(odds.items()) for number, each in enumerate(values)])
    found = score(table, "DMSO", [held_out(table)])
    assert (found.unit, found.wells, found.plates, found.note) == ("wells", 3, 1, "")
    expected = stats.binomtest(1, 3).proportion_ci(0.95, method="exact")
    rate = found.false_positives
    assert (rate.count, rate.total, rate.low, rate.high) == (1, 3, expected.low, expected.high)
    effect, = found.effects
    assert (effect.name, effect.wells, effect.detected.count) == ("M", 3, 3)
    control, treated = (np.array(values) for values in odds.values())
    z = 1 - 3 * (control.std(ddof=1) + treated.std(ddof=1)) / (treated.mean() - control.mean())
    assert effect.z_prime.value == pytest.approx(z)
    assert effect.auc.value == 1
    assert found.accuracy.balanced == pytest.approx((2 / 3 + 1) / 2)
    assert ControlScores.from_json(found.to_json()) == found


def test_each_effect_is_compared_by_the_odds_of_no_control():
    table = wells([row(number, "DMSO", 0.9 - number / 100) for number in range(4)]
                  + [row(10 + number, "M", 0.1 + number / 100, effect="N") for number in range(4)]  # called N: detected
                  + [row(20 + number, "N", 0.9 - number / 100) for number in range(4)])             # as the control
    found = score(table, "DMSO", [held_out(table)])
    assert [(each.name, each.detected.count, each.auc.value) for each in found.effects] == [("M", 4, 1.0), ("N", 0, 0.5)]
    assert found.effects[1].z_prime.reason == "its wells score no higher than those of the control: not separable"


def test_saturated_probabilities_stay_finite():
    table = wells([row(number, "DMSO", 1.0) for number in range(3)] + [row(9 + number, "M", 0.0) for number in range(3)])
    found = score(table, "DMSO", [held_out(table)])
    assert log_odds(np.array([0.0, 1.0])).tolist() == pytest.approx([-math.log(1 / LEAST - 1), math.log(1 / LEAST - 1)])
    assert found.effects[0].z_prime.value == 1
    assert "without bound" in found.effects[0].ssmd.reason
    assert ControlScores.from_json(found.to_json()) == found


def test_plates_of_few_wells_have_a_reason():
    table = wells([row(number, "DMSO", 0.9 + number / 100) for number in range(3)]
                  + [row(number, "M", 0.1 + number / 100) for number in range(10, 13)]
                  + [row(1, "DMSO", 0.2, plate="P2"), row(2, "M", 0.1, plate="P2")])
    first, second = score(table, "DMSO", [held_out(table)]).by_plate
    assert (first.plate, first.control_wells, first.false_positives, first.wells, first.detected) == ("P1", 3, 0, 3, 3)
    assert first.z_prime is not None
    assert (second.z_prime, second.reason, second.false_positives) == (None, "fewer than 3 wells of a side", 1)


def test_the_threshold_of_a_plate_is_fitted_on_the_others():
    # P1: 20 control wells with p(no control) 0.01 to 0.20, P2: the same plus 0.3.  Effects: 0.25 on both.
    rows = [row(number, "DMSO", 1 - (number + 1) / 100 - shift, plate=plate)
            for plate, shift in (("P1", 0.0), ("P2", 0.3)) for number in range(20)]
    rows += [row(40 + number, "M", 0.75, plate=plate) for plate in ("P1", "P2") for number in range(2)]
    table = wells(rows)
    found = score(table, "DMSO", [held_out(table)]).threshold
    assert found.probability == pytest.approx(0.48)        # 2 of 40 lie above: 0.49 and 0.50
    # P1 has the limit of P2, 0.49: none is called.  P2 has that of P1, 0.19: all 20 are.
    assert (found.false_positives.count, found.false_positives.total) == (20, 40)
    assert (found.detected["M"].count, found.is_in_sample) == (2, False)
    alone = table[table["Metadata_Plate"] == "P1"]
    found = score(alone, "DMSO", [held_out(alone)]).threshold
    assert (found.false_positives.count, found.is_in_sample) == (1, True)
    assert found.probability == pytest.approx(0.19)


def test_without_an_effect_nothing_is_detected_beyond_the_false_positives():
    rng = np.random.default_rng(0)
    chance = rng.uniform(0, 1, 400)
    table = wells([row(number, "DMSO" if number < 200 else "M", p) for number, p in enumerate(chance)])
    found = score(table, "DMSO", [held_out(table)])
    effect, = found.effects
    assert abs(effect.auc.value - 0.5) < 0.1  # sd 0.029
    assert effect.auc.low < 0.5 < effect.auc.high
    assert abs(effect.detected.share - found.false_positives.share) < 0.2  # sd 0.05
    assert abs(found.accuracy.balanced - 0.5) < 0.1


def test_what_is_held_out_is_said():
    table = wells([row(1, "DMSO", 0.9), row(2, "M", 0.1)])
    record = held_out(table)
    assert score(table, "DMSO", [replace(record, method="leave-plate-out")]).unit == "plates"
    assert score(table, "DMSO", [replace(record, method="k-fold")]).unit == "compounds and control wells"
    leaky = score(table, "DMSO", [replace(record, leaks="fields")])
    assert (leaky.unit, "flatter" in leaky.note) == ("fields", True)
    same_plate = score(table, "DMSO", [replace(record, wells=["P1 H12"])])
    assert same_plate.unit == "another table"
    assert "plates of the same names" in same_plate.note
    new = score(table.assign(Metadata_Plate="new"), "DMSO", [replace(record, wells=[])])
    assert (new.unit, new.note) == ("another table", "")
    earlier = {name: value for name, value in TRAINED.items() if name != "plates"}  # does not say which plates
    assert score(table, "DMSO", [replace(record, wells=[], trained=earlier)]).note == same_plate.note


def test_no_controls_and_no_class_of_the_control_are_told_apart():
    table = wells([row(1, "DMSO", 0.9), row(2, "M", 0.1)])
    assert score(table, "water", [held_out(table)]) is None
    unlabelled = table.assign(Metadata_MOA=table["Metadata_MOA"].replace("DMSO", "")).drop(columns="Probability_DMSO")
    found = score(unlabelled, "DMSO", [held_out(table)])
    assert found.false_positives is None
    assert "no class of the network" in found.note
    assert (found.effects, found.accuracy) == ([], None)


def test_scores_json_of_the_last_version_is_read(caplog):
    table = wells([row(1, "DMSO", 0.9), row(2, "M", 0.1)])
    levels = dict.fromkeys(("fields", "wells", "treatments", "compounds"), Score(0, 0))
    written = EvaluationScores(**levels, controls=score(table, "DMSO", [held_out(table)])).to_json()
    assert EvaluationScores.from_json(written).controls.wells == 1
    del written["controls"]
    assert EvaluationScores.from_json(written).controls is None
    with caplog.at_level("INFO"):
        control_scores.log_controls(score(table, "DMSO", [held_out(table)]))
    assert "0/1 control wells called a mechanism, 0.0%" in caplog.text
    assert "M 1/1 wells called, Z' not to be had (fewer than 3 wells of a side), AUC 1.00" in caplog.text


def test_control_wells_of_a_table_without_mechanisms_are_the_class_of_their_compounds_name():
    table = wells([row(number, "DMSO", 0.9 - number / 2) for number in range(2)] + [row(10, "M", 0.1)])
    unlabelled = table.assign(Metadata_MOA="")
    found = score(unlabelled, "DMSO", [replace(WELLS, wells=[])])
    assert (found.false_positives.count, found.false_positives.total, found.effects) == (1, 2, [])
    renamed = unlabelled.assign(Metadata_Compound=unlabelled["Metadata_Compound"].replace("dmso", "water"))
    found = score(renamed, "water", [WELLS])
    assert found.false_positives is None
    assert "fill in Metadata_MOA of the control wells" in found.note
