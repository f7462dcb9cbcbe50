"""Fields and scales of a screen's plates, as mscnn.data.pixels.plate_scale measured them."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mscnn.core import csv_safe
from mscnn.data.pixels.plate_scale import PlateScale
from mscnn.data.tables.sampler import evenly_spaced
from mscnn.data.tables.site_table import natural

SHOWN = 12  # plates whose fields are drawn
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")  # Okabe and Ito's, told apart by all


def numbers(intensity: PlateScale) -> pd.DataFrame:
    """What is drawn, a row a plate and channel in the order of weeks: darkest and brightest place, shift and scale."""
    week = intensity.provenance.get("week", {})
    names = intensity.provenance.get("channels") or [f"Channel{c + 1}" for c in range(intensity.field_PChw.shape[1])]
    rows = [{"plate": plate, "week": week.get(plate, ""), "channel": name,
             "darkest": intensity.field_PChw[number, channel].min(),
             "brightest": intensity.field_PChw[number, channel].max(),
             "shift": intensity.shift_PC[number, channel], "scale": intensity.scale_PC[number, channel]}
            for number, plate in enumerate(intensity.plates) for channel, name in enumerate(names)]
    rows.sort(key=lambda row: (natural(row["week"]), natural(row["plate"])))  # stable: channels keep their order
    return pd.DataFrame(rows)


def draw(intensity: PlateScale, path: Path) -> None:
    """Fields of up to 12 plates, a row a channel, over scales and shifts of all plates; the numbers beside it as CSV."""
    table = numbers(intensity)
    with matplotlib.rc_context({"text.parse_math": False}):  # a name may hold a dollar sign
        _figure(intensity, table).savefig(path)
    csv_safe.write_csv(table, path.with_suffix(".csv"))


def _figure(intensity: PlateScale, table: pd.DataFrame) -> Figure:
    plates, names = list(dict.fromkeys(table["plate"])), list(dict.fromkeys(table["channel"]))
    shown = [plates[number] for number in evenly_spaced(len(plates), SHOWN)]
    figure = Figure(figsize=(1.5 + max(1.25 * len(shown), 6), 1.3 * len(names) + 5.2), layout="constrained", dpi=110)
    above, below = figure.subfigures(2, 1, height_ratios=(1.3 * len(names) + 0.6, 4.4))
    _fields(above, intensity, shown, names)
    panels = below.subplots(2, 1, sharex=True)
    for colour, name in zip(COLOURS * len(names), names, strict=False):
        own = table[table["channel"] == name]
        for panel, column in zip(panels, ("scale", "shift"), strict=True):
            panel.plot(range(len(plates)), own[column] / own[column].mean(), color=colour, marker="o", markersize=3,
                       linewidth=1, label=name)
            panel.set_ylabel(f"{column},\nmean of plates = 1")
            panel.axhline(1, color="grey", linewidth=0.6)
    panels[0].legend(ncols=len(names), fontsize=8)
    step = max(1, len(plates) // 24)
    panels[1].set_xticks(range(0, len(plates), step), plates[::step], rotation=60, ha="right", fontsize=7)
    panels[1].set_xlabel(f"plate, in the order of weeks (n = {len(plates)}; {intensity.method.scaling}, "
                         f"transform {intensity.method.transform})")
    figure.suptitle("How do lamp, vignetting and exposure differ between plates?")
    return figure


def _fields(figure, intensity: PlateScale, shown: list[str], names: list[str]) -> None:
    """One range for all fields, so that their colours can be compared."""
    panels = figure.subplots(len(names), len(shown), squeeze=False)
    chosen = intensity.field_PChw[[intensity.plates.index(plate) for plate in shown]]
    reach = max(float(np.abs(chosen - 1).max()), 0.01)
    for column, plate in enumerate(shown):
        for row, name in enumerate(names):
            panel = panels[row, column]
            image = panel.imshow(chosen[column, row], cmap=matplotlib.colormaps["PuOr_r"], vmin=1 - reach, vmax=1 + reach,
                                 aspect=(intensity.size[0] / chosen.shape[2]) / (intensity.size[1] / chosen.shape[3]))
            panel.set(xticks=[], yticks=[], ylabel=name if column == 0 else "")
            if row == 0:
                panel.set_title(plate, fontsize=7)
    figure.colorbar(image, ax=panels, label="light, mean 1", shrink=0.9)
