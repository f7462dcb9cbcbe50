"""Three states, by treatments in pairs by compound."""

import json
from dataclasses import replace

import pytest

from mscnn.evaluation import aggregate, scoring
from mscnn.evaluation.scoring import BaselineResult, BaselineScores, LevelScores
from mscnn.report import verdicts
from tests.report.test_html import folds, plain, predictions, written  # noqa: F401 a fixture

TWELVE = {f"c{number:02}": number % 2 for number in range(12)}
FOUR = dict(list(TWELVE.items())[:4])


def tables_and_scores(compounds, wrong):
    tables = aggregate.aggregate(predictions(compounds, wrong=set(list(compounds)[:wrong])), "DMSO")
    return tables, scoring.scores(tables, "DMSO", draws=50, permutations=50)


def compare(compounds, ours_wrong, theirs_wrong, *, counts_treatments=True, **about):
    """Compare predictions of which the first so many compounds are wrong."""
    tables, scores = tables_and_scores(compounds, ours_wrong)
    their_tables, their_scores = tables_and_scores(compounds, theirs_wrong)
    record = BaselineScores(
        **their_scores, compounds_fields=scoring.by_compound(their_tables["fields"], "DMSO"),
        compounds_treatments=scoring.by_compound(their_tables["treatments"], "DMSO") if counts_treatments else None)
    baselines = {"pixel statistics": BaselineResult("real", record, None)}
    return verdicts.compare(baselines, tables, LevelScores(**scores), "DMSO", **about)


@pytest.mark.parametrize(("compounds", "ours", "theirs", "state", "points"), [
    (TWELVE, 0, 8, "above", 8 / 12),    # P(none of the 8 is drawn) = (4/12)^12
    (TWELVE, 8, 0, "below", -8 / 12),
    (TWELVE, 0, 1, "level", 1 / 12),    # P(the one is not drawn) = (11/12)^12 = 0.35
    (TWELVE, 0, 4, "level", 4 / 12),    # P(four signs agree) = 2 / 2^4
    (TWELVE, 0, 6, "above", 6 / 12),    # P(six signs agree) = 2 / 2^6
    (TWELVE, 0, 0, "level", 0),
    (FOUR, 0, 4, "level", 1)])          # four compounds never tell
def test_the_state_follows_from_the_interval_over_compounds(compounds, ours, theirs, state, points):
    found = compare(compounds, ours, theirs)
    assert (found.state, found.level, found.compounds) == (state, "treatments", len(compounds))
    assert found.difference.difference == pytest.approx(points)
    assert (found.difference.low > 0, found.difference.high < 0) == (state == "above", state == "below")


def test_equal_scores_are_level_and_say_what_to_do():
    """The finding: a red verdict stood above 24/24 against 24/24."""
    found = compare(TWELVE, 0, 0)
    assert (found.ours.correct, found.ours.total, found.baseline.treatments.correct) == (24, 24, 24)
    assert found.reason == "12 compounds cannot tell them apart"
    assert found.advice == ("hold out more compounds (mscnn loco holds out each once), or doses and mechanisms that are "
                            "harder to tell: here both are always right; until then pixel statistics would do as well")
    assert compare(TWELVE, 1, 1, folds=True).advice == (
        "add compounds of each mechanism; until then pixel statistics would do as well")


def test_what_to_do_depends_on_what_was_done():
    assert "--head chosen" in compare(TWELVE, 8, 0).advice
    assert "--head chosen" not in compare(TWELVE, 8, 0, readout="network").advice
    assert "do not prefer these predictions to pixel statistics" in compare(TWELVE, 8, 0).advice
    assert "another screen needs its own comparison" in compare(TWELVE, 0, 8).advice


def test_a_record_without_counts_of_treatments_is_compared_by_fields():
    found = compare(TWELVE, 0, 8, counts_treatments=False)
    assert (found.level, found.state, found.ours.total) == ("fields", "above", 96)


def test_treatments_decide_which_baseline_is_the_best():
    tables, scores = tables_and_scores(TWELVE, 0)
    record = BaselineScores(**scores, compounds_fields=scoring.by_compound(tables["fields"], "DMSO"))
    fewer = replace(record, treatments=replace(record.treatments, correct=20))
    found = verdicts.compare({"a": BaselineResult("real", fewer, None), "b": BaselineResult("real", record, None),
                              "c": BaselineResult("shortcut", record, None)}, tables, LevelScores(**scores), "DMSO")
    assert found.name == "b"


@pytest.mark.parametrize("state", ["above", "level", "below"])
def test_only_below_is_marked_red_and_the_words_say_the_state(folds, tmp_path, monkeypatch, state):  # noqa: F811
    found = compare(TWELVE, *{"above": (0, 8), "level": (0, 0), "below": (8, 0)}[state])
    monkeypatch.setattr(verdicts, "compare", lambda *arguments, **about: found)
    text = written(folds, out=tmp_path / "report.html")
    assert f'class="note verdict {state}"' in text
    words = {"above": "▲ Above", "level": "= Level with", "below": "▼ Below"}[state]
    assert f"{words} the best baseline, pixel statistics: the network gets {found.ours.correct}/24" in plain(text)
    assert ("What may be concluded:" in plain(text)) == (state == "above")
    red = [line for line in text.split("\n") if "#b33" in line]
    assert all(".verdict.below" in line and ".verdict.level" not in line for line in red)


def test_counts_of_treatments_that_do_not_add_up_are_refused(folds):  # noqa: F811
    content = json.loads((folds / "scores" / "baselines.json").read_text())["baselines"]["handcrafted features"]["held out"]
    assert sum(total for _, total in content["compounds' treatments"].values()) == 12
    assert BaselineScores.from_json({key: own for key, own in content.items() if "compounds' treat" not in key})
    content["compounds' treatments"]["a"] = [1, 2]
    with pytest.raises(ValueError, match="compounds' treatments of 11/12, and treatments of 12/12"):
        BaselineScores.from_json(content)
