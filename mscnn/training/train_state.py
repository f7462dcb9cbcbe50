"""Where a training stands: recorded step by step, saved, and loaded again.

A resumed run is, with the same ranks, threads and CPU, the run that was never stopped, bit for bit: the order and the
augmentation of fields are pure functions of seed, epoch and site, and all else is in the checkpoint.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mscnn.core import activity, config, lr_schedule, run_directory
from mscnn.core.errors import DataError, Stopped, UsageError
from mscnn.core.logs import log
from mscnn.data.pixels.count_statistics import CountsRecord
from mscnn.data.tables import splits
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed import heartbeat
from mscnn.readout.record import ReadoutRecord
from mscnn.training import checkpoint
from mscnn.training.checkpoint import Checkpoint, ResumeRecord
from mscnn.training.trainer import StepResult, Trainer

FREE_GROUPS = ("parallel", "compute", "run")                # groups of settings that may change when a run is resumed,
FREE = ("bbbc021", "sites", "packed", "image_root", "follow_links", "assays",  # and settings: data may have moved; a
        "leave_out", "leave_out_flags",                     # checkpoint's split tells whether other fields are left out;
        "concentration_unit")                               # names on plots learn nothing;
FIXED = ("seed", "max_nonfinite_steps")                     # settings of those groups that may not
SPIKE_SD, RECENT, ENOUGH = 6.0, 50, 20  # a spike: a loss so many sd above the mean of the last 50 steps, 20 at least
SHOWN = 5                               # fields named in an error; the log has all
DIVERGED_REMEDY = "start a new --run-dir with a lower --lr, or with --clip-norm 1; an earlier checkpoint is kept here"


@dataclass
class TrainState:
    """The position in a training, the same on all ranks."""

    numerics: dict[str, Any]                # what the rounding depends on: ranks, threads, precision, kernel, versions
    counts: CountsRecord | None = None      # sample type and distribution of the training images, for evaluation
    step: int = 0                           # optimiser steps taken
    total_steps: int = 0                    # of the whole training
    best_epoch_mean: float = math.inf       # least mean loss of the epochs after which the run saved
    epoch_losses: list[float] = field(default_factory=list)  # of the steps of this epoch so far
    epoch_mean: float | None = None         # mean loss of the epoch just ended; None if the run does not save after it
    nonfinite_steps: int = 0                # in a row, up to now
    has_lda_head: bool = False              # the last layer is the discriminant analysis
    readout: ReadoutRecord | None = None    # of --head chosen, once it is fitted
    failed_saves: int = 0                   # checkpoints that could not be written
    recent_losses: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # by which a spike is recognised

    def record_step(self, result: StepResult, trainer: Trainer, max_nonfinite_steps: int) -> None:
        """Count a step. Raises UsageError on all ranks alike after too many steps in a row that were not finite."""
        self.step, self.epoch_mean = self.step + 1, None
        heartbeat.record_step(self.step)
        if result.is_skipped:
            self.nonfinite_steps += 1
            self._report_skipped(result, trainer, max_nonfinite_steps)
            return
        self.nonfinite_steps = 0
        self.epoch_losses.append(result.loss)
        if len(self.recent_losses) >= ENOUGH:
            mean = sum(self.recent_losses) / len(self.recent_losses)
            sd = math.sqrt(sum((loss - mean) ** 2 for loss in self.recent_losses) / len(self.recent_losses))
            if result.loss > mean + SPIKE_SD * max(sd, 0.05 * mean):
                log.warning("loss spike: %.4f at step %d; the mean of the last %d is %.4f", result.loss, self.step,
                            len(self.recent_losses), mean)
        self.recent_losses.append(result.loss)

    def end_epoch(self, *, saves: bool) -> None:
        """Take the mean loss of the epoch that has ended; saves: the run saves after it by schedule, not by a signal."""
        has_mean = self.epoch_losses and saves
        self.epoch_mean = sum(self.epoch_losses) / len(self.epoch_losses) if has_mean else None
        self.epoch_losses = []

    def save(self, settings: config.Config, trainer: Trainer, split: splits.Split, run_dir: Path, *, is_last: bool) -> None:
        """Write a checkpoint on rank 0, while the other ranks go on to the next step.

        Weights that are not finite raise UsageError and are never saved.  A checkpoint that cannot be written is logged and
        counted, and training continues; where it is the last one, DataError is raised.
        """
        if not trainer.is_finite():
            raise UsageError(f"training diverged: weights are not finite after step {self.step}; {DIVERGED_REMEDY}")
        wholes = trainer.gather_wholes()
        if trainer.world.rank:
            return
        previous, mean = self.best_epoch_mean, math.inf if self.epoch_mean is None else self.epoch_mean
        is_best, self.best_epoch_mean = mean < previous, min(mean, previous)
        try:
            with activity.during("saving a checkpoint"):
                content = self.to_checkpoint(settings, trainer, split, wholes, is_best=is_best)
                checkpoint.save(run_dir / checkpoint.FOLDER, content, keep=settings.run.keep_checkpoints, is_best=is_best)
        except OSError as problem:
            self.best_epoch_mean = previous
            self.failed_saves += 1
            log.error("NOT SAVED: the checkpoint of step %d cannot be written (%s); %d so far; older ones are untouched",
                      self.step, problem, self.failed_saves)
            if is_last:
                failure = DataError(f"the last checkpoint could not be written ({problem}); make room in {run_dir}, and "
                                    "start the same command with --resume auto")
                failure.this_rank_only = True
                raise failure from None

    def to_checkpoint(self, settings: config.Config, trainer: Trainer, split: splits.Split, wholes: dict[int, Tensor], *,
                      is_best: bool) -> Checkpoint:
        """Return all that evaluation and a resumed training need; tensors share the memory of the training.

        wholes: as Trainer.gather_wholes returns them.  `resume` takes the live weights, before the average ones are swapped
        in for `network`.
        """
        table = trainer.fields.table
        assert table.shape is not None

        def whole(state: Any) -> Any:
            return _mapped(state, lambda tensor: wholes.get(tensor.data_ptr(), tensor))

        resume = ResumeRecord(
            loss_module=whole(_unwrapped(trainer.loss_module).state_dict()),
            optimiser=whole(trainer.optimiser.state_dict()),
            ema=whole(trainer.ema.state_dict()) if trainer.ema else None, rng_state=torch.get_rng_state(),
            best_epoch_mean=self.best_epoch_mean if math.isfinite(self.best_epoch_mean) else None,
            epoch_losses=self.epoch_losses, recent_losses=list(self.recent_losses), nonfinite_steps=self.nonfinite_steps,
            has_lda_head=self.has_lda_head, is_best=is_best, numerics=self.numerics)
        with trainer.ema_weights():
            return Checkpoint(
                step=self.step, total_steps=self.total_steps, settings=config.absolute(settings).flat(),
                classes=table.classes(), channels=list(table.channels), image_size=list(table.shape[1:]),
                scale=trainer.fields.scale.to_record(), split=splits.to_record(split, table),
                network=whole(trainer.network.state_dict()), resume=resume, counts=self.counts,
                readout=self.readout)

    def load(self, saved: Checkpoint, trainer: Trainer) -> None:
        """Restore the training to where a checkpoint was saved. Raises DataError where it is of another network."""
        resume, layer = saved.resume, trainer.sharded

        def own(state: Any) -> Any:
            return _mapped(state, layer.own_part) if layer else state

        try:
            _unwrapped(trainer.loss_module).load_state_dict(own(resume.loss_module))
            trainer.optimiser.load_state_dict(_laid_out_alike(own(resume.optimiser), trainer.optimiser))
            if trainer.ema and resume.ema:
                trainer.ema.load_state_dict(own(resume.ema))
            torch.set_rng_state(resume.rng_state)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise DataError(f"the checkpoint does not fit this network ({str(problem).splitlines()[0]}); name a new "
                            "--run-dir") from None
        self.step, self.epoch_losses = saved.step, list(resume.epoch_losses)
        self.best_epoch_mean = math.inf if resume.best_epoch_mean is None else resume.best_epoch_mean
        self.nonfinite_steps, self.has_lda_head = resume.nonfinite_steps, resume.has_lda_head
        self.readout = saved.readout
        self.recent_losses.extend(resume.recent_losses)
        before = {"first layer": "replicated", **resume.numerics}  # as in all checkpoints that do not name it
        changed = [f"{name} {before.get(name)}, now {value}" for name, value in self.numerics.items()
                   if before.get(name) != value]
        log.info("resumed at step %d: %s", self.step, "the same fields in the same order, rounded differently "
                 f"({'; '.join(changed)})" if changed else "bit for bit as if the run had not been stopped")

    def stop_error(self, trainer: Trainer, run_dir: Path, reason: str) -> Stopped:
        """Return what to raise when all ranks have agreed to stop; a collective."""
        reasons = [each for each in trainer.world.gather(reason) if each]
        if trainer.world.rank == 0:
            run_directory.update_status(run_dir, status="stopped", reason=reasons[0], step=self.step,
                                        steps=self.total_steps, exit_code=Stopped.exit_code)
        trainer.world.barrier()
        return Stopped(f"{reasons[0]} at step {self.step} of {self.total_steps}; resume {run_dir} with --resume auto")

    def _report_skipped(self, result: StepResult, trainer: Trainer, max_nonfinite_steps: int) -> None:
        """Log a skipped step and its fields; a collective: all ranks skip the same steps."""
        sites = {site for own in trainer.world.gather(result.nonfinite_sites) for site in own}
        names = [trainer.fields.table.name(site) for site in sorted(sites)]
        log.warning("step %d skipped, %d in a row: the gradient is not finite (loss %s); fields: %s", self.step,
                    self.nonfinite_steps, result.loss, ", ".join(names) or "none by itself")
        if self.nonfinite_steps > max_nonfinite_steps:
            more = f" and {len(names) - SHOWN} more, see log/" if len(names) > SHOWN else ""
            shown = f"{', '.join(names[:SHOWN]) or 'none by itself'}{more}"
            raise UsageError(f"training diverged: {self.nonfinite_steps} steps in a row had no finite gradient, the last "
                             f"at step {self.step}; fields: {shown}; {DIVERGED_REMEDY}")


def require_same_data(table: SiteTable, saved: Checkpoint) -> None:
    """Raise DataError where the data have other channels, size or classes than those that a run was started with."""
    assert table.shape is not None
    now = {"channels": list(table.channels), "image_size": list(table.shape[1:]), "classes": table.classes()}
    for name, value in now.items():
        if (before := getattr(saved, name)) != value:
            raise DataError(f"the run was started with {name} {before}, its data now has {value}; give the same data, or "
                            "name a new --run-dir")


def require_same_settings(settings: config.Config, before: dict[str, Any]) -> None:
    """Raise UsageError that names the settings which differ from those that a run was started with.

    before: {setting: value} of the run, paths absolute.  Minibatch and epochs that are left open are those of the run.
    """
    defaults = {entry.name: entry.default for record in config.GROUPS.values() for entry in fields(record)}
    names = {name for group, record in config.GROUPS.items() if group not in FREE_GROUPS
             for name in record.__dataclass_fields__} - {*FREE} | {*FIXED}
    now, before = config.absolute(settings).flat(), defaults | before  # an earlier release lacked some settings
    now |= {name: before[name] for name in ("minibatch", "epochs") if not now[name] and name in before}
    changed = [f"{name} {before[name]!r}, now {now[name]!r}" for name in sorted(names)
               if before[name] != now[name] and not (name == "lr" and _is_same_rate(before, now["lr"], now["epochs"]))]
    if changed:
        raise UsageError(f"the run was started with other settings ({'; '.join(changed)}); give the same ones, or name a "
                         "new --run-dir")


def _is_same_rate(before: dict[str, Any], lr: str, epochs: int) -> bool:
    """Return whether a schedule is that of the run, which may have been written without its length."""
    return lr_schedule.parse_schedule(before["lr"], before["epochs"]) == lr_schedule.parse_schedule(lr, epochs)


def _laid_out_alike(saved: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimiser's state_dict whose tensors have the memory format of its parameters, as its kernels require."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    states = {number: {name: torch.empty_like(parameters[number]).copy_(value)
                       if isinstance(value, torch.Tensor) and value.shape == parameters[number].shape else value
                       for name, value in state.items()} for number, state in saved["state"].items()}
    return saved | {"state": states}


def _mapped(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a state of nested dictionaries and lists with its tensors changed."""
    if isinstance(state, dict):
        return {name: _mapped(value, change) for name, value in state.items()}
    if isinstance(state, list):
        return [_mapped(value, change) for value in state]
    return change(state) if isinstance(state, Tensor) else state


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return a module without the DistributedDataParallel around it."""
    return getattr(module, "module", module)
