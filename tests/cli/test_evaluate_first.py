"""Runs that were trained and never evaluated, before their report."""

from pathlib import Path

import pytest

from mscnn.cli import evaluate, report
from mscnn.cli.evaluate_first import evaluate_first
from mscnn.core.errors import DataError, UsageError


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return tmp_path / "run"


def pretend(monkeypatch, *, scores: bool = True, problem: Exception | None = None) -> list:
    """Replace the evaluation by one that writes scores, or not, and ends with an error, or not; return its calls."""
    calls = []

    def main(argv, *, is_last):
        assert not is_last  # the report follows
        calls.append(argv)
        if scores:
            folder = Path(argv[1]) / "evaluation"
            folder.mkdir(exist_ok=True)
            (folder / "scores.json").write_text("{}")
        if problem:
            raise problem

    monkeypatch.setattr(evaluate, "main", main)
    return calls


def test_a_run_is_evaluated_once_as_the_command_does_it(run, monkeypatch):
    calls = pretend(monkeypatch)
    evaluate_first(run)
    evaluate_first(run)
    assert calls == [["--checkpoint", str(run)]]


def test_a_folder_without_checkpoints_is_left_to_the_report(tmp_path, monkeypatch):
    calls = pretend(monkeypatch)
    evaluate_first(tmp_path)
    evaluate_first(tmp_path / "none")
    assert not calls


def test_pictures_that_fail_end_nothing_and_an_evaluation_that_fails_does(run, monkeypatch):
    pretend(monkeypatch, problem=DataError("not written: examples"))
    evaluate_first(run)
    (run / "evaluation" / "scores.json").unlink()
    for problem in (DataError("no table"), UsageError("nothing held out")):
        pretend(monkeypatch, scores=False, problem=problem)
        with pytest.raises(type(problem)):
            evaluate_first(run)


@pytest.mark.parametrize(("words", "evaluated"), [([], True), (["--evaluate", "false"], False)])
def test_the_report_evaluates_first_unless_told_otherwise(run, monkeypatch, words, evaluated):
    calls = pretend(monkeypatch)
    monkeypatch.setattr(report, "write_report", lambda runs, out: None)
    report.main([str(run), *words])
    assert bool(calls) == evaluated
