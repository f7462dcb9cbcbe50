"""Fields as colour composites: first channel blue, second green, third red.   mscnn synth"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mscnn.report import palette


def composite(site_CHW: np.ndarray) -> np.ndarray:
    """Compose counts (C, H, W) of up to 3 channels to (H, W, 3) in 0..1, each stretched between its 1 % and 99.7 %."""
    low, high = np.percentile(site_CHW, [1, 99.7], axis=(1, 2), keepdims=True)
    stretched = np.clip((site_CHW - low) / np.maximum(high - low, 1), 0, 1)
    padded = np.concatenate([stretched, np.zeros((3 - len(stretched), *stretched.shape[1:]))])
    return padded[::-1].transpose(1, 2, 0)


def planes(channels: Sequence[str]) -> list[list[int | None]]:
    """Return of each composite the channels in its red, green and blue: three channels a composite, None for black.

    DNA is blue, tubulin green and actin red where all of the three have such names; else the first is blue, the second
    green and the third red.
    """
    found = []
    for start in range(0, len(channels), 3):
        names = [name.casefold() for name in channels[start:start + 3]]
        is_named = set(names) <= set(palette.CHANNEL_PLANES) and len(set(names)) == len(names)
        places = [palette.CHANNEL_PLANES[name] for name in names] if is_named else [2, 1, 0][:len(names)]
        found.append([start + places.index(plane) if plane in places else None for plane in range(3)])
    return found


def compose(shown_CHW: np.ndarray, channels_3: Sequence[int | None]) -> np.ndarray:
    """Return channels in 0..1 as (H, W, 3) uint8. channels_3: those in red, green and blue, None for black."""
    picture = np.zeros((*shown_CHW.shape[1:], 3), np.uint8)
    for plane, channel in enumerate(channels_3):
        if channel is not None:
            picture[..., plane] = np.rint(255 * shown_CHW[channel])
    return picture


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
