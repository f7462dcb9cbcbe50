"""Confusion matrices with counts.   python evaluate.py --checkpoint RUN --out DIR"""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mscnn.evaluation import results, scoring
from mscnn.report import palette

TITLE = "Which mechanism is taken for which?"
LEVELS = ("fields", "treatments")
NAME, SHORT = 60, 18  # letters of a mechanism, in a large and in a small figure
MOST = 30  # mechanisms that are drawn; a picture of more could not be read, and takes minutes and gigabytes


def draw_confusion(folder: Path) -> None:
    """Draw confusion.png into an evaluation folder, from its tables, unless no field was scored.

    Raises DataError where the folder holds no finished evaluation.
    """
    scores = results.read_scores(folder).by_level()
    if scores["fields"].total:
        control = results.read_description(folder).control
        draw({level: scoring.confusion(results.read_table(folder, level), control) for level in LEVELS
              if scores[level].total}, TITLE, folder / results.CONFUSION)


def draw(matrices: dict[str, pd.DataFrame], title: str, path: Path) -> None:
    """Draw a panel per level, side by side: counts with the true mechanism down and the predicted mechanism across.

    The shade is the share of the row.  matrices: {level: counts}.
    """
    with matplotlib.rc_context({"text.parse_math": False}):  # a name may hold a dollar sign
        figure(matrices, title).savefig(path)


def figure(matrices: dict[str, pd.DataFrame], title: str, *, small: bool = False) -> Figure:
    """Return the figure that `draw` saves; names may hold a dollar sign only where text.parse_math is False.

    Of more than MOST mechanisms those with most rows are drawn, the others together as one.  small: of a page that
    telephones show; names are cut.
    """
    right = {level: sum(counts.loc[name, name] for name in counts.index) for level, counts in matrices.items()}
    matrices = {level: bounded(counts) for level, counts in matrices.items()}
    rows, columns = (max(matrix.shape[axis] for matrix in matrices.values()) for axis in (0, 1))
    size = (max(3.2, 1.5 + 0.3 * columns), 2.3 + 0.3 * rows) if small else (
        (2.8 + 0.6 * columns) * len(matrices), 2.7 + 0.5 * rows)
    drawn = Figure(figsize=size, layout="constrained", dpi=110)
    panels = drawn.subplots(1, len(matrices), squeeze=False)[0]
    for panel, (level, counts) in zip(panels, matrices.items(), strict=True):
        _panel(panel, counts, level, right[level], SHORT if small else NAME, 90 if small else 35)
    drawn.suptitle("\n".join([title, *(panel.get_title() for panel in panels)]) if small else title)
    if small:  # the title of a panel would be wider than the panel
        panels[0].set_title("")
    return drawn


def bounded(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of the MOST mechanisms with most rows or predictions, in order, and of all others together."""
    weight = counts.sum(axis=1).add(counts.sum(axis=0), fill_value=0).sort_values(ascending=False, kind="stable")
    if len(weight) <= MOST:
        return counts
    kept, others = set(weight.index[:MOST - 1]), f"{len(weight) - MOST + 1} other mechanisms"
    grouped = [np.array([name if name in kept else others for name in names]) for names in (counts.index, counts.columns)]
    summed = counts.groupby(grouped[0]).sum().T.groupby(grouped[1]).sum().T
    rows, columns = ([name for name in names if name != others] + [others] * (others in names)
                     for names in (summed.index, summed.columns))
    return summed.loc[rows, columns]


def _panel(panel: Axes, matrix: pd.DataFrame, level: str, correct: int, letters: int, rotation: int) -> None:
    counts = matrix.to_numpy()
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals[:, None], 1)
    panel.imshow(shares, cmap=matplotlib.colormaps[palette.SHARE_MAP], vmin=0, vmax=1)
    names = [palette.short(name, letters) for name in matrix.columns]
    panel.set_xticks(range(counts.shape[1]), names, rotation=rotation, ha="right", va="center" if rotation == 90 else "top",
                     rotation_mode="anchor")
    labels = [f"{palette.short(name, letters)} ({total})" for name, total in zip(matrix.index, totals, strict=True)]
    panel.set_yticks(range(counts.shape[0]), labels)
    for row, column in np.argwhere(counts):
        panel.text(column, row, counts[row, column], ha="center", va="center", in_layout=False,  # it lies within its cell
                   color="white" if shares[row, column] > 0.6 else "black")
    panel.set(title=f"{level}: {correct}/{totals.sum()} right ({correct / totals.sum():.1%})",
              xlabel="predicted", ylabel="true (number)")
