"""Compare the camera counts of fields with those that a network was trained on, and say what scores must be doubted for.

The limits are wider than the spread over plates, weeks and mechanisms of BBBC021 (docs/faults.md).
Shapes: C channels.
"""

from collections.abc import Sequence

import numpy as np

from mscnn.core.errors import DataError
from mscnn.data.pixels.count_statistics import LAGS, QUANTITIES, CountsRecord
from mscnn.data.tables.pixel_size import SAME

FAR = 2.5          # times the sd of pixels in the brightest or dimmest training fields, from which fields are far from them
FAR_LEVEL = 3.0    # sd of pixels between the median counts of fields and the nearest of training, likewise
UNUSABLE = 32.0    # times the sd of training: no scale of the whole data set leaves an image that the network knows
COARSE = 8         # times the distance between grey levels in training, from which counts are others
LEAST_TURN = 0.2   # asymmetry on both sides of 0 from which images are inverted
BETTER = 1.0       # squared spreads by which another order of channels must fit better, and half the distance
LEAST_SPREAD = 0.03  # of logarithms and ratios over training fields that are all alike
LEAST_SD = 0.5     # counts: what rounding leaves
REMEDY = "give the images as the camera wrote them, or train with --normalise field, which scales each field by itself"
UNKNOWN = "the checkpoint, of an earlier version, holds no counts of its training images: it is not known whether these " \
          "images have their sample type and intensities"


def compare(found: CountsRecord, trained: CountsRecord, channels: Sequence[str], *, is_measured: bool) -> list[str]:
    """Return notes on what differs: sample type, intensities, order of channels, size of pixels; none where all is alike.

    is_measured: the fields are scaled by numbers measured in themselves, which undo another gain or offset.
    Raises DataError for counts that cannot be those of the training under a scale of the whole data set.
    """
    if not is_measured:
        _require_scale(found, trained, channels)
    order = channel_order(found, trained)
    placed = [found.channels[position] for position in order]
    found = CountsRecord(dtype=found.dtype, fields=found.fields, channels=placed, pixel_sizes=found.pixel_sizes)
    notes = [_type_note(found, trained, channels), _order_note(order, channels),
             _intensity_note(found, trained, channels, is_measured=is_measured) or _step_note(found, trained),
             _inverted_note(found, trained, channels), _pixel_size_note(found, trained)]
    return [note for note in notes if note]


def require_depth(dtype: str, level: float) -> None:
    """Raise DataError for 8-bit images where the training had counts that only 16 bits hold.

    level: the largest mean count of a channel in training.
    """
    if dtype == "uint8" and level > np.iinfo(np.uint8).max:
        raise DataError(f"the run was trained on 16-bit counts ({level:,.0f} in the mean of a channel), the fields here "
                        f"are uint8; {REMEDY}")


def require_same_counts(found: CountsRecord, before: CountsRecord, channels: Sequence[str]) -> None:
    """Raise DataError unless the images are those that a training was started with."""
    if found.dtype == before.dtype and all(
            np.allclose(found.over_fields(name), before.over_fields(name), rtol=1e-6) for name in QUANTITIES):
        return
    raise DataError(f"the images are not those that the run was started with: {found.dtype}, then {before.dtype}, "
                    f"{_medians(found, before, channels)}; give the same images, or name a new --run-dir")


def channel_order(found: CountsRecord, trained: CountsRecord) -> list[int]:
    """Return of each training channel the position of the channel here that is most like it; as they are, unless sure."""
    distance_CC = _distances(found, trained)
    as_they_are = list(range(len(distance_CC)))
    if len(as_they_are) < 2 or np.trace(distance_CC) < BETTER:
        return as_they_are
    from scipy.optimize import linear_sum_assignment  # here: it takes a fifth of a second, and is seldom needed

    positions, best = linear_sum_assignment(distance_CC)
    least, own = distance_CC[positions, best].sum(), np.trace(distance_CC)
    is_sure = own - least >= BETTER * _caution(found, trained) and own >= 2 * least
    return best.tolist() if is_sure else as_they_are


def _distances(found: CountsRecord, trained: CountsRecord) -> np.ndarray:
    """Return distances (C, C) of training channels to channels here, in mean squared spreads over training fields."""
    here_KC, (low_KC, there_KC, high_KC) = _appearance(found)[1], _appearance(trained)
    spread_KC = (high_KC - low_KC) / 3.29 + LEAST_SPREAD  # 90 % of a normal distribution span 3.29 sd
    return (((here_KC[:, None] - there_KC[:, :, None]) / spread_KC[:, :, None]) ** 2).mean(axis=0)


def _appearance(record: CountsRecord) -> np.ndarray:
    """Return quantiles over fields (3, K, C) of what tells channels apart: range of counts, tails, and roughness."""
    logarithms = [np.log(np.maximum(record.over_fields(name), 1.0)) for name in ("range", "tails")]
    return np.stack([*logarithms, *(record.over_fields(lag) for lag in LAGS)], axis=1)


def _require_scale(found: CountsRecord, trained: CountsRecord, channels: Sequence[str]) -> None:
    """Raise DataError where the training's scale would make each field a constant, or far brighter than any."""
    require_depth(found.dtype, _median(trained, "mean").max())
    ratio_C = np.maximum(_median(found, "sd"), LEAST_SD) / np.maximum(_median(trained, "sd"), LEAST_SD)
    if ratio_C.max() < 1 / UNUSABLE or ratio_C.min() > UNUSABLE:
        raise DataError(f"the images are {found.dtype}, the network was trained on {trained.dtype}, and their counts have "
                        f"another scale ({_medians(found, trained, channels)}); {REMEDY}")


def _type_note(found: CountsRecord, trained: CountsRecord, channels: Sequence[str]) -> str:
    if found.dtype == trained.dtype:
        return ""
    loss = ": 8-bit copies have lost the scale of the counts and most grey levels" if found.dtype == "uint8" else ""
    return (f"sample type: the images are {found.dtype}, the network was trained on {trained.dtype}{loss} "
            f"({_medians(found, trained, channels)}); score images of the type of the training")


def _step_note(found: CountsRecord, trained: CountsRecord) -> str:
    here, before = _median(found, "step").max(), _median(trained, "step").max()
    return f"grey levels are {here:,.0f} counts apart here, {before:,.0f} in training: counts were multiplied, or are of " \
           "fewer bits; score images as the camera wrote them" if here >= COARSE * max(before, 1) else ""


def _order_note(order: list[int], channels: Sequence[str]) -> str:
    moved = [f"{channels[position]} looks like {name} of the training" for number, (position, name) in
             enumerate(zip(order, channels, strict=True)) if position != number]
    return f"channels seem to be in another order: {', '.join(moved)}; give them in the order " \
           f"{', '.join(channels)}" if moved else ""


def _intensity_note(found: CountsRecord, trained: CountsRecord, channels: Sequence[str], *, is_measured: bool) -> str:
    caution = _caution(found, trained)
    low_C, sd_C, high_C = np.maximum(trained.over_fields("sd"), LEAST_SD)
    own_low_C, own_C, own_high_C = np.maximum(found.over_fields("sd"), LEAST_SD)
    least_C, _, most_C = trained.over_fields("median")
    median_C = _median(found, "median")
    is_far = np.maximum(own_C / high_C, low_C / own_C) > FAR * caution
    is_far |= np.maximum(median_C - most_C, least_C - median_C) > FAR_LEVEL * caution * sd_C
    some = max((own_high_C / high_C).min(), (low_C / own_low_C).min()) > 2 * FAR * caution
    if not is_far.any() and not some:
        return ""
    which = np.flatnonzero(is_far) if is_far.any() else np.arange(len(channels))
    who = "intensities" if is_far.any() else "intensities of some fields"
    parts = [f"{channels[c]} median {median_C[c]:,.0f} counts here, {_median(trained, 'median')[c]:,.0f} in training, "
             f"contrast {own_C[c] / sd_C[c]:.3g} times" for c in which.tolist()]
    return (f"{who} are far from those of the training ({'; '.join(parts)}): is it the same camera and exposure, or "
            "were the counts rescaled? " + ("The scale of each plate or field undoes that, unless grey levels were lost"
                                            if is_measured else "Score images as the camera wrote them"))


def _inverted_note(found: CountsRecord, trained: CountsRecord, channels: Sequence[str]) -> str:
    here_C, there_C = _median(found, "asymmetry"), _median(trained, "asymmetry")
    is_turned = (here_C * there_C < 0) & (np.minimum(abs(here_C), abs(there_C)) > LEAST_TURN)
    names = [channels[c] for c in np.flatnonzero(is_turned).tolist()]
    before, now = ("bright on dark", "dark on bright")[::1 if there_C[is_turned].sum() > 0 else -1]
    return f"images seem inverted: cells are {now} here, {before} in training ({', '.join(names)}); give the images " \
           "as the camera wrote them" if names else ""


def _pixel_size_note(found: CountsRecord, trained: CountsRecord) -> str:
    other = [size for size in found.pixel_sizes
             if all(max(size / known, known / size) > SAME for known in trained.pixel_sizes)]
    return f"pixel size: {_sizes(other)} here, {_sizes(trained.pixel_sizes)} in training, so that cells have another " \
           "size in pixels; score images of the same magnification and binning" if other and trained.pixel_sizes else ""


def _sizes(sizes: Sequence[float]) -> str:
    """Return sizes in micrometres as text."""
    return ", ".join(f"{size:.4g}" for size in sizes) + " µm"


def _median(record: CountsRecord, quantity: str) -> np.ndarray:
    """Return the median over fields (C,) of a quantity."""
    return record.over_fields(quantity)[1]


def _medians(found: CountsRecord, trained: CountsRecord, channels: Sequence[str]) -> str:
    """Return the median counts of each channel, here and in training."""
    pairs = zip(channels, _median(found, "median"), _median(trained, "median"), strict=True)
    return "median counts " + ", ".join(f"{name} {here:,.0f} here and {there:,.0f} in training"
                                        for name, here, there in pairs)


def _caution(found: CountsRecord, trained: CountsRecord) -> float:
    """Return the factor by which limits are wider for few fields, one of which may be odd."""
    return 1 + 1 / min(found.fields, trained.fields)
