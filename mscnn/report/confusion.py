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


def draw_confusion(folder: Path) -> None:
    """Draw confusion.png into an evaluation folder, from its tables, unless no field was scored.

    Raises DataError where the folder holds no finished evaluation.
    """
    scores = results.read_scores(folder).by_level()
    if scores["fields"].total:
        draw({level: scoring.confusion(results.read_table(folder, level)) for level in LEVELS if scores[level].total},
             TITLE, folder / results.CONFUSION)


def draw(matrices: dict[str, pd.DataFrame], title: str, path: Path) -> None:
    """Draw a panel per level, side by side: counts with the true mechanism down and the predicted mechanism across.

    The shade is the share of the row.  matrices: {level: counts}.
    """
    with matplotlib.rc_context({"text.parse_math": False}):  # a name may hold a dollar sign
        figure(matrices, title).savefig(path)


def figure(matrices: dict[str, pd.DataFrame], title: str) -> Figure:
    """Return the figure that `draw` saves; names may hold a dollar sign only where text.parse_math is False."""
    rows, columns = (max(matrix.shape[axis] for matrix in matrices.values()) for axis in (0, 1))
    drawn = Figure(figsize=((2.8 + 0.6 * columns) * len(matrices), 2.7 + 0.5 * rows), layout="constrained", dpi=110)
    panels = drawn.subplots(1, len(matrices), squeeze=False)[0]
    for panel, (level, counts) in zip(panels, matrices.items(), strict=True):
        _panel(panel, counts, level)
    drawn.suptitle(title)
    return drawn


def _panel(panel: Axes, matrix: pd.DataFrame, level: str) -> None:
    counts = matrix.to_numpy()
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals[:, None], 1)
    panel.imshow(shares, cmap=matplotlib.colormaps[palette.SHARE_MAP], vmin=0, vmax=1)
    panel.set_xticks(range(counts.shape[1]), matrix.columns, rotation=35, ha="right", rotation_mode="anchor")
    labels = [f"{name} ({total})" for name, total in zip(matrix.index, totals, strict=True)]
    panel.set_yticks(range(counts.shape[0]), labels)
    for row, column in np.argwhere(counts):
        panel.text(column, row, counts[row, column], ha="center", va="center",
                   color="white" if shares[row, column] > 0.6 else "black")
    correct = sum(matrix.loc[name, name] for name in matrix.index)
    panel.set(title=f"{level}: {correct}/{totals.sum()} right ({correct / totals.sum():.1%})",
              xlabel="predicted", ylabel="true (number)")
