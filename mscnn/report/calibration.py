"""Reliability of probabilities: a panel per level, as `mscnn report` shows it.   pytest tests/report/test_calibration.py"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mscnn.evaluation.calibration import Calibration
from mscnn.report import figures, palette

LIMITS = (-0.03, 1.03)


def reliability(levels: dict[str, Calibration]) -> str:
    """Draw as SVG the share right against the confidence, a panel per level, above the number of predictions."""
    return figures.to_svg(figure(levels))


def figure(levels: dict[str, Calibration]) -> Figure:
    """Return the figure that `reliability` draws."""
    drawn = Figure(figsize=(4.5 * len(levels), 4.6), layout="constrained", dpi=110)
    panels = drawn.subplots(2, len(levels), squeeze=False, sharex=True, height_ratios=[3, 1])
    for column, (level, found) in enumerate(levels.items()):
        _curve(panels[0, column], level, found)
        _counts(panels[1, column], level, found)
    drawn.suptitle("Are predictions right as often as their probability says?", fontsize=11)
    return drawn


def _curve(panel: Axes, level: str, found: Calibration) -> None:
    confidence, right = [each.confidence for each in found.bins], [each.right for each in found.bins]
    panel.plot([0, 1], [0, 1], color=palette.GREY, linewidth=1, label="calibrated")
    panel.plot(confidence, right, color=palette.NETWORK, linewidth=1.2, marker="o", markersize=5, label=level)
    panel.axhline(found.accuracy, color=palette.LINES[1], linewidth=1, linestyle="--", label="right, of all")
    panel.set_title(f"{found.total:,} {level} of {found.compounds:,} compounds: {found.accuracy:.0%} right,\n"
                    f"mean confidence {found.confidence:.0%}, expected calibration error {found.error:.3f}", fontsize=9)
    panel.set(ylabel="right", xlim=LIMITS, ylim=LIMITS)
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.legend(fontsize=8, frameon=False, loc="upper left")


def _counts(panel: Axes, level: str, found: Calibration) -> None:
    panel.bar([each.low for each in found.bins], [each.count for each in found.bins], color=palette.NETWORK, align="edge",
              width=[each.high - each.low for each in found.bins], edgecolor="white", linewidth=0.5)
    panel.set(xlabel="confidence: probability of the predicted mechanism", ylabel=level)
    panel.xaxis.set_major_formatter(PercentFormatter(1))
    panel.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
