"""Fields as colour composites: first channel blue, second green, third red.   mscnn synth"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def composite(site_CHW: np.ndarray) -> np.ndarray:
    """Compose counts (C, H, W) of up to 3 channels to (H, W, 3) in 0..1, each stretched between its 1 % and 99.7 %."""
    low, high = np.percentile(site_CHW, [1, 99.7], axis=(1, 2), keepdims=True)
    stretched = np.clip((site_CHW - low) / np.maximum(high - low, 1), 0, 1)
    padded = np.concatenate([stretched, np.zeros((3 - len(stretched), *stretched.shape[1:]))])
    return padded[::-1].transpose(1, 2, 0)


def draw_overview(rows: dict[str, list[tuple[str, np.ndarray]]], title: str, path: Path) -> None:
    """Draw a grid of composites. rows: {row's name: [(caption, site (C, H, W)), ...]}."""
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(1.9 * columns + 1.2, 2.15 * len(rows) + 0.5), layout="constrained", dpi=100)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for (name, row), line in zip(rows.items(), panels, strict=True):
        for (caption, site_CHW), panel in zip(row, line, strict=False):
            panel.imshow(composite(site_CHW), interpolation="nearest")
            panel.set_title(caption, fontsize=7)
        line[0].text(-0.06, 0.5, name, transform=line[0].transAxes, rotation=90, ha="right", va="center", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)
