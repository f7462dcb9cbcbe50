"""What the report shows of the quality of images: flags, worst fields, edge effects, distributions.   mscnn report"""

import base64
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mscnn.core import identity
from mscnn.data.leave_out import FLAGS
from mscnn.data.measure_quality import DESCRIBED
from mscnn.data.pixels import quality
from mscnn.data.plate_edges import PlateEdge, plate_edges
from mscnn.data.quality_flags import summary
from mscnn.data.tables.left_out import count_flags
from mscnn.evaluation.quality_file import channels_of
from mscnn.evaluation.results import EvaluationDescription
from mscnn.report import figures, palette

MOST = 20      # rows of a table
CHANNELS = 6   # whose focus is drawn
WIDTH = 4.0    # inches of the picture: it is read on a phone
BINS = 40
SEVERITY = ("empty", "blurred", "debris", "saturated", "dim", "bright", "edge")  # the worst flag first


@dataclass(frozen=True)
class PlateRow:
    """A plate with flagged fields."""

    plate: str
    fields: int
    flagged: int
    flags: dict[str, int]  # fields with each flag


@dataclass(frozen=True)
class FieldRow:
    """A flagged field."""

    plate: str
    well: str
    site: str
    compound: str
    flags: str
    cells: float      # NaN where they are not counted
    focus: float      # median over channels of the slope; NaN where it cannot be measured
    saturated: float  # share, of the channel with most


@dataclass(frozen=True)
class ShownQuality:
    """All that the template shows of the quality of images."""

    summary: str                  # "3 of 720 fields flagged: 2 blurred, 1 empty"
    plates: list[PlateRow]        # with flagged fields, the most first; MOST at most
    num_plates: int               # with flagged fields
    worst: list[FieldRow]         # MOST flagged fields at most
    num_flagged: int
    edges: list[PlateEdge]        # large edge effects, the largest first
    num_judged: int               # plates with enough wells on the rim and within it
    picture: tuple[str, str]      # data URL and words: distributions of cells and focus


def shown(fields: pd.DataFrame | None, description: EvaluationDescription) -> ShownQuality | None:
    """Return what the report shows; None where quality was not measured.

    fields: as quality_file.read returns them.
    """
    if fields is None or not len(fields):
        return None
    is_control = identity.is_name(fields[DESCRIBED["compound"]], description.control).to_numpy()
    edges = plate_edges(fields[DESCRIBED["plate"]], fields[DESCRIBED["well"]], is_control, fields)
    large = sorted((edge for edge in edges if edge.is_large), key=lambda edge: -abs(edge.difference))
    plates, worst = _plates(fields), _worst(fields)
    drawn = base64.b64encode(_distributions(fields).encode()).decode()
    return ShownQuality(summary(fields[FLAGS]), plates[:MOST], len(plates), worst[:MOST], len(worst), large, len(edges),
                        (f"data:image/svg+xml;base64,{drawn}", "distributions of the number of cells and of focus"))


def _plates(fields: pd.DataFrame) -> list[PlateRow]:
    """Return the plates with flagged fields, those with most flagged fields first."""
    rows = [PlateRow(str(plate), len(flags), int((flags != "").sum()), count_flags(flags.tolist()))
            for plate, flags in fields.groupby(DESCRIBED["plate"], sort=False)[FLAGS]]
    return sorted((row for row in rows if row.flagged), key=lambda row: -row.flagged)


def _worst(fields: pd.DataFrame) -> list[FieldRow]:
    """Return all flagged fields: by their worst flag, and by focus among equals."""
    channels = channels_of(fields)
    focus = fields[[quality.column(quality.FOCUS, name) for name in channels]].median(axis=1)
    saturated = fields[[quality.column(quality.SATURATED, name) for name in channels]].max(axis=1)
    table = fields.assign(focus=focus, saturated=saturated)[fields[FLAGS] != ""]
    rank = table[FLAGS].map(lambda flags: min((SEVERITY.index(name) for name in flags.split(";") if name in SEVERITY),
                                              default=len(SEVERITY)))
    table = table.assign(rank=rank).sort_values(["rank", "focus"], kind="stable")
    names = [DESCRIBED[role] for role in ("plate", "well", "site", "compound")]
    table = table[[*names, FLAGS, quality.CELLS, "focus", "saturated"]]
    return [FieldRow(*row) for row in table.itertuples(index=False, name=None)]


def _distributions(fields: pd.DataFrame) -> str:
    """Draw histograms of the number of cells and of each channel's focus, flagged fields apart, as SVG."""
    panels = [(quality.CELLS, "cells of a field")] if fields[quality.CELLS].notna().any() else []
    panels += [(quality.column(quality.FOCUS, name), f"focus of {palette.short(name, 24)}")
               for name in channels_of(fields)[:CHANNELS]]
    is_flagged = (fields[FLAGS] != "").to_numpy()
    with figures.svg(WIDTH, 0.7 + 1.15 * len(panels)) as (figure, drawn):
        for axes, (name, title) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
            _histogram(axes, fields[name].to_numpy(float), is_flagged, title)
        figure.suptitle(f"Which fields stand apart? ({len(fields):,} fields)", fontsize=10)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, ncols=2,
                      loc="outside lower center")
    return drawn.getvalue()


def _histogram(axes: Axes, values: np.ndarray, is_flagged: np.ndarray, title: str) -> None:
    known = np.isfinite(values)
    edges = np.histogram_bin_edges(values[known], BINS) if known.any() else np.array([0.0, 1.0])
    axes.hist([values[known & ~is_flagged], values[known & is_flagged]], edges, stacked=True,
              color=[palette.LINES[0], palette.LINES[5]], label=["not flagged", "flagged"])
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:,.0f}")  # not as powers, which need mathematics
    axes.set_xlabel(title, fontsize=8)
    axes.set_ylabel("fields", fontsize=8)
    axes.tick_params(labelsize=7)
