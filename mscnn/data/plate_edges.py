"""The edge effect of a plate: whether the wells at its rim differ from the inner ones.   mscnn check

Evaporation and temperature change the number of cells and their staining at the rim (Lundholt et al. 2003, J. Biomol.
Screen. 8, 566-570, "A simple technique for reducing edge effect in cell-based assays").

Shapes: P permutations, W wells, M measures.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.data.pixels import quality
from mscnn.data.tables.site_table import natural
from mscnn.data.tables.wells import well_place

FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))  # rows, columns of plates of 6 to 1,536 wells
FEWEST = 6           # wells on the rim, and within it, between which a difference can be told from chance
PERMUTATIONS = 999
SIGNIFICANT = 0.01   # largest p-value
LARGE = 1.5          # least difference in robust sds of wells: a quarter fewer cells where wells vary by a sixth
_STREAM = 6001       # key of the random stream


@dataclass(frozen=True)
class PlateEdge:
    """The effect of a plate's rim on the measure that it changes most."""

    plate: str
    measure: str              # its column: Quality_Cells, or Quality_P99_<channel>
    difference: float         # median of the rim's wells minus that of the inner ones, in robust sds within the two
    p_value: float            # share of permutations of the wells with as large an effect on any measure
    compared: str             # "control" or "treated" wells
    wells: tuple[str, ...]    # all on the rim

    @property
    def is_large(self) -> bool:
        """Whether it is beyond chance, and large enough to matter."""
        return self.p_value <= SIGNIFICANT and abs(self.difference) >= LARGE


def plate_edges(plates: pd.Series, wells: pd.Series, is_control: np.ndarray,
                measures: pd.DataFrame) -> tuple[PlateEdge, ...]:
    """Return the effect of each plate's rim, where enough wells are on it and within it.

    Control wells are compared, or else treated wells: the ones with the others would mix the effect with the treatment's.
    Treated wells tell the effect of the rim where treatments are placed at random.
    plates, wells, is_control, measures: of each field, in the same order.
    """
    start = (quality.CELLS, quality.column(quality.HIGH, ""))
    names = [name for name in map(str, measures) if name.startswith(start)]
    fields = measures[names].assign(plate=plates.to_numpy(), well=wells.to_numpy(), control=is_control)
    means = fields.groupby(["plate", "well"], sort=False).mean().reset_index()
    places = [well_place(str(well)) for well in means["well"]]
    means = means[[place is not None for place in places]]
    if not len(means):
        return ()
    rim_W = on_rim(np.array([place for place in places if place is not None]))
    means = means.assign(rim=rim_W, control=means["control"] > 0)
    edges = [_edge(str(plate), of_plate, names) for plate, of_plate in means.groupby("plate", sort=False)]
    return tuple(sorted(filter(None, edges), key=lambda edge: natural(edge.plate)))


def on_rim(places_W2: np.ndarray) -> np.ndarray:
    """Return (W,) bool, true for wells on the rim of the smallest plate format that has all these places.

    places_W2: row and column from 0.
    """
    rows, columns = next(size for size in FORMATS if (places_W2.max(axis=0) < size).all())
    return ((places_W2 == 0) | (places_W2 == (rows - 1, columns - 1))).any(axis=1)


def _edge(plate: str, wells: pd.DataFrame, names: list[str]) -> PlateEdge | None:
    """Return the effect of a plate's rim; None where wells are too few, or alike."""
    for kind, compared in (("control", wells[wells["control"]]), ("treated", wells[~wells["control"]])):
        rim_W = compared["rim"].to_numpy()
        if min(rim_W.sum(), (~rim_W).sum()) < FEWEST:
            continue
        values_WM = compared[names].to_numpy(float)
        spread_M = _spread(values_WM)
        usable_M = np.isfinite(spread_M) & (spread_M > 0)
        if usable_M.any():
            values_WM = values_WM[:, usable_M] / spread_M[usable_M]
            differences_M, p_value = _permuted(values_WM, rim_W)
            largest = int(np.abs(differences_M).argmax())
            within = values_WM[:, largest] - np.where(rim_W, differences_M[largest], 0)
            difference = float(differences_M[largest] / (_spread(within) or 1.0))
            return PlateEdge(plate, str(np.array(names)[usable_M][largest]), difference, p_value, kind,
                             tuple(wells.loc[wells["rim"], "well"]))
    return None


def _spread(values_WM: np.ndarray) -> np.ndarray:
    """Return the robust sd (M,) of each measure: 1.4826 MAD."""
    return 1.4826 * np.median(np.abs(values_WM - np.median(values_WM, axis=0)), axis=0)


def _permuted(values_WM: np.ndarray, rim_W: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the differences (M,) of medians, rim minus inside, and the p-value of the largest among all measures.

    The p-value holds for all measures together: the largest of a permutation is compared (Westfall and Young 1993).
    """
    def differences(values_XWM: np.ndarray) -> np.ndarray:
        return np.median(values_XWM[..., rim_W, :], axis=-2) - np.median(values_XWM[..., ~rim_W, :], axis=-2)

    found_M, rng = differences(values_WM), np.random.default_rng(_STREAM)
    orders_PW = rng.permuted(np.tile(np.arange(len(rim_W)), (PERMUTATIONS, 1)), axis=1)
    largest_P = np.abs(differences(values_WM[orders_PW])).max(axis=1)
    return found_M, float((1 + (largest_P >= np.abs(found_M).max() - 1e-9).sum()) / (1 + PERMUTATIONS))
