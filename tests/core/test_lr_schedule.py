import math

import pytest

from mscnn.core.lr_schedule import learning_rate, parse_schedule

RECIPE = "0.008;2;0.032;5;0.029;10;0.026;15;0.001;20;0.0001"  # the 8-node recipe


@pytest.mark.parametrize(("epoch", "expected"), [
    (0, 0.008), (1.99, 0.008), (2, 0.032), (4.5, 0.032), (5, 0.029), (9.99, 0.029), (10, 0.026), (15, 0.001),
    (19.9, 0.001), (20, 0.0001), (500, 0.0001)])
def test_the_recipe_changes_at_true_epochs(epoch, expected):
    assert learning_rate(parse_schedule(RECIPE), epoch) == expected


def test_one_rate_is_constant():
    assert parse_schedule("0.01") == [(math.inf, 0.01)]


@pytest.mark.parametrize("text", ["", "fast", "0.1;2", "0.1;5;0.2;3;0.1", "0.1;0;0.2", "-0.1", "0.1;2;nan", "inf"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"0\.008;2;0\.032"):
        parse_schedule(text)
