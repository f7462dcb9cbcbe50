"""Leave compounds out, one fold after the other: train, score, gather.

A fold is a run of train.py and one of evaluate.py, each in a process of its own; several folds run side by side, each on
cores of its own, which trains more fields a second than one fold on all of them.  What is done is never done again.

OUT/fold-K, OUT/evaluation/K: run and evaluation of fold K; OUT/scores: all folds as one; OUT/log: what the processes said;
OUT/inner/fold-K/CANDIDATE: inner folds by which the settings of fold K were chosen, never looking at what it holds out.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml

from mscnn.core import files, run_directory
from mscnn.core.errors import DataError, UsageError
from mscnn.core.files import lock_file, read_yaml, write_atomically
from mscnn.core.logs import clock, log
from mscnn.distributed import core_plan, cpu_topology, launchers
from mscnn.evaluation import results

ROOT = Path(__file__).parent.parent.parent
CONFIG, FOLDS, LOCK, CHOSEN = "config.yaml", "folds.yaml", "lock", "chosen.json"
_running: set[subprocess.Popen] = set()
_starting = threading.Lock()
_ended: set[Path] = set()  # folders whose folds are told to end


@dataclass(frozen=True)
class FoldPlan:
    """What is left out, and where it goes.

    folds: the compounds that each holds out; split: --split-method of each; candidates: {name: settings} to choose from by
    inner_folds groups of the training compounds, empty where nothing is chosen.
    """

    out: Path
    preset: str
    split: str
    folds: list[list[str]]
    jobs: int
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict)
    inner_folds: int = 3


def open_or_resume(plan: FoldPlan, settings: dict[str, Any]) -> None:
    """Make the folder, or go on in one that was begun with the same settings and folds; UsageError names what differs."""
    out = plan.out
    folds = {"folds": plan.folds, "candidates": plan.candidates, "inner_folds": plan.inner_folds}
    for name, content in ((CONFIG, settings), (FOLDS, folds)):
        path = out / name
        if path.exists():
            remedy = "name a new folder with --out"
            before = read_yaml(path, remedy=remedy) or {}
            if not isinstance(before, dict):
                raise UsageError(f"{path}: holds no settings; {remedy}")
            names = sorted({*before, *content}, key=str)  # of a file that was tampered with, a name may be a number
            if other := [f"{key} {before.get(key)!r}, now {content.get(key)!r}" for key in names
                         if before.get(key) != content.get(key)]:
                raise UsageError(f"{out} was begun with other settings ({'; '.join(other)}); give the same ones, or name a "
                                 "new folder with --out")
        elif name == CONFIG and out.exists() and any(out.iterdir()):
            raise UsageError(f"{out} exists and holds no {CONFIG}; name a new folder with --out")
        else:
            files.make_output_folder(out)
            with write_atomically(path) as partial:
                partial.write_text(yaml.safe_dump(content, sort_keys=False))


def run_folds(plan: FoldPlan, prepare: Callable[[int, Path], object] = lambda number, folder: None) -> Path:
    """All folds that are not done yet, then all as one; returns the folder of the scores.

    prepare: writes the split.csv of a fold, whose training side its inner folds split, into a folder.

    A fold that fails is named, the others go on.  Raises UsageError at the end naming those that are to be run again.
    """
    evaluations = [plan.out / "evaluation" / str(number) for number in range(len(plan.folds))]
    waiting = [number for number, folder in enumerate(evaluations) if not _is_done(folder)]
    log.info("%d folds, %d of them to do, %d at a time", len(plan.folds), len(waiting), plan.jobs)
    places, finished, failed, started = SimpleQueue(), [], [], time.monotonic()
    for cpus in core_plan.shares(cpu_topology.read_topology(), cpu_topology.allowed_cpus(), plan.jobs):
        places.put(cpus)

    def one(number: int) -> None:
        name = f"fold {number} ({'; '.join(plan.folds[number])})"
        try:
            _fold(plan, number, places, prepare)
        except (subprocess.CalledProcessError, DataError) as problem:
            failed.append(f"{name}: {getattr(problem, 'output', problem)}")
            log.warning("FAILED %s", failed[-1])
        else:
            finished.append(number)
            left = (time.monotonic() - started) / len(finished) * (len(waiting) - len(finished))
            log.info("%s: %s;  %d folds left, eta %s", name, _counts(evaluations[number]), len(waiting) - len(finished),
                     clock(left))

    with _locked(plan.out), ThreadPoolExecutor(plan.jobs) as pool, _terminate_children(plan.out, pool):
        for future in [pool.submit(one, number) for number in waiting]:
            future.result()
    if failed:
        raise UsageError("\n  ".join([f"{len(failed)} of {len(plan.folds)} folds failed; mend the cause and run the same "
                                      "command again, it goes on with them", *failed]))
    results.combine_folds(evaluations, plan.out / "scores")
    return plan.out / "scores"


def _fold(plan: FoldPlan, number: int, places: SimpleQueue, prepare: Callable[[int, Path], object]) -> None:
    """Choose settings where there are several, then train without the fold's compounds and score on them."""
    options = {}
    if plan.candidates:
        inner = plan.out / "inner" / f"fold-{number}"
        files.make_output_folder(inner)
        prepare(number, inner)
        options = _choose(plan, number, inner, places)
    _train_and_score(plan, f"fold-{number}", plan.out / f"fold-{number}", plan.out / "evaluation" / str(number), places,
                     **options, split=plan.split, fold=number)


def _choose(plan: FoldPlan, number: int, inner: Path, places: SimpleQueue) -> dict[str, Any]:
    """The settings of the candidate that gets most treatments right in inner folds, then most fields, then comes first."""
    if not (inner / CHOSEN).exists():
        scores = {}
        for name, options in plan.candidates.items():
            evaluations = []
            for fold in range(plan.inner_folds):
                evaluations.append(inner / name / "evaluation" / str(fold))
                if not _is_done(evaluations[-1]):
                    _train_and_score(plan, f"inner-{number}-{name}-{fold}", inner / name / f"fold-{fold}", evaluations[-1],
                                     places, **options, split="k-fold", folds=plan.inner_folds, fold=fold,
                                     within=inner / "split.csv")
            scores[name] = results.combine_folds(evaluations, inner / name / "scores")
        best = max(scores, key=lambda name: [scores[name][level]["correct"] for level in ("treatments", "fields")])
        counts = {name: {level: [score["correct"], score["total"]] for level, score in own.items()}
                  for name, own in scores.items()}
        files.write_json(inner / CHOSEN, {"chosen": best, "settings": plan.candidates[best],
                                                  "right of total": counts})
    chosen = json.loads((inner / CHOSEN).read_text())
    log.info("fold %d: %s chosen by its inner folds", number, chosen["chosen"])
    return chosen["settings"]


def _train_and_score(plan: FoldPlan, name: str, run_dir: Path, evaluation: Path, places: SimpleQueue,
                     **options: Any) -> None:
    """train.py, unless it has come to its end before, and evaluate.py. Raises CalledProcessError with their last words."""
    cpus = places.get()
    try:
        settings = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", str(value))]
        if not (run_dir / run_directory.SUMMARY).exists():
            _start(plan, name, cpus, "train.py", plan.preset, "--config", plan.out / CONFIG, *settings,
                   "--run-dir", run_dir, "--resume", "auto")
        _start(plan, name, cpus, "evaluate.py", "--checkpoint", run_dir, "--out", evaluation)
    finally:
        places.put(cpus)


def _start(plan: FoldPlan, name: str, cpus: frozenset[int], program: str, *arguments: Any) -> None:
    (plan.out / "log").mkdir(exist_ok=True)
    path = (plan.out / "log" / f"{name}.txt").absolute()
    with _starting, path.open("a") as output, cpu_topology.on(cpus):
        if plan.out in _ended:
            raise subprocess.CalledProcessError(1, program, "not started: the command was told to end")
        process = subprocess.Popen([sys.executable, str(ROOT / program), *map(str, arguments)], stdout=output,
                                   stderr=subprocess.STDOUT, close_fds=False,  # the lock lasts as long as they do
                                   env=launchers.child_env())
        _running.add(process)
    code = process.wait()
    _running.discard(process)
    if code:
        last = path.read_text().strip().splitlines() or ["no output"]
        raise subprocess.CalledProcessError(code, program, f"exit code {code}: {last[-1]} (all of it: {path})")


def _is_done(evaluation: Path) -> bool:
    return (evaluation / results.SCORES).exists()


def _counts(evaluation: Path) -> str:
    """fields 33/36, treatments 3/3."""
    scores = json.loads((evaluation / results.SCORES).read_text())
    return ", ".join(f"{level} {scores[level]['correct']}/{scores[level]['total']}" for level in ("fields", "treatments"))


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Nobody else works on this folder, nor a process that an earlier command has left behind. Raises UsageError."""
    try:
        file = lock_file(out / LOCK)
    except BlockingIOError:
        raise UsageError(f"{out}: another process works on its folds; wait for it, or end it") from None
    with file:
        os.set_inheritable(file.fileno(), True)
        yield


@contextmanager
def _terminate_children(out: Path, pool: ThreadPoolExecutor) -> Iterator[None]:
    """Interrupted or told to end, start nothing more and end what runs."""
    _ended.discard(out)
    told = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        with _starting:
            _ended.add(out)
            for process in list(_running):
                process.terminate()
        raise
    finally:
        signal.signal(signal.SIGTERM, told)

