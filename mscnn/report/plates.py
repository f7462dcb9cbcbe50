"""Maps of all plates, wells coloured by mechanism.   mscnn check"""

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mscnn.core import identity
from mscnn.report import palette

FORMATS = ((8, 12), (16, 24), (32, 48))  # rows and columns of plates with 96, 384 and 1,536 wells
MAX_PLATES = 300  # a picture of more would be too large to look at
ACROSS, PLATE_INCHES = 8, 1.9
OTHER, UNKNOWN = "other mechanisms", "not known"


def draw(maps: pd.DataFrame, control: str, path: Path) -> None:
    """Draw all plates in one picture, in the order of the table; the 24 mechanisms in most wells have marks of their own.

    maps: a row per well with plate, row and column from 0, compound, mechanism, fields.
    control: the compound of untreated wells, in any spelling; these wells are grey.
    """
    with matplotlib.rc_context({"text.parse_math": False}):  # a name may hold a dollar sign
        _figure(maps, control).savefig(path)


def _figure(maps: pd.DataFrame, control: str) -> Figure:
    plates = list(dict.fromkeys(maps["plate"]))
    drawn, across = plates[:MAX_PLATES], min(ACROSS, len(plates))
    size = next(size for size in FORMATS if size[0] > maps["row"].max() and size[1] > maps["column"].max())
    marked = _marked(maps, control)
    marks = _marks(marked["mark"], control)
    legend_columns = max(1, across // 2)
    figure = Figure(figsize=(max(PLATE_INCHES * across, 4.5) + 0.4, 0.8 * PLATE_INCHES * -(-len(drawn) // across) + 1.1
                             + 0.17 * -(-len(marks) // legend_columns)), layout="constrained", dpi=120)
    panel = figure.subplots()
    corners = {plate: (number % across * (size[1] + 2), number // across * (size[0] + 3))
               for number, plate in enumerate(drawn)}
    _outlines(panel, corners, size)
    shown = marked[marked["plate"].isin(drawn)]
    x = [corners[plate][0] + column for plate, column in zip(shown["plate"], shown["column"], strict=True)]
    y = [corners[plate][1] + row for plate, row in zip(shown["plate"], shown["row"], strict=True)]
    places = pd.DataFrame({"x": x, "y": y}, index=shown.index)
    diameter = 0.75 * 72 * PLATE_INCHES / (size[1] + 2)  # points
    for mark, style in marks.items():
        wells = places[shown["mark"] == mark]
        panel.scatter(wells["x"], wells["y"], s=diameter**2, linewidths=0.4,
                      label=f"{mark} ({(marked['mark'] == mark).sum():,})", **style)
    left_out = f"; the first {len(drawn)} plates are drawn" if len(drawn) < len(plates) else ""
    figure.suptitle(f"Which mechanism is in which well?\nn = {len(plates):,} plates, {len(maps):,} wells, "
                    f"{maps['fields'].sum():,} fields{left_out}", fontsize=10)
    figure.legend(loc="outside lower center", ncols=legend_columns, fontsize=7, title="mechanism (wells)",
                  title_fontsize=7, frameon=False)
    return figure


def _marked(maps: pd.DataFrame, control: str) -> pd.DataFrame:
    """Return the maps with a column `mark`: what the legend calls a well."""
    mark = maps["mechanism"].replace("", UNKNOWN).mask(identity.is_name(maps["compound"], control), control)
    most = [name for name in mark.value_counts().index if name not in (control, UNKNOWN)]
    return maps.assign(mark=mark.where(~mark.isin(most[palette.MAX_STYLES:]), OTHER))


def _marks(mark: pd.Series, control: str) -> dict[str, dict[str, object]]:
    """Return the style of each mark: mechanisms in alphabetical order, then wells without a mechanism of their own."""
    styles = palette.mechanism_styles([*set(mark) - {control, UNKNOWN, OTHER}])
    marks: dict[str, dict[str, object]] = {name: {"facecolor": colour, "edgecolor": "0.3", "marker": marker}
                                           for name, (colour, marker) in styles.items()}
    rest = {control: {"facecolor": "0.8", "edgecolor": "0.6", "marker": "o"},
            OTHER: {"facecolor": "white", "edgecolor": "0.2", "marker": "D"},
            UNKNOWN: {"facecolor": "none", "edgecolor": "0.6", "marker": "o"}}
    return marks | {name: style for name, style in rest.items() if name in set(mark)}


def _outlines(panel: Axes, corners: dict[str, tuple[int, int]], size: tuple[int, int]) -> None:
    """Draw a frame and a name for each plate; rows and columns are named on the first."""
    rows, columns = size
    for plate, (left, top) in corners.items():
        panel.add_patch(Rectangle((left - 0.7, top - 0.7), columns + 0.4, rows + 0.4, fill=False, edgecolor="0.5", lw=0.5))
        panel.text(left - 0.6, top - 1, plate, fontsize=6, va="bottom")
    last = "AF" if rows > 26 else chr(ord("A") + rows - 1)
    for name, row in (("A", 0), (last, rows - 1)):
        panel.text(-1, row, name, fontsize=5, ha="right", va="center", color="0.3")
    for column in (0, columns - 1):
        panel.text(column, rows, column + 1, fontsize=5, ha="center", va="top", color="0.3")
    panel.set_xlim(-2.5, max(left for left, _ in corners.values()) + columns + 0.5)
    panel.set_ylim(max(top for _, top in corners.values()) + rows + 1, -3)
    panel.set_aspect("equal")
    panel.set_axis_off()
