"""The distribution of camera counts over a sample of fields, by channel: what a checkpoint holds of its training images.

Exercised by `pytest tests/data/pixels/test_count_statistics.py`.
Shapes: S fields, C channels, K quantities, H W pixels.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mscnn.core.records import Record
from mscnn.data.tables.sampler import Stream

FIELDS = 24                  # fields of a sample, drawn from all: layouts of plates repeat, as even steps would
PIXELS = 2**15               # of a channel of a field, in whole rows spread evenly over it
OVER_FIELDS = (0.05, 0.5, 0.95)  # quantiles over the fields of a sample
LAGS = {"fine": 1, "middle": 4, "coarse": 16}  # pixels along a row
# Of the pixels of one field: the 1 %, 50 % and 99.9 % quantile, range from the first to the last of these, mean and sd, in
# counts; step, the greatest common divisor of differences of counts; tails, the range in sd; asymmetry from -1 to 1, above
# 0 for bright cells on dark; sd of differences between pixels a lag apart, in sd.
QUANTITIES = ("low", "median", "high", "range", "mean", "sd", "step", "tails", "asymmetry", *LAGS)


@dataclass(frozen=True, kw_only=True)
class CountsRecord(Record):
    """Sample type and distribution of camera counts over a sample of fields."""

    dtype: str                                     # "uint8" or "uint16"
    fields: int                                    # measured
    channels: list[dict[str, list[float]]]         # of each channel, {quantity: its quantiles OVER_FIELDS}
    pixel_sizes: list[float]                       # micrometres, those that are known, ascending

    def __post_init__(self):
        for quantities in self.channels:
            if set(quantities) != set(QUANTITIES) or not all(
                    len(values) == len(OVER_FIELDS) and all(map(math.isfinite, values)) for values in quantities.values()):
                raise ValueError(f"has no quantiles {OVER_FIELDS} of {', '.join(QUANTITIES)} for each channel")

    def over_fields(self, quantity: str) -> np.ndarray:
        """Return the quantiles over fields (3, C) of a quantity."""
        return np.array([channel[quantity] for channel in self.channels]).reshape(-1, len(OVER_FIELDS)).T


def sample(sites: np.ndarray) -> list[int]:
    """Return at most FIELDS of the sites, in their order: the same ones at each call."""
    drawn = np.random.default_rng([Stream.COUNTS]).permutation(len(sites))[:FIELDS]
    return sites[np.sort(drawn)].tolist()


def field_statistics(site_CHW: np.ndarray) -> np.ndarray:
    """Return QUANTITIES (C, K) float64 of each channel of a field of camera counts (C, H, W)."""
    step = max(1, -(-site_CHW.shape[1] * site_CHW.shape[2] // PIXELS))
    rows_CrW = site_CHW[:, step // 2::step]
    ordered_Cp = np.sort(rows_CrW.reshape(len(rows_CrW), -1), axis=1)
    places = [int(share * (ordered_Cp.shape[1] - 1)) for share in (0.01, 0.5, 0.999)]
    low_C, median_C, high_C = ordered_Cp[:, places].T.astype(np.float64)
    rows_CrW = rows_CrW.astype(np.float64)
    mean_C, sd_C, range_C = rows_CrW.mean(axis=(1, 2)), rows_CrW.std(axis=(1, 2)), high_C - low_C
    asymmetry_C = np.where(range_C > 0, (high_C + low_C - 2 * median_C) / np.maximum(range_C, 1), 0.0)
    step_C = np.gcd.reduce(np.diff(ordered_Cp, axis=1), axis=1).astype(np.float64)
    unit_C = np.where(sd_C > 0, sd_C, 1.0)
    roughness = [_differences(rows_CrW, lag) / unit_C for lag in LAGS.values()]
    return np.stack([low_C, median_C, high_C, range_C, mean_C, sd_C, step_C, range_C / unit_C, asymmetry_C,
                     *roughness], axis=1)


def summarise(statistics_SCK: np.ndarray, dtype: str, pixel_sizes: Iterable[float]) -> CountsRecord:
    """Return the record of fields whose field_statistics (S, C, K) are given."""
    quantiles_QCK = np.quantile(statistics_SCK, OVER_FIELDS, axis=0)
    channels = [dict(zip(QUANTITIES, quantiles_KQ.tolist(), strict=True))
                for quantiles_KQ in quantiles_QCK.transpose(1, 2, 0)]
    return CountsRecord(dtype=dtype, fields=len(statistics_SCK), channels=channels, pixel_sizes=sorted({*pixel_sizes}))


def _differences(rows_CrW: np.ndarray, lag: int) -> np.ndarray:
    """Return the sd (C,) of differences between pixels that are `lag` apart in a row; 0 where rows are shorter."""
    if rows_CrW.shape[2] <= lag:
        return np.zeros(len(rows_CrW))
    return (rows_CrW[:, :, lag:] - rows_CrW[:, :, :-lag]).std(axis=(1, 2))
