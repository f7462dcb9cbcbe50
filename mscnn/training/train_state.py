"""Where a training stands: followed step by step, saved, and taken up again.

A run that was stopped anywhere and goes on is, with the same ranks, threads and CPU, the run that was never stopped, bit
for bit: order and augmentation of fields are pure functions of seed, epoch and site, and all else is in the checkpoint.
"""

import math
from collections import deque
from dataclasses import dataclass, field
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
from mscnn.training.trainer import Taken, Trainer

FREE_GROUPS = ("ranks", "accelerate", "run")                # settings that may change when a run goes on,
FREE = ("bbbc021", "sites", "packed", "image_root")         # these too: data may have moved
FIXED = ("seed", "max_skipped")                             # but these may not
SPIKE, RECENT, ENOUGH = 6.0, 50, 20  # a loss so many sd above the mean of the last 50 steps, 20 at least, is told
SHOWN = 5                            # fields named in an error; the log has all
CALM_DOWN = "begin a new --run-dir with a lower --lr, or with --clip-norm 1; a checkpoint of an earlier step is kept here"


@dataclass
class Course:
    """step, steps: of the optimiser so far, and in all; losses: of this epoch's steps; mean: of the epoch that has just
    ended, if it is one of those after which a run saves; best: least mean of those saved; is_read_out: the last layer is
    its discriminant analysis; skipped: steps in a row; unsaved: checkpoints that could not be written; recent: losses that
    spikes are told by; rounding: by what sums are rounded: ranks, threads, precision, kernel.
    """

    rounding: dict[str, Any]
    step: int = 0
    steps: int = 0
    best: float = math.inf
    losses: list[float] = field(default_factory=list)
    skipped: int = 0
    mean: float | None = None
    is_read_out: bool = False
    unsaved: int = 0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def follow(self, taken: Taken, trainer: Trainer, max_skipped: int) -> None:
        """After a step. Raises UsageError, on all ranks alike, where too many in a row were not finite."""
        self.step, self.mean = self.step + 1, None
        heartbeat.at_step(self.step)
        if taken.is_skipped:
            self.skipped += 1
            self._tell_skipped(taken, trainer, max_skipped)
            return
        self.skipped = 0
        self.losses.append(taken.loss)
        if len(self.recent) >= ENOUGH:
            mean = sum(self.recent) / len(self.recent)
            sd = math.sqrt(sum((loss - mean) ** 2 for loss in self.recent) / len(self.recent))
            if taken.loss > mean + SPIKE * max(sd, 0.05 * mean):
                log.warning("loss spike: %.4f at step %d, where the last %d had %.4f", taken.loss, self.step,
                            len(self.recent), mean)
        self.recent.append(taken.loss)

    def end_epoch(self, *, counts: bool) -> None:
        """After its last step; counts: the run saves then, and not just because it was told to stop."""
        self.mean, self.losses = sum(self.losses) / len(self.losses) if self.losses and counts else None, []

    def save(self, settings: config.Config, trainer: Trainer, split: splits.Split, run_dir: Path, *, is_last: bool) -> None:
        """Rank 0 writes; the others go on, and meet it at the next step. A broken network is never saved.

        A checkpoint that cannot be written is told and counted, and training goes on; DataError if nothing follows it.
        """
        if not trainer.is_finite():
            raise UsageError(f"training diverged: weights are not finite after step {self.step}; {CALM_DOWN}")
        if trainer.world.rank:
            return
        before, is_best = self.best, self.mean is not None and self.mean < self.best
        self.best = self.mean if is_best else before
        try:
            with activity.during("saving a checkpoint"):
                checkpoint.save(run_dir / checkpoint.FOLDER, self._content(settings, trainer, split, is_best=is_best),
                                keep=settings.run.keep, is_best=is_best)
        except OSError as problem:
            self.best = before
            self.unsaved += 1
            log.error("NOT SAVED: the checkpoint of step %d cannot be written (%s); %d so far; older ones are untouched",
                      self.step, problem, self.unsaved)
            if is_last:
                failure = DataError(f"the last checkpoint could not be written ({problem}); make room in {run_dir}, and "
                                    "start the same command with --resume auto")
                failure.alone = True
                raise failure from None

    def stopped(self, trainer: Trainer, run_dir: Path, reason: str) -> Stopped:
        """What to raise when all ranks have agreed to stop; a collective."""
        reasons = [why for why in trainer.world.gather(reason) if why]
        if trainer.world.rank == 0:
            run_directory.tell(run_dir, status="stopped", reason=reasons[0], step=self.step, steps=self.steps,
                        exit_code=Stopped.exit_code)
        trainer.world.barrier()
        return Stopped(f"{reasons[0]} at step {self.step} of {self.steps}; {run_dir} goes on with --resume auto")

    def resume(self, saved: dict[str, Any], trainer: Trainer) -> None:
        """Put everything back where it was. Raises DataError where the checkpoint is of another network."""
        training = saved["training"]
        try:
            _bare(trainer.objective).load_state_dict(training["objective"])
            trainer.optimiser.load_state_dict(training["optimiser"])
            if trainer.average:
                trainer.average.restore(training["average"])
            torch.set_rng_state(training["random"])
            self.step, self.best, self.losses = saved["step"], training["best"], list(training["losses"])
            self.skipped, self.is_read_out = training["skipped"], training["is_read_out"]
            self.recent.extend(training["recent"])
            other = [f"{name} {training['rounding'].get(name)}, now {now}" for name, now in self.rounding.items()
                     if training["rounding"].get(name) != now]
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise DataError(f"the checkpoint does not fit this network ({str(problem).splitlines()[0]}); name a new "
                            "--run-dir") from None
        log.info("resumed at step %d: %s", self.step, f"the same fields in the same order, rounded otherwise "
                 f"({'; '.join(other)})" if other else "bit for bit as if it had not been stopped")

    def _tell_skipped(self, taken: Taken, trainer: Trainer, max_skipped: int) -> None:
        """A collective: all ranks skip the same steps."""
        named = [trainer.fields.table.name(site)
                 for site in sorted({site for own in trainer.world.gather(taken.broken) for site in own})]
        log.warning("step %d skipped, %d in a row: the gradient is not finite (loss %s); fields: %s", self.step,
                    self.skipped, taken.loss, ", ".join(named) or "none by itself")
        if self.skipped > max_skipped:
            raise UsageError(f"training diverged: {self.skipped} steps in a row had no finite gradient, the last at step "
                             f"{self.step}; fields: {', '.join(named[:SHOWN]) or 'none by itself'}"
                             f"{f' and {len(named) - SHOWN} more, see log/' if len(named) > SHOWN else ''}; {CALM_DOWN}")

    def _content(self, settings: config.Config, trainer: Trainer, split: splits.Split, *, is_best: bool) -> dict[str, Any]:
        """What evaluation and a resumed training need, as builtins and tensors."""
        table = trainer.fields.table
        training = {"objective": _bare(trainer.objective).state_dict(), "optimiser": trainer.optimiser.state_dict(),
                    "average": trainer.average.state() if trainer.average else None, "random": torch.get_rng_state(),
                    "best": self.best, "losses": self.losses, "recent": list(self.recent), "skipped": self.skipped,
                    "is_read_out": self.is_read_out, "is_best": is_best, "rounding": self.rounding}
        with trainer.averaged():
            return {"step": self.step, "steps": self.steps, "config": config.absolute(settings).flat(),
                    "classes": table.mechanisms(), "channels": list(table.channels), "image_size": list(table.shape[1:]),
                    "normalisation": prepare_data.to_record(trainer.fields.normalisation),
                    "split": splits.to_record(split, table), "network": trainer.network.state_dict(), "training": training}


def require_same_data(table: SiteTable, saved: dict[str, Any]) -> None:
    """Raise DataError where a run would go on with other fields than it was begun with, of the same names or not."""
    for name, now in (("channels", list(table.channels)), ("image_size", list(table.shape[1:])),
                      ("classes", table.mechanisms())):
        if saved[name] != now:
            raise DataError(f"the run was begun with {name} {saved[name]}, its data now has {now}; give the same data, or "
                            "name a new --run-dir")


def require_same(settings: config.Config, saved: dict[str, Any]) -> None:
    """Raise UsageError where a run would go on with other settings than it was begun with, naming them."""
    names = {name for group, fields in config.GROUPS.items() if group not in FREE_GROUPS
             for name in fields.__dataclass_fields__} - {*FREE} | {*FIXED}
    now, before = config.absolute(settings).flat(), saved["config"]
    if other := [f"{name} {before.get(name)!r}, now {now[name]!r}" for name in sorted(names)
                 if before.get(name) != now[name]]:
        raise UsageError(f"the run was begun with other settings ({'; '.join(other)}); give the same ones, or name a new "
                         "--run-dir")


def _bare(objective: nn.Module) -> nn.Module:
    """Without what wraps it for several ranks."""
    return getattr(objective, "module", objective)
