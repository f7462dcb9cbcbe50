"""Learning rate as a pure function of the position in training."""

import math


def parse_schedule(text: str) -> list[tuple[float, float]]:
    """Read rates that alternate with the epochs at which they end, as in the 8-node recipe.

    "0.008;2;0.032;5;0.001" is 0.008 until epoch 2, 0.032 until epoch 5, then 0.001; "0.01" is constant.
    Returns [(end_epoch, rate), ...], the last end infinite.  Raises ValueError for anything else.
    """
    try:
        numbers = [float(part) for part in text.split(";")]
    except ValueError:
        raise ValueError(_refusal(text)) from None
    rates, ends = numbers[0::2], [*numbers[1::2], math.inf]
    increasing = all(before < after for before, after in zip([0.0, *ends], ends, strict=False))
    if len(rates) != len(ends) or not increasing or not all(0 <= rate < math.inf for rate in rates):
        raise ValueError(_refusal(text))
    return list(zip(ends, rates, strict=True))


def learning_rate(segments: list[tuple[float, float]], epoch: float) -> float:
    """Learning rate at a true epoch: minibatches taken so far / minibatches in one pass over the training fields."""
    return next(value for end, value in segments if epoch < end)


def _refusal(text: str) -> str:
    return (f"learning rate {text!r} is not understood; give one rate (0.01), or rates and the increasing epochs at "
            "which each ends in turn (0.008;2;0.032;5;0.001)")
