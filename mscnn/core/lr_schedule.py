"""Learning rate as a pure function of the position in training."""

import math


def parse_schedule(text: str, epochs: int | None = None) -> list[tuple[float, float]]:
    """Read rates that alternate with the epochs at which they end, as in the 8-node recipe.

    "0.008;2;0.032;5;0.001" is 0.008 until epoch 2, 0.032 until epoch 5, then 0.001; "0.01" is constant.  An epoch at the
    end, as in "0.01;20;0.003;30", is the length of the training that the schedule is written for.
    epochs: length of the training at hand, to which such a schedule is stretched; None: as written.
    Returns [(end_epoch, rate), ...], the last end infinite.  Raises ValueError for anything else.
    """
    try:
        numbers = [float(part) for part in text.split(";")]
    except ValueError:
        raise ValueError(_refusal(text)) from None
    rates, ends = numbers[0::2], numbers[1::2]
    length = ends[-1] if len(ends) == len(rates) > 1 else None
    ends = [*(ends if length is None else ends[:-1]), math.inf]
    increasing = all(before < after for before, after in zip([0.0, *ends], ends, strict=False))
    fits = length is None or ends[-2] < length < math.inf
    if len(rates) != len(ends) or not increasing or not fits or not all(0 <= rate < math.inf for rate in rates):
        raise ValueError(_refusal(text))
    stretch = epochs / length if epochs and length else 1.0
    return [(end * stretch, rate) for end, rate in zip(ends, rates, strict=True)]


def as_text(segments: list[tuple[float, float]]) -> str:
    """Return a schedule as parse_schedule reads it, to four digits."""
    return ";".join(f"{rate:.4g}" + (f";{end:.4g}" if end < math.inf else "") for end, rate in segments)


def learning_rate(segments: list[tuple[float, float]], epoch: float) -> float:
    """Learning rate at a true epoch: minibatches taken so far / minibatches in one pass over the training fields."""
    return next(value for end, value in segments if epoch < end)


def _refusal(text: str) -> str:
    return (f"learning rate {text!r} is not understood; give one rate (0.01), or rates and the increasing epochs at "
            "which each ends in turn (0.008;2;0.032;5;0.001)")
