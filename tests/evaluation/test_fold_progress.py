"""Progress of trainings, read from run directories that are written by hand."""

import json
import math
from pathlib import Path

import pytest

from mscnn.core import run_directory
from mscnn.evaluation import fold_progress
from mscnn.evaluation.fold_progress import FoldProgress, evaluating, share_done


def run_dir(folder: Path, *, step: int | None = None, steps: int | None = 400, begun_at: int = 0) -> Path:
    """A run directory as a training leaves it while it runs."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    status = {"status": "running", "begun_at": begun_at, "fruitless_restarts": 0} | ({"steps": steps} if steps else {})
    (folder / run_directory.STATUS).write_text(json.dumps(status))
    if step is not None:
        (folder / "log" / "rank-0.json").write_text(json.dumps({"step": step}))
    return folder


def test_the_share_of_a_training_is_that_of_its_steps(tmp_path):
    assert share_done(tmp_path / "none") == (0, 0, 0)
    assert share_done(run_dir(tmp_path / "starting", steps=None, step=0)) == (0, 0, 0)
    assert share_done(run_dir(tmp_path / "runs", step=100)) == (0.25, 100, 400)
    assert share_done(run_dir(tmp_path / "resumed", begun_at=300)) == (0.75, 300, 400)
    done = run_dir(tmp_path / "done", step=399)
    (done / run_directory.SUMMARY).write_text("{}")
    assert share_done(done)[0] == 1


@pytest.mark.parametrize("content", ["", "[1]", '{"step": "x"}', '{"step": 900}', '{"step": -1}'])
def test_a_damaged_heartbeat_counts_as_no_step(tmp_path, content):
    folder = run_dir(tmp_path / "run")
    (folder / "log" / "rank-0.json").write_text(content)
    assert share_done(folder)[0] == 0


def test_the_time_left_is_by_the_speed_since_the_first_step_over_all_trainings_side_by_side(tmp_path, monkeypatch):
    """Two of four trainings run side by side, at 1 % and 3 % of their steps a second; training takes all of the time."""
    monkeypatch.setattr(fold_progress, "TRAINED", 1.0)
    shown, places = FoldProgress(4, "folds"), [tmp_path / "a", tmp_path / "b"]
    with shown.training("a", places[0], tmp_path / "a.txt"), shown.training("b", places[1], tmp_path / "b.txt"):
        done, notes = shown.done()
        assert (done, notes) == (0, ["a starting", "b starting"])
        assert math.isnan(shown.seconds_left(40.0, done))    # start-up does not count
        for now, left in ((50, math.nan), (60, (4 - 0.44) / 0.04), (70, (4 - 0.84) / 0.04)):
            for place, speed in zip(places, (4, 12), strict=True):
                run_dir(place, step=4 + speed * (now - 50))
            done, notes = shown.done()
            assert shown.seconds_left(now, done) == pytest.approx(left, rel=0.02, nan_ok=True)
        assert notes == ["a step 84/400", "b step 244/400"]
    assert (shown.finished, shown.done()) == (2, (2, []))


def test_what_an_earlier_command_has_trained_is_no_speed_of_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(fold_progress, "TRAINED", 1.0)
    shown, place = FoldProgress(1, "folds"), run_dir(tmp_path / "a", begun_at=200)
    with shown.training("a", place, tmp_path / "a.txt"):
        assert math.isnan(shown.seconds_left(0.0, shown.done()[0]))
        shown.seconds_left(10.0, shown.done()[0])
        run_dir(place, begun_at=200, step=204)
        shown.seconds_left(20.0, shown.done()[0])
        run_dir(place, begun_at=200, step=244)
        assert shown.seconds_left(30.0, shown.done()[0]) == pytest.approx(156 / 4)


def test_the_share_of_the_evaluation_is_measured_on_the_first_that_ends(tmp_path, monkeypatch):
    times = iter([0.0, 60.0, 80.0])  # begun, last step seen, evaluated
    monkeypatch.setattr(fold_progress.time, "monotonic", lambda: next(times))
    shown, place = FoldProgress(2, "folds"), tmp_path / "a"
    with shown.training("a", place, tmp_path / "a.txt"):
        (run_dir(place) / run_directory.SUMMARY).write_text("{}")
        assert shown.done() == (0.8, ["a evaluating"])
    assert shown.trained == 0.75


def test_how_far_an_evaluation_is_stands_in_its_log(tmp_path):
    log_file = tmp_path / "a.txt"
    assert evaluating(log_file) == "evaluating"
    log_file.write_text("sites: 24\npredicting  8/24 fields    eta 9s\n")
    assert evaluating(log_file) == "predicting  8/24 fields    eta 9s"
    log_file.write_text("predicting  8/24 fields    eta 9s\nfields 22/24 right\n")
    assert evaluating(log_file) == "evaluating"
