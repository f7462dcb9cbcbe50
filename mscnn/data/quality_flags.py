"""Flags of the fields of a screen, by their measures (pixels/quality.py): which fields should not count.   mscnn check

A field is compared with the control wells by robust z: its distance from their median, in robust standard deviations of
all fields.  The centre is what an untreated field looks like.  The spread has the screen's phenotypes in it: a strong
phenotype alone is no flag.  Intensities are compared within the plate, because staining differs between plates; focus over
the whole screen, because a whole plate can be out of focus.

Shapes: S fields, C channels.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.data.pixels import quality
from mscnn.data.plate_edges import PlateEdge, plate_edges
from mscnn.data.tables.left_out import VOCABULARY, count_flags, listed
from mscnn.data.tables.site_table import SiteTable

BLURRED, SATURATED, DEBRIS, EMPTY, DIM, BRIGHT, EDGE = VOCABULARY
LIMIT = 3.5            # robust z of an outlier (Iglewicz and Hoaglin 1993, "How to detect and handle outliers")
LEAST_SLOPE = 0.15     # robust sd of power slopes, at least: a blur of half a nucleus' radius lowers them by 1.3
LEAST_FOLD = 0.5       # robust sd of log2 intensities, at least: less than 3.4-fold is staining, and no flag
SATURATED_SHARE = 0.01  # from here on the 99th percentile is the end of the range
EMPTY_SHARE = 0.2      # of the usual contrast: a field below it in each channel has no cells on 99 % of its pixels
ENOUGH = 8             # fields of control wells that make a reference; fewer: all fields do


@dataclass(frozen=True)
class ScreenQuality:
    """The flags of a screen's fields."""

    flags: np.ndarray              # (S,) text, names of VOCABULARY joined by ";", "" for none
    edges: tuple[PlateEdge, ...]   # the effect of the rim of each plate where it can be told


def flag_fields(table: SiteTable, measures: pd.DataFrame) -> ScreenQuality:
    """Return the flags of all fields, and the edge effects of plates.

    measures: a row a field, in the table's order, with the columns quality.columns(table.channels).
    """
    plate_S, is_control_S = table.frame["plate"].to_numpy(), table.is_control()
    edges = plate_edges(table.frame["plate"], table.frame["well"], is_control_S, measures)
    on_rim_S = np.zeros(len(table), bool)
    for edge in edges:
        if edge.is_large:
            on_rim_S |= (plate_S == edge.plate) & np.isin(table.frame["well"], edge.wells)
    found = _flags(_by_kind(measures, table.channels), plate_S, is_control_S) | {EDGE: on_rim_S}
    names = [[name for name in VOCABULARY if found[name][site]] for site in range(len(table))]
    return ScreenQuality(np.array([";".join(row) for row in names], dtype=object), edges)


def summary(flags: pd.Series | np.ndarray) -> str:
    """Return one line on flags: 3 of 720 fields flagged: 2 blurred, 1 empty."""
    texts = list(flags)
    flagged = sum(bool(text) for text in texts)
    return f"{flagged:,} of {len(texts):,} fields flagged{listed(count_flags(texts))}"


def _by_kind(measures: pd.DataFrame, channels: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the measures (S, C) of each of quality.KINDS."""
    return {kind: measures[[quality.column(kind, name) for name in channels]].to_numpy(float) for kind in quality.KINDS}


def _flags(of: dict[str, np.ndarray], plate_S: np.ndarray, is_control_S: np.ndarray) -> dict[str, np.ndarray]:
    """Return (S,) bool for each flag of a field alone."""
    everywhere_S = np.zeros(len(plate_S), int)
    contrast_SC = of[quality.HIGH] - of[quality.LOW]
    is_empty_S = np.asarray((contrast_SC <= EMPTY_SHARE * _reference(contrast_SC, plate_S, is_control_S)).all(axis=1))
    slope_SC = _robust_z(of[quality.FOCUS], everywhere_S, is_control_S, LEAST_SLOPE)
    median_SC, high_SC, patch_SC = (_robust_z(np.log2(1 + of[kind]), plate_S, is_control_S, LEAST_FOLD)
                                      for kind in (quality.INTENSITY, quality.HIGH, quality.DEBRIS))
    is_bright_SC = (median_SC > LIMIT) & (high_SC > LIMIT)
    return {
        BLURRED: np.logical_and(_median_of_channels(slope_SC) < -LIMIT, ~is_empty_S),
        SATURATED: np.asarray((of[quality.SATURATED] > SATURATED_SHARE).any(axis=1)),
        DEBRIS: np.logical_and((patch_SC > LIMIT).any(axis=1), ~is_bright_SC.any(axis=1)), EMPTY: is_empty_S,
        DIM: np.logical_and((patch_SC < -LIMIT).any(axis=1), ~is_empty_S), BRIGHT: np.asarray(is_bright_SC.any(axis=1))}


def _robust_z(values_SC: np.ndarray, group_S: np.ndarray, is_control_S: np.ndarray, least: float) -> np.ndarray:
    """Return distances from the reference of the group in robust sds (1.4826 MAD) of all fields, at least `least`."""
    off_SC = values_SC - _reference(values_SC, group_S, is_control_S)
    spread_C = 1.4826 * _median(np.abs(off_SC))
    return off_SC / np.fmax(spread_C, least)


def _reference(values_SC: np.ndarray, group_S: np.ndarray, is_control_S: np.ndarray) -> np.ndarray:
    """Return (S, C) the median of the control fields of each field's group; of all its fields where controls are few."""
    reference_SC = np.empty_like(values_SC)
    for group in pd.unique(group_S):
        own_S = group_S == group
        controls_S = own_S & is_control_S
        reference_SC[own_S] = _median(values_SC[controls_S if controls_S.sum() >= ENOUGH else own_S])
    return reference_SC


def _median(values_SC: np.ndarray) -> np.ndarray:
    """Return the median (C,) of fields that could be measured; NaN where none could."""
    return pd.DataFrame(values_SC).median().to_numpy()


def _median_of_channels(values_SC: np.ndarray) -> np.ndarray:
    """Return the median (S,) of channels that could be measured; 0 where none could."""
    return pd.DataFrame(values_SC).median(axis=1).fillna(0.0).to_numpy()
