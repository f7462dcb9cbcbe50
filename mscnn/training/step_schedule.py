"""Which fields each step of a training takes, and at which learning rate: pure functions of settings and step."""

import math
from dataclasses import dataclass

import numpy as np

from mscnn.core import config, lr_schedule
from mscnn.data.tables import sampler
from mscnn.training.targets import Targets


@dataclass(frozen=True)
class StepSchedule:
    """All steps of a training."""

    train_sites: np.ndarray                 # positions in the table of the sites that are learnt from
    minibatch: int                          # fields of a step, over all ranks, at most
    steps_per_epoch: int
    total_steps: int
    lr_segments: list[tuple[float, float]]  # end epoch and learning rate of each
    seed: int
    views: int = 1                          # of each field in a minibatch
    replicates: tuple[np.ndarray, np.ndarray] | None = None  # treatment and plate of each training site, to take them in
                                                             # pairs of replicates; None: any order

    def epochs(self, first_step: int) -> range:
        """Return the epochs that are left after so many steps."""
        if first_step >= self.total_steps:
            return range(0)
        return range(first_step // self.steps_per_epoch, math.ceil(self.total_steps / self.steps_per_epoch))

    def minibatches(self, epoch: int, first_step: int = 0) -> list[np.ndarray]:
        """Return the global minibatches of an epoch, as positions in the table, without those of earlier steps.

        A site of which there are several views is there as often.
        """
        parts = _epoch(len(self.train_sites), self.minibatch // self.views, self.replicates, seed=self.seed, epoch=epoch)
        return [np.repeat(self.train_sites[part], self.views)
                for part in parts[:self._steps_of(epoch)]][self._taken(epoch, first_step):]

    def rates(self, epoch: int, first_step: int = 0) -> list[float]:
        """Return the learning rates of the same steps."""
        return [lr_schedule.learning_rate(self.lr_segments, epoch + number / self.steps_per_epoch)
                for number in range(self._taken(epoch, first_step), min(self.steps_per_epoch, self._steps_of(epoch)))]

    def is_epoch_end(self, step: int) -> bool:
        """Return whether the training, or an epoch, ends after so many steps."""
        return step == self.total_steps or step % self.steps_per_epoch == 0

    def describe(self) -> str:
        """Return "680 steps of at most 16 fields, 17 steps an epoch"."""
        steps, total = self.steps_per_epoch, self.total_steps
        return (f"{total} step{'s' * (total != 1)} of at most {self.minibatch} fields, {steps} step{'s' * (steps != 1)} "
                "an epoch")

    def num_fields(self) -> int:
        """Return how many fields the training learns from, counting repeats."""
        return sum(len(minibatch) for epoch in self.epochs(0) for minibatch in self.minibatches(epoch))

    def _steps_of(self, epoch: int) -> int:
        return self.total_steps - epoch * self.steps_per_epoch

    def _taken(self, epoch: int, first_step: int) -> int:
        return max(first_step - epoch * self.steps_per_epoch, 0)


def schedule_steps(targets: Targets, objective: config.Objective, optim: config.Optim, seed: int) -> StepSchedule:
    """Return the steps of a training on the sites of these targets; optim: as choose_length returns it."""
    sites, views = targets.train_sites, 2 if objective.view_weight else 1
    replicates = (targets.treatments[sites], targets.plates[sites]) if objective.replicate_weight else None
    steps_per_epoch = count_steps(len(sites), optim.minibatch, objective, replicates)
    all_epochs = optim.epochs * steps_per_epoch
    return StepSchedule(sites, optim.minibatch, steps_per_epoch, min(all_epochs, optim.max_steps or all_epochs),
                        lr_schedule.parse_schedule(optim.lr, optim.epochs), seed, views, replicates)


def count_steps(num_sites: int, minibatch: int, objective: config.Objective,
                replicates: tuple[np.ndarray, np.ndarray] | None) -> int:
    """Return the steps of an epoch, the same for any seed; replicates: as of StepSchedule.

    In pairs of replicates a field without a partner takes the place of a pair, so that an epoch has more steps.
    """
    fields = minibatch // (2 if objective.view_weight else 1)
    return len(_epoch(num_sites, fields, replicates, seed=0, epoch=0))


def _epoch(num_sites: int, minibatch: int, replicates: tuple[np.ndarray, np.ndarray] | None, *, seed: int,
           epoch: int) -> list[np.ndarray]:
    """Return the minibatches of an epoch; their number is the same in all."""
    if replicates is None:
        return sampler.epoch_minibatches(num_sites, minibatch, seed=seed, epoch=epoch)
    return sampler.paired_minibatches(*replicates, minibatch, seed=seed, epoch=epoch)
