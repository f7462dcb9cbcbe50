"""Pictures of the report as SVG; each answers the question in its title."""

import io
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from mscnn.core import words
from mscnn.core.logs import TRAIN
from mscnn.evaluation.scoring import Score
from mscnn.report import confusion, palette
from mscnn.report.page.places import Projection
from mscnn.report.run import Fold

CURVES = 40       # learning curves that are drawn
DOTS = 2000       # treatments of a map above which its dots are pixels
LABELS = palette.MAX_STYLES  # mechanisms that a legend names
WIDTH = 3.7       # inches of a picture: 355 pixels of a page, which fit on a telephone
STYLE = {"text.parse_math": False, "font.size": 8, "axes.titlesize": 9, "axes.labelsize": 8, "xtick.labelsize": 8,
         "ytick.labelsize": 8, "legend.fontsize": 8, "figure.titlesize": 9}
NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # letters that no XML may hold; a name may


def compared(bars: list[tuple[str, Score, str]], level: str) -> str:
    """Draw the share right of the network and of baselines, with intervals. bars: (name, score, colour)."""
    with svg(0.9 + 0.36 * len(bars)) as (figure, drawn):
        axes = figure.subplots()
        for place, (name, score, colour) in enumerate(reversed(bars)):
            share = score.correct / score.total
            axes.barh(place, share, color=colour, height=0.36)
            if score.interval:
                axes.plot([score.interval.low, score.interval.high], [place, place], color="black", linewidth=1.2)
            axes.text(0.005, place + 0.22, f"{palette.short(name, 42)}: {score.correct}/{score.total}", va="bottom")
        axes.set(xlim=(0, 1), ylim=(-0.4, len(bars) - 0.2), yticks=[])
        axes.set_title(f"How many {level} are right?\n(line: 95 % interval over compounds)")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    return drawn.getvalue()


def confusions(matrices: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Draw {level: picture}, each level by itself; a picture of many mechanisms is wider than others."""
    drawn = {}
    for level, matrix in matrices.items():
        with matplotlib.rc_context(STYLE):
            drawn[level] = to_svg(confusion.figure({level: matrix}, confusion.TITLE, small=True))
    return drawn


def doses(wells: pd.DataFrame, styles: dict[str, tuple[str, str]], most: int, unit: str) -> dict[tuple[str, str], str]:
    """Draw {(mechanism, compound): picture}: probability of a mechanism against concentration, of `most` compounds.

    wells: in the order in which compounds are drawn; Metadata_MOA is the mechanism whose probability is drawn.  A point per
    well; the line is their median.
    """
    wells = wells[wells["Metadata_Concentration"].notna() & wells["Metadata_MOA"].isin(styles)
                  & ("Probability_" + wells["Metadata_MOA"]).isin(wells.columns)]
    drawn = {}
    of_compounds = wells.groupby(["Metadata_MOA", "Metadata_Compound"], sort=False)
    for (mechanism, compound), wells_of_compound in itertools.islice(of_compounds, most):
        with svg(2.3, width=3.2) as (figure, text):
            _dose_panel(figure.subplots(), wells_of_compound, mechanism, styles[mechanism], unit)
        drawn[mechanism, compound] = text.getvalue()
    return drawn


def maps(projections: list[Projection], of: str, mechanisms_T: np.ndarray, ringed_T: np.ndarray, ring: str,
         styles: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Draw {name of a projection: picture} of treatments, coloured by mechanism.

    of: what the title calls the features; ringed_T: bool; ring: what the legend calls the ringed treatments.
    """
    return {each.name: _map(each.places_T2, each.axes, mechanisms_T, (ringed_T, ring), styles,
                            f"Do mechanisms lie together? {each.name} of {len(each.places_T2)} treatments\nby {of}")
            for each in projections}


def learning(folds: list[Fold]) -> str:
    """Draw the training loss by epoch, a line per fold; "" without any loss."""
    curves = [curve for fold in folds if (curve := fold.metrics[fold.metrics["kind"] == TRAIN])["loss"].notna().any()]
    if not curves:
        return ""
    shown = f", {CURVES} of them drawn" if len(curves) > CURVES else ""
    with svg(2.5) as (figure, drawn):
        axes = figure.subplots()
        for train in curves[:CURVES]:
            axes.plot(train["epoch"], train["loss"], color=palette.NETWORK, linewidth=0.8, alpha=max(0.3, 1 / len(curves)))
        axes.set(xlabel="epoch", ylabel="training loss")
        log_axis(axes.yaxis, np.concatenate([train["loss"].to_numpy(float) for train in curves[:CURVES]]))
        axes.set_title(f"Has training come to rest?\n({words.counted(len(curves), 'training')}{shown})")
    return drawn.getvalue()


def log_axis(axis: Axis, values: np.ndarray) -> None:
    """Make an axis logarithmic where all values are above 0, with plain numbers at its ticks.

    matplotlib's own numbers are mathematics, which a picture with names from tables must not read.
    """
    values = values[np.isfinite(values)]
    if not len(values) or values.min() <= 0:
        return
    decades = np.log10(values.max() / values.min())
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]) if decades < 0.7 else
                           LogLocator(subs=(1, 2, 5)) if decades < 2 else LogLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _dose_panel(panel: Axes, wells: pd.DataFrame, mechanism: str, style: tuple[str, str], unit: str) -> None:
    concentration, probability = wells["Metadata_Concentration"], wells[f"Probability_{mechanism}"]
    panel.scatter(concentration, probability, color=style[0], marker=style[1], s=16, alpha=0.6, linewidths=0)
    median = probability.groupby(concentration).median()
    panel.plot(median.index, median, color=style[0], linewidth=1.2)
    panel.set(ylim=(-0.03, 1.03), ylabel="probability", xlabel=f"concentration, {unit}")
    if (concentration > 0).all():
        panel.set_xscale("log")
        panel.set_xticks(median.index, [f"{dose:g}" for dose in median.index], rotation=45 if len(median) > 4 else 0)
        panel.xaxis.set_minor_locator(NullLocator())


def _map(places_T2: np.ndarray, labels: tuple[str, str], mechanisms_T: np.ndarray, ringed: tuple[np.ndarray, str],
         styles: dict[str, tuple[str, str]], title: str) -> str:
    with svg(3.6 + 0.17 * ((len(styles) + 3) // 2)) as (figure, drawn):
        axes = figure.subplots()
        many, named = len(places_T2) > DOTS, set(pd.Series(mechanisms_T).value_counts().index[:LABELS])
        for mechanism, (colour, marker) in styles.items():
            if mechanism in named:
                axes.scatter(*places_T2[mechanisms_T == mechanism].T, color=colour, marker=marker, s=26, linewidths=0,
                             label=palette.short(mechanism, 24), rasterized=many)
        if (is_other := ~np.isin(mechanisms_T, [*named])).any():
            axes.scatter(*places_T2[is_other].T, color=palette.GREY, marker=".", s=12, linewidths=0, rasterized=many,
                         label="other mechanisms, or not known")
        if ringed[0].any():
            axes.scatter(*places_T2[ringed[0]].T, facecolors="none", edgecolors="black", s=70, label=ringed[1],
                         rasterized=many)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_title(title)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(fontsize=7, loc="outside lower center", ncols=2, frameon=False)
    return drawn.getvalue()


@contextmanager
def svg(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, io.StringIO]]:
    """Yield a figure of a size in inches, and the text that holds its SVG after the block; names are never mathematics."""
    drawn = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, drawn
        drawn.write(to_svg(figure))


def to_svg(figure: Figure) -> str:
    """Return the SVG of a figure, the same text each time."""
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "mscnn"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return NO_XML.sub("", written.getvalue())
