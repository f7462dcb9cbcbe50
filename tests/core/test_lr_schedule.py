import math

import pytest

from mscnn.core.lr_schedule import as_text, learning_rate, parse_schedule

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


def test_a_schedule_that_names_its_length_is_stretched_and_another_one_kept():
    """The finding: eight epochs kept decays that were set for epochs 20 and 26, and never reached them."""
    named = "0.01;20;0.003;26;0.001;30"
    assert parse_schedule(named, 15) == [(10, 0.01), (13, 0.003), (math.inf, 0.001)]
    assert learning_rate(parse_schedule(named, 8), 7.5) == 0.001
    assert parse_schedule(named, 30) == parse_schedule(named) == parse_schedule("0.01;20;0.003;26;0.001", 8)
    assert as_text(parse_schedule(named, 8)) == "0.01;5.333;0.003;6.933;0.001"


@pytest.mark.parametrize("epochs", [1, 22, 80])
def test_a_schedule_of_its_own_length_keeps_every_bit(epochs):
    text = "0.006;0.3;0.0195;0.7;0.012"
    assert parse_schedule(f"{text};{epochs}", epochs) == parse_schedule(text)


@pytest.mark.parametrize("text", ["0.01;30", "0.01;20;0.1;20", "0.01;20;0.1;10", "0.01;20;0.1;inf", "0.01;20;0.1;nan"])
def test_a_length_that_the_schedule_does_not_fit_is_refused(text):
    with pytest.raises(ValueError, match="not understood"):
        parse_schedule(text, 8)
