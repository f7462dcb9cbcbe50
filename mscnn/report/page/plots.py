"""The two plots of the page as models of Bokeh; scripts of the page fill them.

Bokeh and not Vega-Lite, which evaluates expressions and so needs `unsafe-eval` or an interpreter of its own, and not
Plotly, whose library takes 4.8 MB of each page; Bokeh's takes 1.3 MB and runs under a policy of hashes alone.
"""

from typing import Any

import numpy as np
from bokeh.embed import json_item
from bokeh.models import (
    BoxSelectTool,
    ColumnDataSource,
    HoverTool,
    LassoSelectTool,
    PanTool,
    Range1d,
    ResetTool,
    TapTool,
    WheelZoomTool,
)
from bokeh.plotting import figure

# Bokeh's markers for those of palette.MARKERS, which are matplotlib's.
MARKERS = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle", "v": "inverted_triangle", "P": "plus", "X": "hex",
           "*": "star"}
INK, PALE, EMPTY = "#1f2933", "#d5dae0", "#f4f5f7"


def plate(rows: int, columns: int, prefix: str) -> dict[str, Any]:
    """Return the heat map of a plate as JSON; its sources are <prefix>wells, -controls, -flags and -chosen."""
    drawn = figure(name=f"{prefix}plate", aspect_ratio=(columns + 1.6) / (rows + 1.8), sizing_mode="stretch_width",
                   min_height=180, x_range=Range1d(0.4, columns + 0.6), y_range=Range1d(rows + 0.6, 0.4),
                   x_axis_location="above", tools="", toolbar_location=None, output_backend="canvas")
    names = ("wells", "controls", "flags", "chosen")
    wells, controls, flags, chosen = (ColumnDataSource({"x": [], "y": [], **({"colour": []} if name == "wells" else {})},
                                                       name=f"{prefix}{name}") for name in names)
    places = [(column + 1, row + 1) for row in range(rows) for column in range(columns)]
    drawn.rect(*zip(*places, strict=True), width=0.9, height=0.9, fill_color=EMPTY, line_color=None)
    cells = drawn.rect("x", "y", source=wells, width=0.9, height=0.9, fill_color="colour", line_color=None)
    drawn.scatter("x", "y", source=controls, marker="circle", size=4, fill_color="white", line_color=INK)
    drawn.scatter("x", "y", source=flags, marker="triangle", size=6, fill_color="white", line_color=INK)
    drawn.rect("x", "y", source=chosen, width=1, height=1, fill_color=None, line_color="white", line_width=5)
    drawn.rect("x", "y", source=chosen, width=1, height=1, fill_color=None, line_color="black", line_width=2.5)
    _quiet(drawn, cells)
    drawn.add_tools(TapTool(renderers=[cells]), HoverTool(renderers=[cells], tooltips=None))
    step = max(1, columns // 24)
    drawn.xaxis.ticker = [*range(1, columns + 1, step)]
    drawn.yaxis.ticker = [*range(1, rows + 1, step)]
    drawn.yaxis.major_label_overrides = {row + 1: _letters(row) for row in range(rows)}
    drawn.grid.visible = False
    return dict(json_item(drawn))


def scatter(prefix: str, places_T2: np.ndarray) -> dict[str, Any]:
    """Return the map of treatments as JSON; its sources are <prefix>treatments and -mark.

    places_T2: those that are shown first; ranges of a plot that opens empty are a warning of Bokeh.
    """
    drawn = figure(name=f"{prefix}map", aspect_ratio=1.35, sizing_mode="stretch_width", min_height=260, tools="",
                   toolbar_location="above", output_backend="canvas")
    x, y = ([float(values.min()), float(values.max())] if len(values) else [] for values in places_T2.T)
    source = ColumnDataSource({"x": x, "y": y, "colour": [PALE] * len(x), "marker": ["circle"] * len(x),
                               "alpha": [0] * len(x)}, name=f"{prefix}treatments")
    mark = ColumnDataSource({"x": [], "y": []}, name=f"{prefix}mark")
    points = drawn.scatter("x", "y", source=source, marker="marker", size=8, fill_color="colour", line_color="white",
                           line_width=0.5, fill_alpha="alpha", line_alpha="alpha")
    drawn.scatter("x", "y", source=mark, marker="circle", size=17, fill_color=None, line_color="black", line_width=2.5)
    _quiet(drawn, points)
    box = BoxSelectTool(renderers=[points])
    drawn.add_tools(box, LassoSelectTool(renderers=[points]), PanTool(), WheelZoomTool(), ResetTool(),
                    TapTool(renderers=[points]), HoverTool(renderers=[points], tooltips=None))
    drawn.toolbar.active_drag = box
    drawn.grid.grid_line_color = "#eef0f3"
    return dict(json_item(drawn))


def _quiet(drawn: figure, renderer: Any) -> None:
    """Leave out what distracts: logo, frames, and the fading of what is not selected, which scripts do."""
    renderer.selection_glyph = renderer.nonselection_glyph = None
    drawn.toolbar.logo = None
    drawn.outline_line_color = None
    drawn.axis.axis_line_color = PALE
    drawn.axis.major_tick_line_color = drawn.axis.minor_tick_line_color = None
    drawn.axis.major_label_text_font_size = "10px"
    drawn.axis.axis_label_text_font_size = "11px"
    drawn.axis.axis_label_text_font_style = "normal"
    drawn.axis.major_label_text_color = drawn.axis.axis_label_text_color = "#44505c"


def _letters(row: int) -> str:
    return ("A" if row > 25 else "") + chr(ord("A") + row % 26)
