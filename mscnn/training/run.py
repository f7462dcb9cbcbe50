"""One training run from top to bottom: ranks, cores, data, network, steps.   python train.py demo

`prepare` leaves a run that is ready for its first step, `train` takes the steps.
"""

import math
import shlex
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.core import config, errors, files, machine, memory, run_directory
from mscnn.core.logs import HELD_OUT, TRAIN, Metrics, log, open_logs, progress
from mscnn.core.units import MICROMOLAR
from mscnn.data.tables import splits
from mscnn.distributed import core_binding, core_plan, heartbeat, world
from mscnn.training import checkpoint
from mscnn.training.build import TrainingData, build_trainer, load_data
from mscnn.training.choose_length import choose_length
from mscnn.training.step_schedule import StepSchedule, count_steps, schedule_steps
from mscnn.training.stop_signal import StopRequest
from mscnn.training.targets import learnt_sites, site_numbers
from mscnn.training.train_state import TrainState, require_same_settings
from mscnn.training.trainer import StepMetrics, StepResult, Trainer


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready for its first step."""

    settings: config.Config
    data: TrainingData
    trainer: Trainer
    state: TrainState
    run_dir: Path
    stop: StopRequest


def prepare(settings: config.Config, resolved: str, stop: StopRequest) -> PreparedRun | None:
    """Initialise the ranks, read the data, build the network, open the run directory; None for a finished run.

    resolved: the settings as YAML, which all ranks must share.  Raises UsageError or DataError on all ranks alike for what
    cannot be trained.
    """
    ranks = world.init(settings.parallel.backend, join_seconds=settings.parallel.join_timeout)
    ranks.run_on_all_or_raise(lambda: run_directory.require_unused(settings.run.run_dir, settings.run.resume))
    open_logs(ranks.rank, None)
    if _has_finished(settings, ranks):
        ranks.shutdown()
        return None
    ranks.require_equal(**machine.versions(), settings=run_directory.digest(resolved))
    log.info("ranks: %d by %s; %s", ranks.size, ranks.launcher, ranks.rendezvous)
    plan = core_binding.bind_rank(ranks, settings.parallel)
    environment: dict[str, Any] = {"places": core_binding.describe_bindings(ranks, plan)}
    for line in environment["places"]:
        log.info("%s", line)
    environment["malloc"] = memory.keep_memory() if settings.compute.keep_memory else "the system's own, as asked"
    log.info("malloc: %s", environment["malloc"])
    with errors.details_to_file(Path(settings.run.run_dir or "runs"), is_reporter=ranks.rank == 0):
        data = load_data(settings, ranks)
    settings = replace(settings, data=replace(settings.data, concentration_unit=data.table.unit or MICROMOLAR))
    settings, lengths = with_length(settings, data)
    trainer, choices = build_trainer(settings, data, ranks, plan, stop)
    choices |= lengths
    environment |= {"left out": list(data.table.notes),
                    "ranks": ranks.size, "launcher": ranks.launcher, "rendezvous": ranks.rendezvous, **choices}
    state = TrainState(_numerics(settings, ranks, plan, choices), data.counts)
    run_dir = _open_run_directory(settings, settings.to_yaml(), data, environment, ranks)
    if data.resumed_from:
        path, saved = data.resumed_from
        state.load(saved, trainer)
        if ranks.rank == 0:
            checkpoint.set_latest(run_dir / checkpoint.FOLDER, path, is_best=saved.resume.is_best)
            if saved.step < saved.total_steps:
                run_directory.archive_stale_scores(run_dir, saved.step)
    if ranks.rank == 0:
        files.write_json(run_dir / run_directory.STATUS, run_directory.initial_status(run_dir, state.step))
        stop.call(partial(run_directory.mark_stopping, run_dir))
    return PreparedRun(settings, data, trainer, state, run_dir, stop)


def with_length(settings: config.Config, data: TrainingData) -> tuple[config.Config, dict[str, dict[str, Any]]]:
    """Return the settings with the minibatch and epochs that are used, and {choice: {"asked", "used", "why"}}."""
    objective, sites = settings.objective, learnt_sites(data.table, data.split, settings.objective)
    treatments, _, plates = site_numbers(data.table)
    replicates = (treatments[sites], plates[sites]) if objective.replicate_weight else None
    steps_of = partial(count_steps, len(sites), objective=objective, replicates=replicates)
    before = data.resumed_from[1].settings if data.resumed_from else None
    optim, reports = choose_length(settings.optim, objective, len(sites), steps_of, before)
    return replace(settings, optim=optim), reports


def train(run: PreparedRun) -> None:
    """Take all steps that are left, and write the summary. Raises Stopped where a rank was asked to stop."""
    trainer, state, ranks = run.trainer, run.state, run.trainer.world
    trainer.warm_up_ddp()
    schedule = schedule_steps(trainer.targets, run.settings.objective, run.settings.optim, run.settings.run.seed)
    started, first_step = time.perf_counter(), state.step
    if ranks.rank == 0:
        run_directory.update_status(run.run_dir, steps=schedule.total_steps)
    fit(run, schedule)
    seconds, peak = time.perf_counter() - started, max(ranks.gather(memory.peak_memory_gib()))
    if ranks.rank == 0:
        fields = schedule.num_fields()
        rate = fields * (state.step - first_step) / max(state.step, 1) / seconds
        files.write_json(run.run_dir / run_directory.SUMMARY, {
            "fields": fields, "seconds": seconds, "images_per_second": rate, "peak_memory_gib": peak,
            "resumed_at": first_step})
        run_directory.update_status(run.run_dir, status="finished", step=state.step)
    log.info("trained: %s; peak memory of a rank: %.1f GiB", run.run_dir / checkpoint.FOLDER / checkpoint.LAST, peak)
    log.info("next: %s", next_command(run))


def next_command(run: PreparedRun) -> str:
    """Return the command that shows what a run has learnt."""
    place = shlex.quote(str(run.run_dir))
    if len(run.data.split.test()) or run.settings.objective.is_label_free:
        return f"mscnn report {place}  (evaluates it first; mscnn evaluate --checkpoint {place} does that alone)"
    return f"mscnn evaluate --checkpoint {place} --sites CSV --out DIR  (another table: this run held nothing out)"


def fit(run: PreparedRun, schedule: StepSchedule) -> None:
    """Take the steps of all epochs that are left, then fit the head that is asked for. Raises Stopped."""
    settings, trainer, state, first_step = run.settings, run.trainer, run.state, run.state.step
    state.total_steps, rank = schedule.total_steps, trainer.world.rank
    epochs = schedule.epochs(first_step)
    with Metrics(run.run_dir, rank, first_step) as metrics, \
            progress(state.total_steps, "training", rank, done=first_step) as bar, \
            closing(trainer.prefetch((epoch, schedule.minibatches(epoch, first_step)) for epoch in epochs)) as loaded:
        log.info("training: %s", schedule.describe())
        if schedule.steps_per_epoch < 2:
            log.warning("an epoch is one step, of all %d fields at once: gradients hardly vary; choose a --minibatch below "
                        "that number, or 0", len(schedule.train_sites))
        for epoch in epochs:
            evaluate_if_due(run, schedule, metrics)
            step_metrics = StepMetrics()
            for rate, result in trainer.steps(loaded, schedule.rates(epoch, first_step), step_metrics):
                if state.step == first_step:  # kernels are compiled, first fields read
                    heartbeat.set_time_limit(settings.parallel.step_timeout, "--step-timeout")
                state.record_step(result, trainer, settings.run.max_nonfinite_steps)
                bar.advance(note=f"epoch {epoch + 1}/{settings.optim.epochs}")
                _log_and_save(run, schedule, epoch, rate, result, step_metrics, metrics)
        if settings.aggregation.head != "softmax" and not state.has_lda_head:
            from mscnn.training.readout import fit_head  # here: it takes as long to load as torch, and few runs need it

            state.readout = fit_head(trainer, settings, run.data.split)
            state.has_lda_head = True
            state.save(settings, trainer, run.data.split, run.run_dir, is_last=True)
        evaluate_if_due(run, schedule, metrics)


def evaluate_if_due(run: PreparedRun, schedule: StepSchedule, metrics: Metrics) -> None:
    """Evaluate the held-out fields at the ends of epochs, if asked for; the weights have been saved before."""
    every, state, test = run.settings.run.eval_every, run.state, run.data.split.test()
    if every and len(test) and state.step and schedule.is_epoch_end(state.step) \
            and math.ceil(state.step / schedule.steps_per_epoch) % every == 0 \
            and not run.trainer.world.any(state.step in metrics.evaluated_steps):
        log_held_out_accuracy(run.trainer, test, state.step, metrics)


def log_held_out_accuracy(trainer: Trainer, test: np.ndarray, step: int, metrics: Metrics) -> None:
    """Add a point to the learning curve of the held-out fields, of assays of their cells; nothing is chosen by it."""
    table = trainer.fields.table
    with trainer.ema_weights():
        probabilities_SK = trainer.predict(test)[0]
    if table.assays is None:
        predicted = np.array(table.mechanisms())[probabilities_SK.argmax(axis=1)]
        correct, total = int((predicted == table.frame["mechanism"].iloc[test]).sum()), len(test)
    else:
        values_SA = table.assays.select(test).of_sites()
        correct = int(((probabilities_SK > 0.5) == (values_SA == 1))[~np.isnan(values_SA)].sum())
        total = int((~np.isnan(values_SA)).sum())
    metrics.write(HELD_OUT, step, correct=correct, total=total)
    log.info("held-out %s: %d/%d right (for the curve only)", "fields" if table.assays is None else "cells", correct, total)


def _log_and_save(run: PreparedRun, schedule: StepSchedule, epoch: int, rate: float, result: StepResult,
                  step_metrics: StepMetrics, metrics: Metrics) -> None:
    """Log and save after a step where either is due. Raises Stopped where a rank was asked to stop."""
    state, asked, ends_epoch = run.state, run.settings.run, schedule.is_epoch_end(run.state.step)
    saves = ends_epoch and (state.step == schedule.total_steps or (epoch + 1) % asked.checkpoint_every == 0)
    if ends_epoch:
        state.end_epoch(saves=saves)
    within_epoch = bool(asked.checkpoint_steps) and state.step % asked.checkpoint_steps == 0
    saves = saves or result.stop_requested or within_epoch
    if state.step % asked.log_every == 0 or ends_epoch or saves:
        _log_step(state, state.step / schedule.steps_per_epoch, rate, step_metrics.all_reduce(run.trainer.world), metrics)
        step_metrics.reset()
    continues = state.step < schedule.total_steps or run.settings.aggregation.head != "softmax"
    if saves:
        state.save(run.settings, run.trainer, run.data.split, run.run_dir, is_last=result.stop_requested or not continues)
    if result.stop_requested and continues:  # the job is about to end
        raise state.stop_error(run.trainer, run.run_dir, run.stop.reason)


def _log_step(state: TrainState, epoch: float, rate: float, means: dict[str, float], metrics: Metrics) -> None:
    """Write a line to the log and to metrics.jsonl."""
    metrics.write(TRAIN, state.step, epoch=epoch, lr=rate, **means)
    accuracy = f"{100 * means['accuracy']:5.1f}%" if "accuracy" in means else "-"
    log.info("step %5d/%d  epoch %5.2f  loss %.4f  accuracy %s  lr %.1e  %5.1f images/s  data %2.0f%%", state.step,
             state.total_steps, epoch, means["loss"], accuracy, rate, means["images_per_second"], 100 * means["data_wait"])


def _has_finished(settings: config.Config, ranks: world.World) -> bool:
    """Return whether the run to resume has already finished; a collective. Raises UsageError for another run."""
    run_dir = Path(settings.run.run_dir or "")
    if not ranks.gather(settings.run.resume == "auto" and (run_dir / run_directory.SUMMARY).exists())[0]:
        return False
    before = config.absolute(config.from_flat(run_directory.read_settings(run_dir))).flat()
    ranks.run_on_all_or_raise(lambda: require_same_settings(settings, before))
    if ranks.rank == 0:  # the process may have been killed before it wrote this
        run_directory.update_status(run_dir, status="finished")
    log.info("%s has already finished; nothing is left to do", run_dir)
    return True


def _numerics(settings: config.Config, ranks: world.World, plan: core_plan.Plan,
              choices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the rounding of a training depends on; a collective."""
    hosts, threads, cpus = (sorted({*each}) for each in zip(
        *ranks.gather((ranks.host, plan.threads, machine.cpu_model())), strict=True))
    return {"ranks": ranks.size, "nodes": len(hosts), "backend": ranks.backend, "threads": threads, "CPU": cpus,
            **{name: choices[name]["used"] for name in ("accelerate", "precision", "kernel", "gradient", "first layer")},
            "compress": settings.compute.compress, **machine.versions()}


def _open_run_directory(settings: config.Config, resolved: str, data: TrainingData, environment: dict[str, Any],
                        ranks: world.World) -> Path:
    """Create the run directory, or open the one to resume, and write what is known before the first step; a collective."""
    created = ranks.run_on_all_or_raise(lambda: str(run_directory.create(
        settings.run.run_dir, settings.preset, resolved, machine.environment(**environment))) if ranks.rank == 0 else "")
    if ranks.rank == 0:
        heartbeat.remove_stale(Path(created) / "log")
        splits.write(data.split, data.table, Path(created))
        data.scale.save(Path(created))
    path = Path(ranks.gather(created)[0])
    open_logs(ranks.rank, path)
    heartbeat.write_to(path / "log", on_failure=partial(run_directory.update_status, path))
    log.info("run directory: %s", path)
    return path
