"""Folds one after the other: with programs that only pretend to train, and once in earnest."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mscnn.cli import loco
from mscnn.core.errors import UsageError
from mscnn.evaluation import cross_validation, results
from mscnn.evaluation.scoring import LEVELS
from tests.conftest import ROOT, processes_with, run_python

FOLDS = [["a"], ["b"], ["c"]]
PROGRAM = """
import runpy, sys
from pathlib import Path
runpy.run_path(str(Path(__file__).with_name(sys.argv.pop(1) + ".py")))
"""
TRAIN = """
    import json, os, signal, sys, time
    from pathlib import Path
    options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
    if os.environ.get("SAVES"):  # for as long as it sleeps
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    run_dir = Path(options["--run-dir"])
    run_dir.mkdir(parents=True, exist_ok=True)  # --resume auto
    with open(os.environ["HISTORY"], "a") as file:
        print(json.dumps([options, sorted(os.sched_getaffinity(0))]), file=file)
    time.sleep(float(os.environ.get("SLEEP", 0)))
    if options["--fold"] == os.environ.get("FAIL"):
        sys.exit("mscnn train: error: no luck")
    (run_dir / "options.json").write_text(json.dumps(options))
    (run_dir / "summary.json").write_text("{}")
"""
EVALUATE = """
    import json, shutil, sys
    from pathlib import Path
    options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    trained = json.loads((Path(options["--checkpoint"]) / "options.json").read_text())
    out = Path(options["--out"])
    right = trained.get("--epochs", "5") == "5"      # what is trained otherwise is wrong
    out.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name(f"{trained['--fold']}-{right}.parquet"), out / "predictions.parquet")
    (out / "evaluation.json").write_text(json.dumps({
        "checkpoint": "x", "step": 1, "compounds": [], "classes": ["M", "N"], "channels": [], "seed": 0, "environment": {},
        "control": "DMSO", "aggregate_wells": "mean", "aggregate_treatments": "median", "tta": "none",
        "head": "softmax", "notes": [],
        "split": {"method": "x", "held_out": [], "leaks": "", "sha256": "", "sites": {}, "trained": {"compounds": []},
                  "unlearnable": []}}))
    (out / "scores.json").write_text(json.dumps({level: {"correct": int(right), "total": 1}
                                                 for level in ("fields", "wells", "treatments", "compounds")}))
"""


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """A plan whose trainings and evaluations take no time; their calls are in history()."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "train.py").write_text(textwrap.dedent(TRAIN))
    (tmp_path / "evaluate.py").write_text(textwrap.dedent(EVALUATE))
    for fold, compound in enumerate("abc"):
        for right in (True, False):
            predicted(fold, compound, right).to_parquet(tmp_path / f"{fold}-{right}.parquet")
    monkeypatch.setattr(cross_validation, "PROGRAM", (sys.executable, str(tmp_path / "program.py")))
    monkeypatch.setenv("HISTORY", str(tmp_path / "history"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    plan = cross_validation.FoldPlan(tmp_path / "out", "demo", "leave-compound-out", FOLDS, jobs=1)
    cross_validation.open_or_resume(plan, {"preset": "demo"})
    return plan


def predicted(fold: int, compound: str, right: bool) -> pd.DataFrame:
    """What evaluation writes of one field."""
    return pd.DataFrame({"Metadata_Plate": "P", "Metadata_Well": "B02", "Metadata_Site": str(fold), "Metadata_Week": "W",
                         "Metadata_Replicate": "1", "Metadata_Compound": compound, "Metadata_Concentration": 1.0,
                         "Metadata_MOA": "M", "Predicted_MOA": "M" if right else "N", "Probability_M": float(right),
                         "Probability_N": float(not right)}, index=[0])


def history() -> list:
    path = Path(os.environ["HISTORY"])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def folds_of(calls: list) -> list[str]:
    return sorted(options["--fold"] for options, _ in calls)


def test_every_fold_is_trained_scored_and_gathered_once(pretended):
    scores = cross_validation.run_folds(pretended)
    assert folds_of(history()) == ["0", "1", "2"]
    options = history()[0][0]
    assert (options["--split-method"], options["--config"]) == ("leave-compound-out", str(pretended.out / "config.yaml"))
    fields = pd.read_parquet(scores / results.FIELDS)
    assert sorted(fields["Metadata_Compound"]) == ["a", "b", "c"]
    cross_validation.run_folds(pretended)
    assert len(history()) == 3  # nothing again


def test_a_fold_that_fails_is_named_the_others_go_on_and_it_alone_is_run_again(pretended, monkeypatch):
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UsageError, match=r"(?s)1 of 3 folds failed.*fold 1 \(b\): exit code 1: mscnn train: error: no l"):
        cross_validation.run_folds(pretended)
    assert not (pretended.out / "scores").exists()
    assert folds_of(history()) == ["0", "1", "2"]
    monkeypatch.delenv("FAIL")
    cross_validation.run_folds(pretended)  # over what the failed one left behind
    assert folds_of(history()) == ["0", "1", "1", "2"]


def test_a_fold_that_is_trained_and_not_scored_is_not_trained_again(pretended):
    cross_validation.run_folds(pretended)
    (pretended.out / "evaluation" / "2" / results.SCORES).unlink()
    (pretended.out / "evaluation" / "2").rename(pretended.out / "cut-off")
    cross_validation.run_folds(pretended)
    assert len(history()) == 3


def test_folds_side_by_side_have_cores_of_their_own(pretended, monkeypatch):
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("one core only")
    monkeypatch.setenv("SLEEP", "1")
    cross_validation.run_folds(cross_validation.FoldPlan(pretended.out, "demo", "k-fold", FOLDS[:2], jobs=2))
    (_, first), (_, second) = history()
    assert not set(first) & set(second)
    assert sorted(os.sched_getaffinity(0)) == allowed


def test_settings_are_chosen_by_inner_folds_for_each_fold(pretended, monkeypatch):
    """Candidates that train otherwise than 5 epochs are always wrong; ties go to the first."""
    candidates = {"long": {"epochs": 9}, "right": {"epochs": 5, "label_smoothing": 0.2}, "same": {"epochs": 5}}
    plan = cross_validation.FoldPlan(pretended.out, "demo", "leave-compound-out", FOLDS[:2], 1, candidates, inner_folds=2)
    prepared = []
    cross_validation.run_folds(plan, lambda number, folder: prepared.append((number, folder)))
    assert prepared == [(number, plan.out / "inner" / f"fold-{number}") for number in (0, 1)]
    inner = [options for options, _ in history() if "--split-within" in options]
    outer = [options for options, _ in history() if "--split-within" not in options]
    assert len(inner) == 2 * 3 * 2
    assert {options["--split-within"] for options in inner} == {
        str(plan.out / "inner" / f"fold-{number}" / "split.csv") for number in (0, 1)}
    assert {(options["--split-method"], options["--folds"]) for options in inner} == {("k-fold", "2")}
    assert [(options["--fold"], options["--epochs"], options["--label-smoothing"]) for options in outer] == [
        ("0", "5", "0.2"), ("1", "5", "0.2")]
    chosen = json.loads((plan.out / "inner" / "fold-0" / "chosen.json").read_text())
    assert chosen["chosen"] == "right"
    assert chosen["right of total"]["long"]["fields"] == [0, 2]


def test_only_the_same_settings_and_folds_go_on(pretended):
    cross_validation.open_or_resume(pretended, {"preset": "demo"})
    cross_validation.open_or_resume(dataclasses.replace(pretended, jobs=7), {"preset": "demo"})
    with pytest.raises(UsageError, match=r"begun with other settings .preset 'demo', now 'supervised'"):
        cross_validation.open_or_resume(pretended, {"preset": "supervised"})
    for change, words in (({"candidates": {"x": {"epochs": 1}}}, "candidates"),
                          ({"inner_folds": 2}, "inner_folds 3, now 2"), ({"folds": FOLDS[1:]}, "folds .*'a'.*, now .*'b'")):
        with pytest.raises(UsageError, match=rf"begun with other settings .{words}"):
            cross_validation.open_or_resume(dataclasses.replace(pretended, **change), {"preset": "demo"})
    with pytest.raises(UsageError, match="exists and holds no config"):
        cross_validation.open_or_resume(dataclasses.replace(pretended, out=pretended.out.parent), {"preset": "demo"})


def start(pretended, **variables: str) -> subprocess.Popen:
    code = ("from mscnn.core import errors; from mscnn.evaluation import cross_validation; from pathlib import Path; "
            f"cross_validation.PROGRAM = {cross_validation.PROGRAM}; "
            f"plan = cross_validation.FoldPlan(Path({str(pretended.out)!r}), 'demo', 'k-fold', {FOLDS}, 1); "
            "errors.run(lambda: cross_validation.run_folds(plan))")
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **variables}, cwd=ROOT, stderr=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)


def wait_for(number: int) -> None:
    until = time.monotonic() + 60
    while len(history()) < number:
        assert time.monotonic() < until, "no training was started"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_one_command_at_a_time_works_on_a_folder_and_ended_it_leaves_nothing(pretended, number):
    first = start(pretended, SLEEP="100")
    wait_for(1)
    second = start(pretended)
    assert second.wait(60) == 2
    assert "another process works on its folds" in second.stderr.read()
    first.send_signal(number)
    assert first.wait(60) == 75
    output, errors = first.communicate()
    assert "FAILED" not in output
    assert re.search(r"stopped: (interrupted|ended by SIG\w+); finished folds and checkpoints are kept", errors)
    until = time.monotonic() + 30
    while processes_with(str(pretended.out)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not processes_with(str(pretended.out))
    assert len(history()) == 1  # no other fold was begun
    cross_validation.run_folds(pretended)


def test_a_second_interrupt_ends_trainings_that_still_save(pretended):
    command = start(pretended, SLEEP="100", SAVES="1")
    wait_for(1)
    command.send_signal(signal.SIGINT)
    time.sleep(1)
    assert command.poll() is None  # it waits for the training
    command.send_signal(signal.SIGINT)
    assert command.wait(60) == 130
    assert command.stderr.read().endswith("interrupted\n")
    assert not processes_with(str(pretended.out))


def test_a_killed_commands_child_keeps_the_folder_until_it_has_ended(pretended):
    first = start(pretended, SLEEP="3")
    wait_for(1)
    first.kill()
    first.wait(60)
    with pytest.raises(UsageError, match="another process works on its folds"):
        cross_validation.run_folds(pretended)
    until = time.monotonic() + 30
    while processes_with(str(pretended.out)) and time.monotonic() < until:
        time.sleep(0.1)
    cross_validation.run_folds(pretended)


# ---- what the command line refuses

@pytest.mark.parametrize(("arguments", "words"), [
    (["--fold", "1"], "--fold is set for each fold"), (["--hold-out", "a"], "--hold-out is set for each fold"),
    (["--split-method", "random"],
     "split-method must be one of leave-compound-out, leave-week-out, k-fold here, got random"),
    (["--jobs", "-1"], "jobs must be 0 or more")])
def test_settings_that_do_not_fit_folds_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        loco.read(["demo", "--out", "x", *arguments])


def test_a_presets_own_hold_out_gives_way():
    settings, of_runs = loco.read(["demo", "--out", "x", "--epochs", "3"])
    assert (of_runs.split.split_method, of_runs.split.hold_out, of_runs.optim.epochs) == ("leave-compound-out", "none", 3)
    assert (settings.out, settings.jobs) == ("x", 0)


@pytest.mark.parametrize(("content", "words"), [
    ("a: {epochs: 1}", "give two or more"), ("[1, 2]", "give two or more"),
    ("a: {epochs: 1}\nb: {epoch: 2}", "b: epoch cannot be chosen"),
    ("a: {microbatch: 0}\nb: {}", "a: microbatch must be at least 1"), ("a: {}\n../b: {}", "names are letters"),
    ("a: {}\nb: {split: k-fold, well-by: median}", "b: aggregate_wells, split_method cannot be chosen"),
    ("a: {", "cannot be read")])
def test_candidates_that_do_not_fit_are_refused(tmp_path, content, words):
    (tmp_path / "candidates.yaml").write_text(content)
    with pytest.raises(UsageError, match=words):
        loco.read_candidates(str(tmp_path / "candidates.yaml"), ["demo", "--out", "x"])


# ---- in earnest

def test_folds_of_a_screen_with_baselines_and_report(tiny_screen, tmp_path):
    out = tmp_path / "loco"
    command = ("-m", "mscnn", "loco", "supervised", "--out", out, "--sites", tiny_screen, "--epochs", "1",
               "--minibatch", "9",
               "--split-method", "k-fold", "--folds", "2")
    done = run_python(*command)
    assert done.returncode == 0, done.stderr
    scores = json.loads((out / "scores" / "scores.json").read_text())
    assert {level: own["total"] for level, own in scores.items() if level in LEVELS} == {
        "fields": 9, "wells": 9, "treatments": 3, "compounds": 3}
    folds = [fold["split"] for fold in json.loads((out / "scores" / "evaluation.json").read_text())["folds"]]
    assert sorted(name for fold in folds for name in fold["held_out"]) == ["a", "b", "c"]
    for number, fold in enumerate(folds):
        assert fold["trained"]["compounds"] == sorted({"DMSO", "a", "b", "c"} - {*fold["held_out"]})
        assert yaml.safe_load((out / f"fold-{number}" / "config.yaml").read_text())["fold"] == number
        assert f"fold {number} ({'; '.join(fold['held_out'])}): fields " in done.stdout
    baselines = json.loads((out / "scores" / "baselines.json").read_text())["baselines"]
    assert [baselines[name]["held out"]["fields"]["total"] for name in baselines] == [9] * 12
    assert (out / "report.html").stat().st_size > 50_000
    before = (out / "evaluation" / "1" / "predictions.csv").read_bytes()
    for name in ("fold-1", "evaluation/1"):
        (out / name).rename(out / name.replace("1", "gone"))
    again = run_python(*command, "--baselines", "false")
    assert again.returncode == 0, again.stderr
    assert "2 folds, 1 of them to do" in again.stdout
    assert (out / "evaluation" / "1" / "predictions.csv").read_bytes() == before


ONE_NETWORK = """
    import json, os, sys
    from pathlib import Path
    with open(os.environ["HISTORY"], "a") as file:
        print(json.dumps([sys.argv[1:], int(os.environ.get("WORLD_SIZE", 1))]), file=file)
    options = dict(zip(sys.argv[-2::-2], sys.argv[:0:-2]))
    if int(os.environ.get("RANK", 0)) > 0:
        pass
    elif "--run-dir" in options:
        Path(options["--run-dir"]).mkdir(parents=True, exist_ok=True)
        if "FAIL" in os.environ:
            sys.exit("mscnn train: error: no luck")
        (Path(options["--run-dir"]) / "summary.json").write_text("{}")
    else:
        Path(options["--out"]).mkdir(parents=True)
        (Path(options["--out"]) / "scores.json").write_text(json.dumps(
            {level: {"correct": 1, "total": 2} for level in ("fields", "wells", "treatments", "compounds")}))
"""


def test_one_network_is_trained_on_all_compounds_and_evaluated_once(pretended, monkeypatch):
    for name in ("train", "evaluate"):
        (pretended.out.parent / f"{name}.py").write_text(textwrap.dedent(ONE_NETWORK))
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UsageError, match=r"the network of all folds failed; .*exit code 1: mscnn train: error: no luck"):
        cross_validation.run_one_network(pretended)
    monkeypatch.delenv("FAIL")
    scores = cross_validation.run_one_network(pretended)
    assert scores == pretended.out / "scores"
    failed, trained, evaluated = history()
    assert failed == trained == [["demo", "--config", str(pretended.out / "config.yaml"), "--split-method", "hold-out",
                                  "--run-dir", str(pretended.out / "network"), "--resume", "auto"], 1]
    assert evaluated[0] == ["--checkpoint", str(pretended.out / "network"), "--out", str(scores)]
    cross_validation.run_one_network(pretended)
    assert len(history()) == 3  # nothing again


def test_all_ranks_work_on_one_network_and_its_evaluation_and_the_programs_own_error_is_told(pretended, monkeypatch):
    for name in ("train", "evaluate"):
        (pretended.out.parent / f"{name}.py").write_text(textwrap.dedent(ONE_NETWORK))
    plan = dataclasses.replace(pretended, jobs=2)
    cross_validation.run_one_network(plan)
    assert [("--run-dir" in words, size) for words, size in history()] == [(True, 2)] * 2 + [(False, 2)] * 2
    (plan.out / "network" / "summary.json").unlink()
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UsageError, match="mscnn train: error: no luck"):  # torchrun has last lines of its own
        cross_validation.run_one_network(plan)
