"""One training run from top to bottom: ranks, cores, data, network, steps.   python train.py demo

`prepare` leaves a run that is ready for its first step, `train` takes the steps.
"""

import dataclasses
import math
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mscnn.core import config, errors, files, machine, memory, run_directory
from mscnn.core.logs import HELD_OUT, TRAIN, Metrics, log, open_logs, progress
from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.scale import Scale, scale_from_record
from mscnn.data.tables import splits
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed import core_binding, core_plan, heartbeat, world
from mscnn.model import MCNN, kernel
from mscnn.model.acceleration import choose_acceleration, nesterov_sgd
from mscnn.training import checkpoint, prepare_data, targets
from mscnn.training.checkpoint import Checkpoint
from mscnn.training.ema import EMA
from mscnn.training.loss import LossModule
from mscnn.training.step_schedule import StepSchedule, schedule_steps
from mscnn.training.stop_signal import StopRequest
from mscnn.training.train_state import TrainState, require_same_data, require_same_settings
from mscnn.training.trainer import StepMetrics, StepResult, Trainer


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from."""

    table: SiteTable
    split: splits.Split
    scale: Scale                                     # from camera counts to the network's input
    resumed_from: tuple[Path, Checkpoint] | None     # where the run continues; None where it starts


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
    """Initialise the ranks, read the data, build the network, open the run directory; None if the run has finished before.

    resolved: the settings as YAML.  Raises UsageError or DataError on all ranks alike for what cannot be trained.
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
    trainer, choices = build_trainer(settings, data, ranks, plan, stop)
    environment |= {"ranks": ranks.size, "launcher": ranks.launcher, "rendezvous": ranks.rendezvous, **choices}
    state = TrainState(_numerics(settings, ranks, plan, choices))
    run_dir = _open_run_directory(settings, resolved, data, environment, ranks)
    if data.resumed_from:
        path, saved = data.resumed_from
        state.load(saved, trainer)
        if ranks.rank == 0:
            checkpoint.set_latest(run_dir / checkpoint.FOLDER, path, is_best=saved.resume.is_best)
            if saved.step < saved.total_steps:
                run_directory.archive_stale_scores(run_dir, saved.step)
    if ranks.rank == 0:
        files.write_json(run_dir / run_directory.STATUS, run_directory.initial_status(run_dir, state.step))
    return PreparedRun(settings, data, trainer, state, run_dir, stop)


def train(run: PreparedRun) -> None:
    """Take all steps that are left, and sum the run up. Raises Stopped where a rank was asked to stop."""
    trainer, state, ranks = run.trainer, run.state, run.trainer.world
    trainer.warm_up_ddp()
    schedule = schedule_steps(trainer.targets.train_sites, run.settings.optim, run.settings.run.seed)
    started, first_step = time.perf_counter(), state.step
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


def load_data(settings: config.Config, ranks: world.World) -> TrainingData:
    """Read the table, split it, find the checkpoint to resume from, and fit the scale; a collective."""
    table = ranks.run_on_all_or_raise(lambda: prepare_data.load_labelled_sites(settings.data))
    table = prepare_data.with_shape(table, settings.data.size(), ranks)
    asked = settings.split
    outer = Path(asked.split_within) if asked.split_within else None
    within = ranks.run_on_all_or_raise(lambda: splits.training_side(outer, table)) if outer else None
    split = splits.make_split(table, split=asked.split_method, hold_out=asked.hold_out, folds=asked.folds, fold=asked.fold,
                              test_fraction=asked.test_fraction, seed=settings.run.seed, within=within)
    ranks.require_equal(data=table.fingerprint())
    log.info("split: %s", splits.describe(split, table))
    resumed_from = ranks.run_on_all_or_raise(lambda: find_resume_checkpoint(settings, split, table))
    ranks.require_equal(checkpoint=resumed_from[1].sha256 if resumed_from else "none")
    scale = (scale_from_record(resumed_from[1].scale) if resumed_from else
             prepare_data.fit_scale(table, split.train(), settings.data, ranks))
    return TrainingData(table, split, scale, resumed_from)


def find_resume_checkpoint(settings: config.Config, split: splits.Split,
                           table: SiteTable) -> tuple[Path, Checkpoint] | None:
    """Return the checkpoint to resume from, and its path; None to start.

    Raises UsageError or DataError for the checkpoint of another run.
    """
    if settings.run.resume != "auto" or settings.run.run_dir is None:
        return None
    latest = checkpoint.newest(Path(settings.run.run_dir) / checkpoint.FOLDER)
    if latest is None:
        return None
    path, saved = latest
    require_same_settings(settings, saved.settings)
    require_same_data(table, saved)
    splits.restore(saved.split, table)
    if splits.to_record(split, table).sha256 != saved.split.sha256:
        raise errors.DataError(f"{path} was trained on another split; name a new --run-dir")
    return latest


def build_trainer(settings: config.Config, data: TrainingData, ranks: world.World, plan: core_plan.Plan,
                  stop: StopRequest) -> tuple[Trainer, dict[str, dict[str, str]]]:
    """Build the network and all that a step uses; return it, and {choice: {"asked", "used", ...}}; a collective."""
    optim, classes = settings.optim, data.table.mechanisms()
    asked = settings.augment
    jitter = Jitter(flips=asked.flips, quarter_turns=asked.quarter_turns, rotate=asked.rotate, zoom=asked.aug_zoom,
                    shift=asked.aug_shift, gain=asked.aug_gain, offset=asked.aug_offset)
    torch.manual_seed(settings.run.seed)
    acceleration, choices = choose_acceleration(settings.compute.accelerate, settings.compute.precision,
                                                machine.feature_flags())
    if acceleration.backend == "ipex" and (optim.aux_weight or optim.ema_decay or settings.aggregation.head == "lda"):
        raise errors.UsageError("--aux-weight, --ema-decay and --head lda do not go with --accelerate ipex, which packs "
                                "the weights; use --accelerate native")
    choices["kernel"] = kernel.report(settings.network.kernel)
    for name, report in choices.items():
        log.info("%s: asked %s, using %s: %s", name, *report.values())
    network = acceleration.prepare(MCNN(len(classes), *data.table.shape, **dataclasses.asdict(settings.network)))
    choices["gradient"] = {"asked": settings.network.gradient,
                           "used": f"sparse in branches {network.sparse_branches()} of 0 to 6"}
    log.info("gradient: asked %s, using %s", *choices["gradient"].values())
    log.info("network: %s parameters, %d mechanisms", f"{sum(p.numel() for p in network.parameters()):,}", len(classes))
    fields = FieldReader(data.table, data.scale, settings.data.size())
    bind_loader = core_binding.loader_binding(plan, settings.parallel)
    aims = targets.build_targets(fields, data.split, optim, ranks, bind_loader)
    loss_module = LossModule(network, optim.label_smoothing, optim.aux_weight,
                             0 if aims.aux_targets is None else aims.aux_targets.shape[1])
    optimiser = nesterov_sgd(loss_module, momentum=optim.momentum, weight_decay=optim.weight_decay)
    acceleration.take_over(network, optimiser)
    return Trainer(
        world=ranks, acceleration=acceleration, network=network, targets=aims, fields=fields, jitter=jitter,
        loss_module=ranks.to_ddp(loss_module, settings.compute.compress), optimiser=optimiser,
        microbatch=optim.microbatch, clip_norm=optim.clip_norm, seed=settings.run.seed,
        ema=EMA(network, optim.ema_decay) if optim.ema_decay else None, stop_requested=stop,
        loader_thread_init=bind_loader), choices


def fit(run: PreparedRun, schedule: StepSchedule) -> None:
    """Take the steps of all epochs that are left, then fit the LDA head if asked for. Raises Stopped."""
    settings, trainer, state, first_step = run.settings, run.trainer, run.state, run.state.step
    state.total_steps, rank = schedule.total_steps, trainer.world.rank
    epochs = schedule.epochs(first_step)
    with Metrics(run.run_dir, rank, first_step) as metrics, \
            progress(state.total_steps, "training", rank, done=first_step) as bar, \
            closing(trainer.prefetch((epoch, schedule.minibatches(epoch, first_step)) for epoch in epochs)) as loaded:
        log.info("training: %d steps of at most %d fields, %d steps an epoch", state.total_steps, schedule.minibatch,
                 schedule.steps_per_epoch)
        for epoch in epochs:
            evaluate_if_due(run, schedule, metrics)
            step_metrics = StepMetrics()
            for rate, result in trainer.steps(loaded, schedule.rates(epoch, first_step), step_metrics):
                if state.step == first_step:  # compilers and first reads have ended
                    heartbeat.set_time_limit(settings.parallel.step_timeout, "--step-timeout")
                state.record_step(result, trainer, settings.run.max_nonfinite_steps)
                bar.advance(note=f"epoch {epoch + 1}/{settings.optim.epochs}")
                _log_and_save(run, schedule, epoch, rate, result, step_metrics, metrics)
        if settings.aggregation.head == "lda" and not state.has_lda_head:
            sites = run.data.split.train()
            trainer.fit_lda_head(sites, tta=settings.aggregation.tta == "flips-turns")
            state.has_lda_head = True
            log.info("head: linear discriminant analysis of %d fields", len(sites))
            state.save(settings, trainer, run.data.split, run.run_dir, is_last=True)
        evaluate_if_due(run, schedule, metrics)


def evaluate_if_due(run: PreparedRun, schedule: StepSchedule, metrics: Metrics) -> None:
    """Evaluate the held-out fields at the ends of epochs, if asked for; what is evaluated has been saved before."""
    every, state, test = run.settings.run.eval_every, run.state, run.data.split.test()
    if every and len(test) and state.step and schedule.is_epoch_end(state.step) \
            and math.ceil(state.step / schedule.steps_per_epoch) % every == 0 \
            and not run.trainer.world.any(state.step in metrics.looked_at):
        log_held_out_accuracy(run.trainer, test, state.step, metrics)


def log_held_out_accuracy(trainer: Trainer, test: np.ndarray, step: int, metrics: Metrics) -> None:
    """Add a point to the learning curve of the held-out fields; nothing is chosen by it."""
    table = trainer.fields.table
    with trainer.ema_weights():
        predicted = trainer.predict(test)[0].argmax(axis=1)
    correct = int((np.array(table.mechanisms())[predicted] == table.frame["mechanism"].iloc[test]).sum())
    metrics.write(HELD_OUT, step, correct=correct, total=len(test))
    log.info("held-out fields: %d/%d right (for the curve only)", correct, len(test))


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
    continues = state.step < schedule.total_steps or run.settings.aggregation.head == "lda"
    if saves:
        state.save(run.settings, run.trainer, run.data.split, run.run_dir, is_last=result.stop_requested or not continues)
    if result.stop_requested and continues:  # time is short: what else is due waits
        raise state.stop_error(run.trainer, run.run_dir, run.stop.reason)


def _log_step(state: TrainState, epoch: float, rate: float, means: dict[str, float], metrics: Metrics) -> None:
    """Write a line to the log and to metrics.jsonl."""
    metrics.write(TRAIN, state.step, epoch=epoch, lr=rate, **means)
    log.info("step %5d/%d  epoch %5.2f  loss %.4f  accuracy %5.1f%%  lr %.1e  %5.1f images/s  data %2.0f%%", state.step,
             state.total_steps, epoch, means["loss"], 100 * means["accuracy"], rate, means["images_per_second"],
             100 * means["data_wait"])


def _has_finished(settings: config.Config, ranks: world.World) -> bool:
    """Return whether the run to resume has finished before; a collective. Raises UsageError for another run."""
    run_dir = Path(settings.run.run_dir or "")
    if not ranks.gather(settings.run.resume == "auto" and (run_dir / run_directory.SUMMARY).exists())[0]:
        return False
    before = config.absolute(config.from_flat(run_directory.read_settings(run_dir))).flat()
    ranks.run_on_all_or_raise(lambda: require_same_settings(settings, before))
    if ranks.rank == 0:  # again: a kill may have come before it
        run_directory.update_status(run_dir, status="finished")
    log.info("%s has finished before; nothing is left to do", run_dir)
    return True


def _numerics(settings: config.Config, ranks: world.World, plan: core_plan.Plan,
              choices: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return what decides the last bit of a training; a collective."""
    hosts, threads, cpus = (sorted({*each}) for each in zip(
        *ranks.gather((ranks.host, plan.threads, machine.cpu_model())), strict=True))
    return {"ranks": ranks.size, "nodes": len(hosts), "backend": ranks.backend, "threads": threads, "CPU": cpus,
            **{name: choices[name]["used"] for name in ("accelerate", "precision", "kernel", "gradient")},
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
