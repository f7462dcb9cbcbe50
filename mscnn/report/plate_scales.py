"""Pictures of the illumination fields, shifts and scales of a screen's plates.   python train.py --normalise plate"""

import itertools
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mscnn.core import csv_safe
from mscnn.data.pixels.plate_scale import PlateScale
from mscnn.data.tables.sampler import evenly_spaced
from mscnn.data.tables.site_table import natural
from mscnn.report import palette

SHOWN = 12  # plates whose fields are drawn


def numbers(scale: PlateScale) -> pd.DataFrame:
    """Return the numbers that are drawn: a row per plate and channel, in the order of weeks.

    Columns: plate, week, channel; darkest and brightest place of the field, mean 1; shift in counts; scale.
    """
    week = scale.provenance.week
    names = scale.provenance.channels or [f"Channel{c + 1}" for c in range(scale.field_PChw.shape[1])]
    rows = [{"plate": plate, "week": week.get(plate, ""), "channel": name,
             "darkest": scale.field_PChw[number, channel].min(),
             "brightest": scale.field_PChw[number, channel].max(),
             "shift": scale.shift_PC[number, channel], "scale": scale.scale_PC[number, channel]}
            for number, plate in enumerate(scale.plates) for channel, name in enumerate(names)]
    rows.sort(key=lambda row: (natural(row["week"]), natural(row["plate"])))  # stable: channels keep their order
    return pd.DataFrame(rows)


def draw_plate_scales(scale: PlateScale, path: Path) -> None:
    """Draw the fields of up to 12 plates, a row per channel, over scales and shifts of all plates; save the numbers as CSV.

    path: of the picture; the CSV has the same name but for its ending.
    """
    table = numbers(scale)
    with matplotlib.rc_context({"text.parse_math": False}):  # a name may hold a dollar sign
        _figure(scale, table).savefig(path)
    csv_safe.write_csv(table, path.with_suffix(".csv"))


def _figure(scale: PlateScale, table: pd.DataFrame) -> Figure:
    plates, names = list(dict.fromkeys(table["plate"])), list(dict.fromkeys(table["channel"]))
    shown = [plates[number] for number in evenly_spaced(len(plates), SHOWN)]
    figure = Figure(figsize=(1.5 + max(1.25 * len(shown), 6), 1.3 * len(names) + 5.2), layout="constrained", dpi=110)
    above, below = figure.subfigures(2, 1, height_ratios=(1.3 * len(names) + 0.6, 4.4))
    _fields(above, scale, shown, names)
    panels = below.subplots(2, 1, sharex=True)
    for colour, name in zip(itertools.cycle(palette.LINES), names, strict=False):
        rows_of_channel = table[table["channel"] == name]
        for panel, column in zip(panels, ("scale", "shift"), strict=True):
            values = rows_of_channel[column]
            panel.plot(range(len(plates)), values / values.mean(), color=colour, marker="o", markersize=3,
                       linewidth=1, label=name)
            panel.set_ylabel(f"{column},\nmean of plates = 1")
            panel.axhline(1, color=palette.GREY, linewidth=0.6)
    panels[0].legend(ncols=len(names), fontsize=8)
    step = max(1, len(plates) // 24)
    panels[1].set_xticks(range(0, len(plates), step), plates[::step], rotation=60, ha="right", fontsize=7)
    panels[1].set_xlabel(f"plate, in the order of weeks (n = {len(plates)}; {scale.method.scaling}, "
                         f"transform {scale.method.transform})")
    figure.suptitle("How do lamp, vignetting and exposure differ between plates?")
    return figure


def _fields(figure, scale: PlateScale, shown: list[str], names: list[str]) -> None:
    """Draw the fields with one range of colours for all, so that they can be compared."""
    panels = figure.subplots(len(names), len(shown), squeeze=False)
    chosen = scale.field_PChw[[scale.plates.index(plate) for plate in shown]]
    reach = max(float(np.abs(chosen - 1).max()), 0.01)
    for column, plate in enumerate(shown):
        for row, name in enumerate(names):
            panel = panels[row, column]
            image = panel.imshow(chosen[column, row], cmap=matplotlib.colormaps[palette.LIGHT_MAP], vmin=1 - reach,
                                 vmax=1 + reach,
                                 aspect=(scale.size[0] / chosen.shape[2]) / (scale.size[1] / chosen.shape[3]))
            panel.set(xticks=[], yticks=[], ylabel=name if column == 0 else "")
            if row == 0:
                panel.set_title(plate, fontsize=7)
    figure.colorbar(image, ax=panels, label="light, mean 1", shrink=0.9)
