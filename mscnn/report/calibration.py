"""Reliability of probabilities: a picture per level.     pytest tests/report/test_calibration.py"""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mscnn.core import words
from mscnn.evaluation.calibration import Calibration
from mscnn.report import figures, palette

LIMITS = (-0.03, 1.03)


def reliability(levels: dict[str, Calibration]) -> dict[str, str]:
    """Draw {level: SVG} of the share right against the confidence, above the number of predictions."""
    drawn = {}
    for level, found in levels.items():
        with matplotlib.rc_context(figures.STYLE):
            drawn[level] = figures.to_svg(figure(level, found))
    return drawn


def figure(level: str, found: Calibration) -> Figure:
    """Return the figure that `reliability` draws of a level."""
    drawn = Figure(figsize=(figures.WIDTH, 4.2), layout="constrained")
    curve, counts = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _curve(curve, level, found)
    _counts(counts, level, found)
    drawn.suptitle("Are predictions right as often as\ntheir probability says?")
    return drawn


def _curve(panel: Axes, level: str, found: Calibration) -> None:
    confidence, right = [each.confidence for each in found.bins], [each.right for each in found.bins]
    panel.plot([0, 1], [0, 1], color=palette.GREY, linewidth=1, label="calibrated")
    panel.plot(confidence, right, color=palette.NETWORK, linewidth=1.2, marker="o", markersize=5, label=level)
    panel.axhline(found.accuracy, color=palette.LINES[1], linewidth=1, linestyle="--", label="right, of all")
    panel.set_title(f"{found.total:,} {level} of {words.counted(found.compounds, 'compound')}: "
                    f"{found.accuracy:.0%} right,\n"
                    f"mean confidence {found.confidence:.0%}, calibration error {found.error:.3f}", fontsize=8)
    panel.set(ylabel="right", xlim=LIMITS, ylim=LIMITS)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.legend(frameon=False, loc="lower right")


def _counts(panel: Axes, level: str, found: Calibration) -> None:
    panel.bar([each.low for each in found.bins], [each.count for each in found.bins], color=palette.NETWORK, align="edge",
              width=[each.high - each.low for each in found.bins], edgecolor="white", linewidth=0.5)
    panel.set(xlabel="confidence: probability of the prediction", ylabel=level)
    panel.xaxis.set_major_formatter(PercentFormatter(1))
    panel.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
