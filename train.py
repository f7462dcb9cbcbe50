"""Train the multi-scale CNN.   python train.py demo   |   torchrun --nproc-per-node 2 train.py fields256 --run-dir DIR

Reads from top to bottom: settings, ranks, cores, data, network, loop.
"""

import sys

from mscnn.cli import parse
from mscnn.core import errors
from mscnn.distributed import launchers
from mscnn.training.stop_signal import StopRequest

if __name__ == "__main__":  # settings come before torch is imported, so that --help and refusals come at once
    SETTINGS, RESOLVED = errors.run(lambda: parse.train(sys.argv[1:]), is_reporter=launchers.is_rank_zero)
    TOLD = StopRequest(SETTINGS.run.stop_after)  # from here on a signal stops the run after its next step
    if SETTINGS.parallel.bind:
        launchers.drop_openmp_binding()

import dataclasses
import math
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mscnn.core import config, files, lr_schedule, machine, memory, run_directory
from mscnn.core.logs import HELD_OUT, TRAIN, Metrics, log, open_logs, progress
from mscnn.data.pixels import augment
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.plate_scale import PlateScale
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables import sampler, splits
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed import core_binding, core_plan, heartbeat, world
from mscnn.model import MCNN, kernel
from mscnn.model.acceleration import choose_acceleration, nesterov_sgd
from mscnn.training import checkpoint, prepare_data, targets
from mscnn.training.ema import EMA
from mscnn.training.loss import LossModule
from mscnn.training.train_state import TrainState, require_same_data, require_same_settings
from mscnn.training.trainer import StepMetrics, Trainer


def main(settings: config.Config, resolved: str, told: StopRequest) -> None:
    """One training run."""
    ranks = world.init(settings.parallel.backend, join_seconds=settings.parallel.join_timeout)
    ranks.run_on_all_or_raise(lambda: run_directory.require_unused(settings.run.run_dir, settings.run.resume))
    open_logs(ranks.rank, None)
    if ranks.gather(settings.run.resume == "auto" and (Path(settings.run.run_dir) / run_directory.SUMMARY).exists())[0]:
        before = config.absolute(config.from_flat(run_directory.read_settings(Path(settings.run.run_dir)))).flat()
        ranks.run_on_all_or_raise(lambda: require_same_settings(settings, {"config": before}))
        if ranks.rank == 0:  # again: a kill may have come before it
            run_directory.update_status(Path(settings.run.run_dir), status="finished")
        log.info("%s has come to its end before; nothing is left to do", settings.run.run_dir)
        return ranks.shutdown()
    ranks.require_equal(**machine.versions(), settings=run_directory.digest(resolved))
    log.info("ranks: %d by %s; %s", ranks.size, ranks.launcher, ranks.rendezvous)
    plan = core_binding.bind_rank(ranks, settings.parallel)
    places = core_binding.describe_bindings(ranks, plan)
    for line in places:
        log.info("%s", line)
    malloc = memory.keep_memory() if settings.compute.keep_memory else "the system's own, as asked"
    log.info("malloc: %s", malloc)
    with errors.details_to_file(Path(settings.run.run_dir or "runs"), speak=ranks.rank == 0):
        table = ranks.run_on_all_or_raise(lambda: prepare_data.load_labelled_sites(settings.data))
        table = prepare_data.with_shape(table, settings.data.size(), ranks)
        asked = settings.split
        within = asked.split_within and ranks.run_on_all_or_raise(
            lambda: splits.training_side(Path(asked.split_within), table))
        split = splits.make_split(table, split=asked.split_method, hold_out=asked.hold_out, folds=asked.folds,
                                  fold=asked.fold, test_fraction=asked.test_fraction, seed=settings.run.seed, within=within)
        ranks.require_equal(data=table.fingerprint())
        log.info("split: %s", splits.describe(split, table))
        saved_at, saved = ranks.run_on_all_or_raise(lambda: find_resume_checkpoint(settings, split, table))
        ranks.require_equal(checkpoint=saved["sha256"] if saved else "none")
        normalisation = (prepare_data.restore(saved["normalisation"]) if saved else
                         prepare_data.fit_scale(table, split.train(), settings.data, ranks))
    trainer, used = build(settings, table, split, normalisation, ranks, plan)
    hosts, threads, cpus = (sorted({*every}) for every in zip(
        *ranks.gather((ranks.host, plan.threads, machine.cpu_model())), strict=True))
    rounding = {"ranks": ranks.size, "nodes": len(hosts), "backend": ranks.backend, "threads": threads, "CPU": cpus,
                **{name: used[name]["used"] for name in ("accelerate", "precision", "kernel", "gradient")},
                "compress": settings.compute.compress, **machine.versions()}
    used |= {"ranks": ranks.size, "launcher": ranks.launcher, "meeting": ranks.rendezvous, "malloc": malloc,
             "places": places}
    course = TrainState(rounding)
    run_dir = ranks.run_on_all_or_raise(lambda: str(run_directory.create(
        settings.run.run_dir, settings.preset, resolved, machine.environment(**used))) if ranks.rank == 0 else None)
    if ranks.rank == 0:
        heartbeat.remove_stale(Path(run_dir) / "log")
        splits.write(split, table, Path(run_dir))
        if isinstance(normalisation, PlateScale):
            from mscnn.report import intensity  # here: matplotlib takes its time

            normalisation.save(Path(run_dir))
            intensity.draw(normalisation, Path(run_dir) / "intensity.png")
    run_dir = Path(ranks.gather(run_dir)[0])
    open_logs(ranks.rank, run_dir)
    heartbeat.write_to(run_dir / "log", on_failure=partial(run_directory.update_status, run_dir))
    log.info("run directory: %s", run_dir)
    if saved:
        course.load(saved, trainer)
    if ranks.rank == 0:
        if saved:
            checkpoint.set_latest(run_dir / checkpoint.FOLDER, saved_at, is_best=saved["training"].get("is_best", False))
            if course.step < saved["steps"]:
                run_directory.archive_stale_scores(run_dir, course.step)
        files.write_json(run_dir / run_directory.STATUS, run_directory.initial_status(run_dir, course.step))
    trainer.warm_up_ddp()
    started, begun = time.perf_counter(), course.step
    fields = fit(settings, dataclasses.replace(trainer, is_told=told), split, run_dir, course, told)
    seconds, peak = time.perf_counter() - started, max(ranks.gather(memory.peak_memory_gib()))
    if ranks.rank == 0:
        rate = fields * (course.step - begun) / max(course.step, 1) / seconds
        files.write_json(run_dir / run_directory.SUMMARY, {
            "fields": fields, "seconds": seconds, "images_per_second": rate, "peak_memory_gib": peak, "resumed_at": begun})
        run_directory.update_status(run_dir, status="finished", step=course.step)
    log.info("trained: %s; peak memory of a rank: %.1f GiB", run_dir / checkpoint.FOLDER / checkpoint.LAST, peak)
    del trainer  # the wrapped network goes before the process group
    ranks.shutdown()


def find_resume_checkpoint(settings: config.Config, split: splits.Split,
                           table: SiteTable) -> tuple[Path | None, dict[str, Any] | None]:
    """The checkpoint to go on from and its content, None to begin. UsageError or DataError for that of another run."""
    found = checkpoint.newest(Path(settings.run.run_dir) / checkpoint.FOLDER) if settings.run.resume == "auto" else None
    if found is None:
        return None, None
    require_same_settings(settings, found[1])
    require_same_data(table, found[1])
    splits.restore(found[1]["split"], table)
    if splits.to_record(split, table)["sha256"] != found[1]["split"]["sha256"]:
        raise errors.DataError(f"{found[0]} was trained on another split; name a new --run-dir")
    return found


def build(settings: config.Config, table: SiteTable, split: splits.Split, normalisation: DatasetScale | PlateScale,
          ranks: world.World, plan: core_plan.Plan) -> tuple[Trainer, dict]:
    """The network and all that a step needs; and what was asked and used."""
    optim, classes = settings.optim, table.mechanisms()
    asked = settings.augment
    jitter = augment.Jitter(flips=asked.flips, quarter_turns=asked.quarter_turns, rotate=asked.rotate, zoom=asked.aug_zoom,
                            shift=asked.aug_shift, gain=asked.aug_gain, offset=asked.aug_offset)
    torch.manual_seed(settings.run.seed)
    acceleration, chosen = choose_acceleration(settings.compute.accelerate, settings.compute.precision,
                                             machine.feature_flags())
    if acceleration.backend == "ipex" and (optim.aux_weight or optim.ema_decay or settings.aggregation.head == "lda"):
        raise errors.UsageError("--aux-weight, --ema-decay and --head lda do not go with --accelerate ipex, which packs "
                                "the weights; use --accelerate native")
    chosen["kernel"] = kernel.report(settings.network.kernel)
    for name, report in chosen.items():
        log.info("%s: asked %s, using %s: %s", name, *report.values())
    network = acceleration.prepare(MCNN(len(classes), *table.shape, **dataclasses.asdict(settings.network)))
    gradient = {"asked": settings.network.gradient, "used": f"sparse in branches {network.sparse_branches()} of 0 to 6"}
    log.info("gradient: asked %s, using %s", *gradient.values())
    log.info("network: %s parameters, %d mechanisms", f"{sum(p.numel() for p in network.parameters()):,}", len(classes))
    fields, read_by = FieldReader(table, normalisation,
                                  settings.data.size()), core_binding.loader_binding(plan, settings.parallel)
    taught = targets.build_targets(fields, split, optim, ranks, read_by)
    objective = LossModule(network, optim.label_smoothing, optim.aux_weight,
                           0 if taught.aux_targets is None else taught.aux_targets.shape[1])
    optimiser = nesterov_sgd(objective, momentum=optim.momentum, weight_decay=optim.weight_decay)
    acceleration.take_over(network, optimiser)
    trainer = Trainer(
        world=ranks, acceleration=acceleration, network=network, targets=taught,
        loss_module=ranks.to_ddp(objective, settings.compute.compress), optimiser=optimiser, fields=fields, jitter=jitter,
        microbatch=optim.microbatch, clip_norm=optim.clip_norm, seed=settings.run.seed,
        ema=EMA(network, optim.ema_decay) if optim.ema_decay else None, loader_thread_init=read_by)
    return trainer, {**chosen, "gradient": gradient}


def fit(settings: config.Config, trainer: Trainer, split: splits.Split, run_dir: Path, course: TrainState,
        told: StopRequest) -> int:
    """All epochs from where the course stands: steps, a line every log_every of them, checkpoints, and looks at the
    held-out side if asked for.  Raises Stopped where a rank was told to stop.

    Returns how many fields a training learns from, each as often as it does.
    """
    optim, run, training = settings.optim, settings.run, trainer.targets.train_sites
    per_epoch = sampler.steps_per_epoch(len(training), optim.minibatch)
    total = min(optim.epochs * per_epoch, optim.max_steps or optim.epochs * per_epoch)
    pieces, begun = lr_schedule.parse_schedule(optim.lr), course.step
    course.total_steps, epochs = total, range(begun // per_epoch,
                                              math.ceil(total / per_epoch)) if begun < total else range(0)
    looks = run.eval_every if len(split.test()) else 0  # epochs between looks at the held-out side
    reads_out = settings.aggregation.head == "lda"

    def minibatches(epoch: int) -> list[np.ndarray]:
        order = sampler.epoch_minibatches(len(training), optim.minibatch, seed=run.seed, epoch=epoch)
        return [training[part] for part in order[:total - epoch * per_epoch]]

    def done(epoch: int) -> int:
        """Its steps that were taken before this process began."""
        return max(begun - epoch * per_epoch, 0)

    def look_if_due() -> None:
        """At the ends of epochs; what is looked at has been saved before."""
        ends, epoch = course.step in (total, math.ceil(course.step / per_epoch) * per_epoch), course.step / per_epoch
        if looks and course.step and ends and math.ceil(epoch) % looks == 0 \
                and not trainer.world.any(course.step in metrics.looked_at):
            log_held_out_accuracy(trainer, split.test(), course.step, metrics)

    with Metrics(run_dir, trainer.world.rank, begun) as metrics, \
            progress(total, "training", trainer.world.rank, done=begun) as shown, \
            closing(trainer.prefetch((epoch, minibatches(epoch)[done(epoch):]) for epoch in epochs)) as loaded:
        log.info("training: %d steps of at most %d fields, %d steps an epoch", total, optim.minibatch, per_epoch)
        for epoch in epochs:
            look_if_due()
            rates = [lr_schedule.learning_rate(pieces, epoch + number / per_epoch)
                     for number in range(done(epoch), min(per_epoch, total - epoch * per_epoch))]
            tally = StepMetrics()
            for rate, taken in trainer.steps(loaded, rates, tally):
                if course.step == begun:
                    heartbeat.set_time_limit(settings.parallel.step_timeout,
                                             "--step-timeout")  # compilers and first reads have ended
                course.record_step(taken, trainer, run.max_nonfinite_steps)
                shown.advance(note=f"epoch {epoch + 1}/{optim.epochs}")
                ends = course.step in (total, (epoch + 1) * per_epoch)
                saves = ends and (course.step == total or (epoch + 1) % run.checkpoint_every == 0)
                if ends:
                    course.end_epoch(counts=saves)
                due = run.checkpoint_steps and course.step % run.checkpoint_steps == 0
                saves = saves or taken.stop_requested or bool(due)
                if course.step % run.log_every == 0 or ends or saves:
                    report(course.step, total, course.step / per_epoch, rate, tally.all_reduce(trainer.world), metrics)
                    tally.reset()
                goes_on = course.step < total or reads_out
                if saves:
                    course.save(settings, trainer, split, run_dir, is_last=taken.stop_requested or not goes_on)
                if taken.stop_requested and goes_on:  # time is short: what is due now waits
                    raise course.stop_error(trainer, run_dir, told.reason)
        if reads_out and not course.has_lda_head:
            trainer.fit_lda_head(split.train(), settings.aggregation.tta == "all")
            course.has_lda_head = True
            log.info("read-out: linear discriminant analysis of %d fields", len(split.train()))
            course.save(settings, trainer, split, run_dir, is_last=True)
        look_if_due()
    return sum(len(minibatch) for epoch in range(math.ceil(total / per_epoch)) for minibatch in minibatches(epoch))


def report(step: int, total: int, epoch: float, rate: float, numbers: dict[str, float], metrics: Metrics) -> None:
    """A line in the log and in metrics.jsonl."""
    metrics.write(TRAIN, step, epoch=epoch, lr=rate, **numbers)
    log.info("step %5d/%d  epoch %5.2f  loss %.4f  accuracy %5.1f%%  lr %.1e  %5.1f images/s  data %2.0f%%", step, total,
             epoch, numbers["loss"], 100 * numbers["accuracy"], rate, numbers["images_per_second"],
             100 * numbers["data_wait"])


def log_held_out_accuracy(trainer: Trainer, test: np.ndarray, step: int, metrics: Metrics) -> None:
    """The learning curve on held-out fields; nothing is chosen by it."""
    table = trainer.fields.table
    with trainer.ema_weights():
        predicted = trainer.predict(test)[0].argmax(axis=1)
    correct = int((np.array(table.mechanisms())[predicted] == table.frame["mechanism"].iloc[test]).sum())
    metrics.write(HELD_OUT, step, correct=correct, total=len(test))
    log.info("held-out fields: %d/%d right (for the curve only)", correct, len(test))


if __name__ == "__main__":
    errors.run(lambda: heartbeat.watch(lambda: main(SETTINGS, RESOLVED, TOLD), SETTINGS.parallel.start_timeout),
               is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)
