"""Where a training stands: followed step by step, saved, and taken up again.

A run that was stopped anywhere and goes on is, with the same ranks, threads and CPU, the run that was never stopped, bit
for bit: order and augmentation of fields are pure functions of seed, epoch and site, and all else is in the checkpoint.
"""

import math
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mscnn.core import activity, config, run_directory
from mscnn.core.errors import DataError, Stopped, UsageError
from mscnn.core.logs import log
from mscnn.data.tables import splits
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed import heartbeat
from mscnn.training import checkpoint, prepare_data
from mscnn.training.trainer import StepResult, Trainer

FREE_GROUPS = ("parallel", "compute", "run")                # settings that may change when a run goes on,
FREE = ("bbbc021", "sites", "packed", "image_root")         # these too: data may have moved
FIXED = ("seed", "max_nonfinite_steps")                             # but these may not
SPIKE, RECENT, ENOUGH = 6.0, 50, 20  # a loss so many sd above the mean of the last 50 steps, 20 at least, is told
SHOWN = 5                            # fields named in an error; the log has all
CALM_DOWN = "begin a new --run-dir with a lower --lr, or with --clip-norm 1; a checkpoint of an earlier step is kept here"


@dataclass
class TrainState:
    """step, steps: of the optimiser so far, and in all; losses: of this epoch's steps; mean: of the epoch that has just
    ended, if it is one of those after which a run saves; best: least mean of those saved; is_read_out: the last layer is
    its discriminant analysis; skipped: steps in a row; unsaved: checkpoints that could not be written; recent: losses that
    spikes are told by; rounding: by what sums are rounded: ranks, threads, precision, kernel.
    """

    numerics: dict[str, Any]
    step: int = 0
    total_steps: int = 0
    best_epoch_mean: float = math.inf
    epoch_losses: list[float] = field(default_factory=list)
    nonfinite_steps: int = 0
    epoch_mean: float | None = None
    has_lda_head: bool = False
    failed_saves: int = 0
    recent_losses: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def record_step(self, taken: StepResult, trainer: Trainer, max_nonfinite_steps: int) -> None:
        """After a step. Raises UsageError, on all ranks alike, where too many in a row were not finite."""
        self.step, self.epoch_mean = self.step + 1, None
        heartbeat.record_step(self.step)
        if taken.is_skipped:
            self.nonfinite_steps += 1
            self._tell_skipped(taken, trainer, max_nonfinite_steps)
            return
        self.nonfinite_steps = 0
        self.epoch_losses.append(taken.loss)
        if len(self.recent_losses) >= ENOUGH:
            mean = sum(self.recent_losses) / len(self.recent_losses)
            sd = math.sqrt(sum((loss - mean) ** 2 for loss in self.recent_losses) / len(self.recent_losses))
            if taken.loss > mean + SPIKE * max(sd, 0.05 * mean):
                log.warning("loss spike: %.4f at step %d, where the last %d had %.4f", taken.loss, self.step,
                            len(self.recent_losses), mean)
        self.recent_losses.append(taken.loss)

    def end_epoch(self, *, counts: bool) -> None:
        """After its last step; counts: the run saves then, and not just because it was told to stop."""
        has_mean = self.epoch_losses and counts
        self.epoch_mean = sum(self.epoch_losses) / len(self.epoch_losses) if has_mean else None
        self.epoch_losses = []

    def save(self, settings: config.Config, trainer: Trainer, split: splits.Split, run_dir: Path, *, is_last: bool) -> None:
        """Rank 0 writes; the others go on, and meet it at the next step. A broken network is never saved.

        A checkpoint that cannot be written is told and counted, and training goes on; DataError if nothing follows it.
        """
        if not trainer.is_finite():
            raise UsageError(f"training diverged: weights are not finite after step {self.step}; {CALM_DOWN}")
        if trainer.world.rank:
            return
        before, is_best = self.best_epoch_mean, self.epoch_mean is not None and self.epoch_mean < self.best_epoch_mean
        self.best_epoch_mean = self.epoch_mean if is_best else before
        try:
            with activity.during("saving a checkpoint"):
                checkpoint.save(run_dir / checkpoint.FOLDER, self._content(settings, trainer, split, is_best=is_best),
                                keep=settings.run.keep_checkpoints, is_best=is_best)
        except OSError as problem:
            self.best_epoch_mean = before
            self.failed_saves += 1
            log.error("NOT SAVED: the checkpoint of step %d cannot be written (%s); %d so far; older ones are untouched",
                      self.step, problem, self.failed_saves)
            if is_last:
                failure = DataError(f"the last checkpoint could not be written ({problem}); make room in {run_dir}, and "
                                    "start the same command with --resume auto")
                failure.this_rank_only = True
                raise failure from None

    def stop_error(self, trainer: Trainer, run_dir: Path, reason: str) -> Stopped:
        """What to raise when all ranks have agreed to stop; a collective."""
        reasons = [why for why in trainer.world.gather(reason) if why]
        if trainer.world.rank == 0:
            run_directory.update_status(run_dir, status="stopped", reason=reasons[0], step=self.step,
                                        steps=self.total_steps, exit_code=Stopped.exit_code)
        trainer.world.barrier()
        return Stopped(f"{reasons[0]} at step {self.step} of {self.total_steps}; {run_dir} goes on with --resume auto")

    def load(self, saved: dict[str, Any], trainer: Trainer) -> None:
        """Put everything back where it was. Raises DataError where the checkpoint is of another network."""
        training = saved["training"]
        try:
            _unwrapped(trainer.loss_module).load_state_dict(training["objective"])
            trainer.optimiser.load_state_dict(training["optimiser"])
            if trainer.ema:
                trainer.ema.load_state_dict(training["average"])
            torch.set_rng_state(training["random"])
            self.step, self.best_epoch_mean, self.epoch_losses = saved["step"], training["best"], list(training["losses"])
            self.nonfinite_steps, self.has_lda_head = training["skipped"], training["is_read_out"]
            self.recent_losses.extend(training["recent"])
            other = [f"{name} {training['rounding'].get(name)}, now {now}" for name, now in self.numerics.items()
                     if training["rounding"].get(name) != now]
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise DataError(f"the checkpoint does not fit this network ({str(problem).splitlines()[0]}); name a new "
                            "--run-dir") from None
        log.info("resumed at step %d: %s", self.step, f"the same fields in the same order, rounded otherwise "
                 f"({'; '.join(other)})" if other else "bit for bit as if it had not been stopped")

    def _tell_skipped(self, taken: StepResult, trainer: Trainer, max_nonfinite_steps: int) -> None:
        """A collective: all ranks skip the same steps."""
        named = [trainer.fields.table.name(site)
                 for site in sorted({site for own in trainer.world.gather(taken.nonfinite_sites) for site in own})]
        log.warning("step %d skipped, %d in a row: the gradient is not finite (loss %s); fields: %s", self.step,
                    self.nonfinite_steps, taken.loss, ", ".join(named) or "none by itself")
        if self.nonfinite_steps > max_nonfinite_steps:
            raise UsageError(f"training diverged: {self.nonfinite_steps} steps in a row had no finite gradient, the last "
                             f"at step {self.step}; fields: {', '.join(named[:SHOWN]) or 'none by itself'}"
                             f"{f' and {len(named) - SHOWN} more, see log/' if len(named) > SHOWN else ''}; {CALM_DOWN}")

    def _content(self, settings: config.Config, trainer: Trainer, split: splits.Split, *, is_best: bool) -> dict[str, Any]:
        """What evaluation and a resumed training need, as builtins and tensors."""
        table = trainer.fields.table
        training = {"objective": _unwrapped(trainer.loss_module).state_dict(), "optimiser": trainer.optimiser.state_dict(),
                    "average": trainer.ema.state_dict() if trainer.ema else None, "random": torch.get_rng_state(),
                    "best": self.best_epoch_mean, "losses": self.epoch_losses, "recent": list(self.recent_losses),
                    "skipped": self.nonfinite_steps,
                    "is_read_out": self.has_lda_head, "is_best": is_best, "rounding": self.numerics}
        with trainer.ema_weights():
            return {"step": self.step, "steps": self.total_steps, "config": config.absolute(settings).flat(),
                    "classes": table.mechanisms(), "channels": list(table.channels), "image_size": list(table.shape[1:]),
                    "normalisation": prepare_data.to_record(trainer.fields.scale),
                    "split": asdict(splits.to_record(split, table)), "network": trainer.network.state_dict(),
                    "training": training}


def require_same_data(table: SiteTable, saved: dict[str, Any]) -> None:
    """Raise DataError where a run would go on with other fields than it was begun with, of the same names or not."""
    for name, now in (("channels", list(table.channels)), ("image_size", list(table.shape[1:])),
                      ("classes", table.mechanisms())):
        if saved[name] != now:
            raise DataError(f"the run was begun with {name} {saved[name]}, its data now has {now}; give the same data, or "
                            "name a new --run-dir")


def require_same_settings(settings: config.Config, saved: dict[str, Any]) -> None:
    """Raise UsageError where a run would go on with other settings than it was begun with, naming them."""
    names = {name for group, fields in config.GROUPS.items() if group not in FREE_GROUPS
             for name in fields.__dataclass_fields__} - {*FREE} | {*FIXED}
    now, before = config.absolute(settings).flat(), saved["config"]
    if other := [f"{name} {before.get(name)!r}, now {now[name]!r}" for name in sorted(names)
                 if before.get(name) != now[name]]:
        raise UsageError(f"the run was begun with other settings ({'; '.join(other)}); give the same ones, or name a new "
                         "--run-dir")


def _unwrapped(objective: nn.Module) -> nn.Module:
    """Without what wraps it for several ranks."""
    return getattr(objective, "module", objective)
