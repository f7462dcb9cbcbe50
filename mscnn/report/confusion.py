"""Confusion matrices with counts.  `python evaluate.py --checkpoint RUN --out DIR` draws them."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure


def draw(matrices: dict[str, tuple[np.ndarray, list[str]]], title: str, path: Path) -> None:
    """One panel a level side by side: rows the true mechanism, columns the predicted one, shade the row's share.

    matrices: {level: (counts, names)}.
    """
    names = max((names for _, names in matrices.values()), key=len)
    side = 2.2 + 0.55 * len(names)
    figure = Figure(figsize=(side * len(matrices), side + 0.8), layout="constrained", dpi=110)
    for panel, (level, (counts, labels)) in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(),
                                                strict=True):
        _panel(panel, counts, labels, level)
    figure.suptitle(title)
    figure.savefig(path)


def _panel(panel, counts: np.ndarray, labels: list[str], level: str) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    panel.imshow(shares, cmap=matplotlib.colormaps["Blues"], vmin=0, vmax=1)
    positions = range(len(labels))
    panel.set_xticks(positions, labels, rotation=45, ha="right", rotation_mode="anchor")
    panel.set_yticks(positions, [f"{label} ({total})" for label, total in zip(labels, counts.sum(axis=1), strict=True)])
    for row, column in np.argwhere(counts):
        panel.text(column, row, counts[row, column], ha="center", va="center",
                   color="white" if shares[row, column] > 0.6 else "black")
    correct, total = int(np.trace(counts)), int(counts.sum())
    panel.set(title=f"{level}: {correct}/{total} right ({correct / max(total, 1):.1%})",
              xlabel="predicted mechanism", ylabel="true mechanism (number)")
