"""How long a training is: minibatch and epochs from the number of its fields, where the settings leave them open (0).

The numbers were tuned on 468 fields (supervised: 30 epochs, minibatch 32) and on 540 (replicate contrast: 80 and 48).
They hold from 500 to 700 fields.  A smaller screen takes as many optimiser steps, in more epochs of smaller minibatches.  A
larger one takes no more steps, as long as each field is seen often enough.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mscnn.core import config, lr_schedule
from mscnn.core.logs import log

STEPS_OF_EPOCH = 8  # that the minibatch leaves to an epoch, where the screen is large enough
AUTO = "auto"


@dataclass(frozen=True)
class Tuned:
    """A tuned length, and its bounds on screens of another size."""

    minibatch: int               # fields of a step
    least_minibatch: int         # the same of a small screen: a contrast needs several treatments in it, and replicates
    epochs: int                  # passes over the fields
    steps: tuple[int, int]       # optimiser steps of the training, at least and at most: of 468 or 500, and of 700 fields
    least_epochs: int            # passes over a large screen


SUPERVISED = Tuned(minibatch=32, least_minibatch=8, epochs=30, steps=(450, 660), least_epochs=10)
CONTRAST = Tuned(minibatch=48, least_minibatch=16, epochs=80, steps=(800, 1200), least_epochs=20)


def tuned_for(objective: config.Objective) -> Tuned:
    """Return the tuned length of an objective."""
    return CONTRAST if objective.replicate_weight or objective.view_weight else SUPERVISED


def choose_minibatch(num_fields: int, tuned: Tuned) -> int:
    """Return an even number of fields: the tuned one, or fewer, so that an epoch of a small screen has several steps."""
    smallest = min(tuned.least_minibatch, num_fields // 2)
    number = min(tuned.minibatch, max(num_fields // STEPS_OF_EPOCH, smallest))
    return max(2, number - number % 2)


def choose_epochs(steps_per_epoch: int, tuned: Tuned) -> tuple[int, str]:
    """Return the epochs that keep the number of steps within its bounds, and why."""
    least, most = tuned.steps
    if tuned.epochs * steps_per_epoch < least:
        return math.ceil(least / steps_per_epoch), f"{least} steps, the fewest that were tuned"
    if tuned.epochs * steps_per_epoch <= most:
        return tuned.epochs, "as tuned for 500 to 700 fields"
    if (epochs := most // steps_per_epoch) >= tuned.least_epochs:
        return epochs, f"no more than {most} steps are needed"
    return tuned.least_epochs, "passes that each field of a large screen takes at least"


def choose_length(optim: config.Optim, objective: config.Objective, num_fields: int,
                  steps_of: Callable[[int], int] | None = None,
                  before: dict[str, Any] | None = None) -> tuple[config.Optim, dict[str, dict[str, Any]]]:
    """Return the settings with numbers for minibatch and epochs, and {choice: {"asked", "used", "why"}}.

    num_fields: from which the training learns.  steps_of: returns the steps of an epoch with a minibatch; None: as many as
    full minibatches take.  before: settings of the run that is resumed, which are taken as they are.
    """
    tuned, views, reports = tuned_for(objective), 2 if objective.view_weight else 1, {}
    minibatch, epochs = optim.minibatch, optim.epochs
    if not minibatch:
        minibatch = before["minibatch"] if before else choose_minibatch(num_fields * views, tuned)
    steps_per_epoch = steps_of(minibatch) if steps_of else math.ceil(num_fields / max(1, minibatch // views))
    steps = f"{num_fields} fields, {steps_per_epoch} step{'s' * (steps_per_epoch != 1)} an epoch"
    why = steps
    if not epochs:
        epochs, why = (before["epochs"], "") if before else choose_epochs(steps_per_epoch, tuned)
    chosen = (("minibatch", optim.minibatch, minibatch, steps), ("epochs", optim.epochs, epochs, why))
    for name, asked, used, reason in chosen:
        reports[name] = {"asked": asked or AUTO, "used": used,
                         "why": "as asked" if asked else "as the run was begun" if before else reason}
    used = lr_schedule.parse_schedule(optim.lr, epochs)
    reports["learning rate"] = {
        "asked": optim.lr, "used": lr_schedule.as_text(used), "why": "as asked"
        if used == lr_schedule.parse_schedule(optim.lr) else f"stretched to {epochs} epochs"}
    for name, report in reports.items():
        if report["why"] != "as asked":
            log.info("%s: asked %s, using %s: %s", name, report["asked"], report["used"], report["why"])
    return replace(optim, minibatch=minibatch, epochs=epochs), reports
