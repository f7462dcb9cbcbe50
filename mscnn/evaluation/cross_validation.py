"""Cross-validate over compounds: train, score and combine the folds.   mscnn loco fields256 --out DIR

A fold is a process of `mscnn train`, then one of `mscnn evaluate`.  Several folds run side by side, each on cores of its
own: that trains more fields per second than one fold on all cores.  A finished fold never runs again.

OUT/fold-K          run directory of fold K
OUT/evaluation/K    its evaluation
OUT/scores          all folds as one
OUT/log             output of the processes
OUT/network         run directory of a label-free network that serves all folds; its evaluation is OUT/scores
OUT/inner/fold-K/CANDIDATE
                    inner folds that choose the settings of fold K; they never read what fold K holds out
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml

from mscnn.core import files, run_directory
from mscnn.core.errors import DataError, UsageError
from mscnn.core.files import read_yaml, write_atomically
from mscnn.core.logs import log
from mscnn.core.record_files import read_json
from mscnn.core.records import KEY, Count, Record
from mscnn.core.words import counted
from mscnn.distributed import core_plan, cpu_topology
from mscnn.evaluation import fold_processes, results
from mscnn.evaluation.combine_folds import combine_folds
from mscnn.evaluation.fold_progress import FoldProgress

PROGRAM = (sys.executable, "-m", "mscnn")
NETWORK = "network"
CONFIG, FOLDS, CHOSEN = "config.yaml", "folds.yaml", "chosen.json"


@dataclass(frozen=True)
class Choice(Record):
    """The settings that the inner folds of a fold chose: chosen.json."""

    chosen: str               # name of the candidate
    settings: dict[str, Any]  # of the candidate
    # {candidate: {level: [right, total]}}
    right: dict[str, dict[str, list[Count]]] = field(metadata={KEY: "right of total"})


@dataclass(frozen=True)
class FoldPlan:
    """The folds of a cross-validation, and where their results go."""

    out: Path                # folder of all results
    preset: str              # of each training
    split: str               # --split-method of each training
    folds: list[list[str]]   # compounds that each fold holds out
    jobs: int                # folds side by side
    candidates: dict[str, dict[str, Any]] = field(default_factory=dict)  # {name: settings} to choose from; {}: no choice
    inner_folds: int = 3     # groups of the training compounds that choose
    profiles: str = "held-out"  # whose features each evaluation writes, as --profiles


def open_or_resume(plan: FoldPlan, settings: dict[str, Any]) -> None:
    """Make the folder of a plan, or resume a folder with the same settings and folds.

    settings: of each training.  Raises UsageError naming the settings that differ.
    """
    out = plan.out
    folds = {"folds": plan.folds, "candidates": plan.candidates, "inner_folds": plan.inner_folds}
    for name, content in ((CONFIG, settings), (FOLDS, folds)):
        path = out / name
        if path.exists():
            remedy = "name a new folder with --out"
            earlier = read_yaml(path, remedy=remedy) or {}
            if not isinstance(earlier, dict):
                raise UsageError(f"{path}: holds no settings; {remedy}")
            names = sorted({*earlier, *content}, key=str)  # of a file that was tampered with, a name may be a number
            if other := [f"{key} {earlier.get(key)!r}, now {content.get(key)!r}" for key in names
                         if earlier.get(key) != content.get(key)]:
                raise UsageError(f"{out} was begun with other settings ({'; '.join(other)}); give the same settings, or "
                                 "name a new folder with --out")
        elif name == CONFIG and out.exists() and any(out.iterdir()):
            raise UsageError(f"{out} exists and holds no {CONFIG}; name a new folder with --out")
        else:
            files.make_output_folder(out)
            with write_atomically(path) as partial:
                partial.write_text(yaml.safe_dump(content, sort_keys=False))


def run_folds(plan: FoldPlan, prepare: Callable[[int, Path], object] = lambda number, folder: None) -> Path:
    """Run all unfinished folds, then combine all folds; return the folder of the scores.

    prepare: called with a fold's number and a folder, writes split.csv there; inner folds split its training side.
    A fold that fails is named, the others continue.  Raises UsageError at the end naming the folds that failed, and Stopped
    after a signal, when all trainings have saved.
    """
    evaluations = [plan.out / "evaluation" / str(number) for number in range(len(plan.folds))]
    waiting = [number for number, folder in enumerate(evaluations) if not _is_done(folder)]
    log.info("%d folds, %d of them to do, %d at a time", len(plan.folds), len(waiting), plan.jobs)
    places, failed = SimpleQueue(), []
    total = sum(_trainings_left(plan, number) for number in waiting)
    shown = FoldProgress(total, "trainings" if plan.candidates else "folds")
    for cpus in core_plan.shares(cpu_topology.read_topology(), cpu_topology.allowed_cpus(), plan.jobs):
        places.put(cpus)

    def run_fold(number: int) -> None:
        name = f"fold {number} ({'; '.join(plan.folds[number])})"
        try:
            _run_fold(plan, number, places, prepare, shown)
        except (subprocess.CalledProcessError, DataError) as problem:
            if fold_processes.is_ending(plan.out):
                return
            failed.append(f"{name}: {getattr(problem, 'output', problem)}")
            log.warning("FAILED %s", failed[-1])
        else:
            left = sum(not _is_done(folder) for folder in evaluations)
            log.info("%s: %s;  %s left", name, _counts(evaluations[number]), counted(left, "fold"))

    with shown.shown(), fold_processes.pool_of_processes(plan.out, plan.jobs) as pool:
        for future in [pool.submit(run_fold, number) for number in waiting]:
            future.result()
    if failed:
        raise UsageError("\n  ".join([f"{len(failed)} of {len(plan.folds)} folds failed; mend the cause and run the same "
                                      "command again, which runs them alone", *failed]))
    combine_folds(evaluations, plan.out / "scores")
    return plan.out / "scores"


def run_one_network(plan: FoldPlan) -> Path:
    """Train one network for all folds, and score it with a read-out for each; return the folder of the scores.

    For a label-free, transductive network: it would be the same for every held-out compound.  All cores work on it, in
    plan.jobs ranks.  Raises UsageError with the last line of what failed.
    """
    run_dir, scores, cpus = plan.out / NETWORK, plan.out / "scores", cpu_topology.allowed_cpus()
    shown = FoldProgress(1, "the network")
    ranks = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(plan.jobs)) if plan.jobs > 1 else ()

    def run() -> None:
        with shown.training(NETWORK, run_dir, _log(plan, "evaluation")):
            if not (run_dir / run_directory.SUMMARY).exists():
                _start(plan, NETWORK, cpus, "train", plan.preset, "--config", plan.out / CONFIG, "--split-method",
                       "hold-out", "--run-dir", run_dir, "--resume", "auto", launcher=ranks)
            if not _is_done(scores):
                _start(plan, "evaluation", cpus, "evaluate", "--checkpoint", run_dir, "--out", scores, launcher=ranks)

    log.info("one network for all folds, on %d ranks, then a read-out for each of %d compounds", plan.jobs, len(plan.folds))
    with shown.shown(), fold_processes.pool_of_processes(plan.out, 1) as pool:
        try:
            pool.submit(run).result()
        except subprocess.CalledProcessError as problem:
            raise UsageError(f"the network of all folds failed; mend the cause and run the same command again: "
                             f"{problem.output}") from None
    results.log_scores(results.read_scores(scores))
    return scores


def _trainings_left(plan: FoldPlan, number: int) -> int:
    """Return how many trainings a fold has left, each with its evaluation: those of its inner folds, and its own."""
    inner = plan.out / "inner" / f"fold-{number}"
    return 1 + sum(not _is_done(inner / name / "evaluation" / str(fold)) for name in plan.candidates
                   for fold in range(plan.inner_folds) if not (inner / CHOSEN).exists())


def _run_fold(plan: FoldPlan, number: int, places: SimpleQueue, prepare: Callable[[int, Path], object],
              shown: FoldProgress) -> None:
    """Choose settings where there are candidates, train without the fold's compounds, and score on them."""
    options = {}
    if plan.candidates:
        inner = plan.out / "inner" / f"fold-{number}"
        files.make_output_folder(inner)
        prepare(number, inner)
        options = _choose(plan, number, inner, places, shown)
    _train_and_score(plan, f"fold-{number}", plan.out / f"fold-{number}", plan.out / "evaluation" / str(number), places,
                     shown, **options, split_method=plan.split, fold=number)


def _choose(plan: FoldPlan, number: int, inner: Path, places: SimpleQueue, shown: FoldProgress) -> dict[str, Any]:
    """Return the settings of the best candidate: most treatments right in inner folds, then most fields, then first."""
    if not (inner / CHOSEN).exists():
        scores = {}
        for name, options in plan.candidates.items():
            evaluations = []
            for fold in range(plan.inner_folds):
                evaluations.append(inner / name / "evaluation" / str(fold))
                if not _is_done(evaluations[-1]):
                    _train_and_score(plan, f"inner-{number}-{name}-{fold}", inner / name / f"fold-{fold}", evaluations[-1],
                                     places, shown, **options, split_method="k-fold", folds=plan.inner_folds, fold=fold,
                                     split_within=inner / "split.csv")
            scores[name] = combine_folds(evaluations, inner / name / "scores")
        best = max(scores, key=lambda name: (scores[name].treatments.correct, scores[name].fields.correct))
        counts = {name: {level: [score.correct, score.total] for level, score in of_candidate.by_level().items()}
                  for name, of_candidate in scores.items()}
        files.write_json(inner / CHOSEN, Choice(best, plan.candidates[best], counts).to_json())
    remedy = "remove it, and the fold chooses again"
    choice = read_json(inner / CHOSEN, Choice, remedy)
    if plan.candidates.get(choice.chosen) != choice.settings:
        raise DataError(f"{inner / CHOSEN}: chosen is {choice.chosen!r} with settings that no candidate has; {remedy}")
    log.info("fold %d: %s chosen by its inner folds", number, choice.chosen)
    return choice.settings


def _train_and_score(plan: FoldPlan, name: str, run_dir: Path, evaluation: Path, places: SimpleQueue,
                     shown: FoldProgress, **options: Any) -> None:
    """Train, unless the run has finished, then evaluate. Raises CalledProcessError with the last line of either.

    options: settings of the training.
    """
    cpus = places.get()
    try:
        with shown.training(name, run_dir, _log(plan, name)):
            settings = [word for option, value in options.items() for word in (f"--{option.replace('_', '-')}", str(value))]
            if not (run_dir / run_directory.SUMMARY).exists():
                _start(plan, name, cpus, "train", plan.preset, "--config", plan.out / CONFIG, *settings,
                       "--run-dir", run_dir, "--resume", "auto")
            _score(plan, name, cpus, run_dir, evaluation)
    finally:
        places.put(cpus)


def _score(plan: FoldPlan, name: str, cpus: frozenset[int], run_dir: Path, evaluation: Path) -> None:
    """Evaluate a run; a picture or the like that could not be written is logged."""
    try:
        _start(plan, name, cpus, "evaluate", "--checkpoint", run_dir, "--out", evaluation, "--profiles", plan.profiles)
    except subprocess.CalledProcessError as problem:
        if problem.returncode != DataError.exit_code or not _is_done(evaluation):
            raise
        log.warning("%s: %s", name, problem.output)


def _start(plan: FoldPlan, name: str, cpus: frozenset[int], command: str, *arguments: Any,
           launcher: tuple[str, ...] = ()) -> None:
    """Run a command of the program; launcher: arguments of Python that start it as several ranks.

    Raises CalledProcessError with the last line of its output.
    """
    words = [PROGRAM[0], *launcher, *PROGRAM[1:], command, *map(str, arguments)]
    fold_processes.run_logged(words, command, _log(plan, name), cpus, plan.out)


def _log(plan: FoldPlan, name: str) -> Path:
    """Return the file of the output of a training and its evaluation."""
    return (plan.out / "log" / f"{name}.txt").absolute()


def _is_done(evaluation: Path) -> bool:
    return (evaluation / results.SCORES).exists()


def _counts(evaluation: Path) -> str:
    """Return "fields 33/36, treatments 3/3"; of assays "3 compounds", which are scored together with those of all folds."""
    scores = results.read_scores(evaluation)
    if scores.assays:
        return f"{scores.assays.compounds} compounds"
    return f"fields {scores.fields.correct}/{scores.fields.total}, " \
           f"treatments {scores.treatments.correct}/{scores.treatments.total}"
