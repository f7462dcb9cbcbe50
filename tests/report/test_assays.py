"""The section on assays, by its records; tests/test_assays.py writes a whole report."""

from mscnn.evaluation.assay_scores import ONE_CLASS, AssayScore, AssayScores, Estimate
from mscnn.report import assays


def scores(number):
    scored = {f"assay {place}": AssayScore(3, 5, Estimate(place / number, 0.0, 1.0), Estimate(0.5, 0.1, 0.9), 9)
              for place in range(number)}
    return AssayScores(8, Estimate(0.5, 0.4, 0.6), Estimate(0.5, 0.4, 0.6), 0.375,
                       {"$one$ <b>": AssayScore(8, 0, reason=ONE_CLASS), **scored})


def test_the_best_assay_comes_first_and_the_others_last():
    shown = assays.shown(scores(3))
    assert list(shown.rows) == ["assay 2", "assay 1", "assay 0", "$one$ <b>"]
    assert shown.drawn == 3
    assert shown.picture.startswith("<?xml")


def test_a_picture_holds_so_many_assays_at_most():
    assert assays.shown(scores(assays.DRAWN + 1)).drawn == assays.DRAWN


def test_without_a_scored_assay_there_is_no_picture():
    assert assays.shown(scores(0)).picture == ""
    assert assays.shown(None) is None
