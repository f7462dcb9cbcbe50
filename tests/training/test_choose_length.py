"""Lengths of trainings by the number of fields; the tuned numbers are those of the presets with fixed ones."""

import math
from functools import partial

import numpy as np
import pytest

from mscnn.core import config
from mscnn.core.lr_schedule import parse_schedule
from mscnn.core.presets import PRESETS
from mscnn.training.choose_length import CONTRAST, SUPERVISED, choose_epochs, choose_length, choose_minibatch
from mscnn.training.step_schedule import count_steps

FIXED = {"supervised": "fields256", "screen": "unlabelled"}  # presets that were tuned on 468 and on 540 fields


def settings(preset: str, **values) -> config.Config:
    return config.from_flat({"preset": preset, **PRESETS[preset](), "bbbc021": None, "packed": None, "sites": "x.csv",
                             **values})


def length(preset: str, num_fields: int, **values) -> tuple[int, int]:
    asked = settings(preset, **values)
    used = choose_length(asked.optim, asked.objective, num_fields)[0]
    return used.epochs, used.minibatch


@pytest.mark.parametrize("preset", FIXED)
@pytest.mark.parametrize("num_fields", [468, 500, 540, 600, 700])
def test_at_the_size_where_they_were_tuned_the_numbers_are_those_that_were_tuned(preset, num_fields):
    tuned = settings(FIXED[preset]).optim
    if (preset, num_fields) != ("screen", 468):  # tuned on 540
        assert length(preset, num_fields) == (tuned.epochs, tuned.minibatch)


@pytest.mark.parametrize(("preset", "num_fields", "expected"), [
    ("supervised", 20, (150, 8)),     # 3 steps an epoch, 450 in all
    ("supervised", 108, (50, 12)),    # 108 / 8 = 13, made even: 9 steps an epoch
    ("supervised", 4, (225, 2)),      # half of the fields
    ("supervised", 5_000, (10, 32)),  # 157 steps an epoch: 660 steps would be 4 epochs
    ("supervised", 1_500, (14, 32)),  # 47 steps an epoch, 658 in all
    ("screen", 20, (400, 10)),        # 2 steps an epoch, 800 in all
    ("screen", 2_000, (28, 48)),      # 42 steps an epoch, 1176 in all
    ("screen", 100_000, (20, 48))])
def test_other_sizes_keep_the_number_of_steps_or_of_passes(preset, num_fields, expected):
    assert length(preset, num_fields) == expected


@pytest.mark.parametrize("tuned", [SUPERVISED, CONTRAST])
def test_a_larger_screen_never_has_larger_epochs_nor_a_smaller_minibatch(tuned):
    sizes = [*range(4, 1200), 5_000, 20_000, 10**6]
    minibatches = [choose_minibatch(size, tuned) for size in sizes]
    epochs = [choose_epochs(math.ceil(size / each), tuned)[0] for size, each in zip(sizes, minibatches, strict=True)]
    assert minibatches == sorted(minibatches)
    assert all(each % 2 == 0 and math.ceil(size / each) >= 2 for size, each in zip(sizes, minibatches, strict=True))
    assert min(epochs) == tuned.least_epochs
    assert all(number * math.ceil(size / each) >= tuned.steps[0]
               for size, each, number in zip(sizes, minibatches, epochs, strict=True))


def test_what_is_asked_for_is_taken_and_the_other_number_follows_from_it():
    assert length("supervised", 20, epochs=7) == (7, 8)
    assert length("supervised", 20, minibatch=32) == (450, 32)  # one step an epoch
    assert length("demo", 20) == (40, 16)                       # a preset of fixed numbers


def test_two_views_of_a_field_count_as_two():
    assert length("screen", 24, view_weight=1.0) == (267, 16)  # 8 fields of a minibatch: 3 steps an epoch, 800 in all


def test_the_reasons_are_told(caplog):
    asked = settings("supervised")
    with caplog.at_level("INFO", "mscnn"):
        used, reports = choose_length(asked.optim, asked.objective, 20)
    assert reports["epochs"] == {"asked": "auto", "used": 150, "why": "450 steps, the fewest that were tuned"}
    assert reports["minibatch"] == {"asked": "auto", "used": 8, "why": "20 fields, 3 steps an epoch"}
    assert reports["learning rate"]["used"] == "0.01;100;0.003;130;0.001"
    assert parse_schedule(used.lr, used.epochs) == parse_schedule("0.01;100;0.003;130;0.001")
    assert [message.split(":")[0] for message in caplog.messages] == ["minibatch", "epochs", "learning rate"]


def test_a_resumed_run_keeps_its_numbers_whatever_the_rule_says_now():
    asked = settings("screen")
    used, reports = choose_length(asked.optim, asked.objective, 540, before={"epochs": 33, "minibatch": 14})
    assert (used.epochs, used.minibatch) == (33, 14)
    assert {reports[name]["why"] for name in ("epochs", "minibatch")} == {"as the run was begun"}


def test_presets_of_fixed_numbers_are_used_as_they_are(caplog):
    for preset in ("demo", "fields256", "fields128", "unlabelled", "bbbc021"):
        asked = settings(preset)
        with caplog.at_level("INFO", "mscnn"):
            used, reports = choose_length(asked.optim, asked.objective, 99)
        assert used == asked.optim
        assert {report["why"] for report in reports.values()} == {"as asked"}
    assert not caplog.messages


def test_fields_without_a_replicate_make_an_epoch_longer_and_the_training_takes_fewer_epochs():
    """74 pairs fill 9 minibatches of 18, which take 800 steps; 148 single fields go 9 at a time, in at most 1200 steps."""
    objective = settings("screen").objective
    for treatments, steps, epochs in ((np.repeat(np.arange(74), 2), 9, 89), (np.arange(148), 17, 70)):
        plates = np.arange(148) % 2
        steps_of = partial(count_steps, 148, objective=objective, replicates=(treatments, plates))
        used, reports = choose_length(settings("screen").optim, objective, 148, steps_of)
        assert (used.minibatch, used.epochs, reports["minibatch"]["why"]) == \
            (18, epochs, f"148 fields, {steps} steps an epoch")
