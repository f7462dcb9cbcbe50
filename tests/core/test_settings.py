"""Bounds of whole numbers and of floats, on the command line and in files."""

import numpy as np
import pytest
import torch

from mscnn.cli.score import ScoreSettings
from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.core.records import LARGEST
from mscnn.core.settings import MOST, MOST_DRAWS, build
from mscnn.library.scores import score_profiles


@pytest.mark.parametrize(("values", "words"), [
    ({"seed": 2**64}, "seed is 1844.*, not a number of 64 bits"), ({"seed": 2**63}, "not a number of 64 bits"),
    ({"seed": -1}, "seed must be 0 or more"), ({"seed": True}, "seed is true or false"),
    ({"seed": 1.0}, "seed is a number"),
    ({"log_every": MOST + 1}, f"log-every must be no more than {MOST}"), ({"run_dir": 5}, "run-dir is a whole number"),
    ({"stop_after": float("inf")}, "stop-after is inf, not a finite number"), ({"resume": "always"}, "resume is 'always'"),
    ({"stop_after": float("nan")}, "stop-after is nan, not a finite number"), ({"seed": [1]}, "seed is a list")])
def test_settings_that_nothing_can_take_are_refused(values, words):
    with pytest.raises(UsageError, match=words) as refusal:
        build(config.Run, values)
    assert "\n" not in str(refusal.value)


def test_the_largest_seed_is_taken_by_all_that_draw():
    seed = build(config.Run, {"seed": LARGEST}).seed
    torch.manual_seed(seed)
    np.random.default_rng([1, seed])


@pytest.mark.parametrize("name", ["bootstrap", "permutations"])
def test_draws_are_bounded(name):
    with pytest.raises(UsageError, match=f"{name} must be no more than {MOST_DRAWS}, got 100001"):
        ScoreSettings(profiles="x.csv", **{name: MOST_DRAWS + 1})
    with pytest.raises(UsageError, match=f"{name} must be no more than {MOST_DRAWS}"):
        score_profiles(None, **{name: 10**12})
