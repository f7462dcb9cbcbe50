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
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from mscnn.core.logs import TRAIN
from mscnn.evaluation.scoring import Score
from mscnn.report import confusion, palette
from mscnn.report.page.places import Projection
from mscnn.report.run import Fold

CURVES = 40       # learning curves that are drawn
DOTS = 2000       # treatments of a map above which its dots are pixels
LABELS = palette.MAX_STYLES  # mechanisms that a legend names
NO_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # letters that no XML may hold; a name may


def compared(bars: list[tuple[str, Score, str]], level: str) -> str:
    """Draw the share right of the network and of baselines, with intervals. bars: (name, score, colour)."""
    with svg(9, 0.9 + 0.32 * len(bars)) as (figure, drawn):
        axes = figure.subplots()
        for place, (_, score, colour) in enumerate(reversed(bars)):
            share = score.correct / score.total
            axes.barh(place, share, color=colour, height=0.72)
            if score.interval:
                axes.plot([score.interval.low, score.interval.high], [place, place], color="black", linewidth=1.2)
            axes.text(1.01, place, f"{score.correct}/{score.total}", va="center", fontsize=8)
        axes.set_yticks(range(len(bars)), [name for name, _, _ in reversed(bars)], fontsize=8)
        axes.set(xlim=(0, 1), title=f"Who gets how many {level} right? (line: 95 % interval over compounds)")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    return drawn.getvalue()


def confusions(matrices: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Draw {level: picture}, each level by itself, so that a narrow screen shows them below each other."""
    drawn = {}
    for level, matrix in matrices.items():
        with matplotlib.rc_context({"text.parse_math": False}):
            drawn[level] = to_svg(confusion.figure({level: matrix}, confusion.TITLE))
    return drawn


def doses(wells: pd.DataFrame, styles: dict[str, tuple[str, str]], most: int) -> dict[tuple[str, str], str]:
    """Draw {(mechanism, compound): picture}: probability of the true mechanism against concentration, of `most` compounds.

    A point per well; the line is their median.
    """
    wells = wells[wells["Metadata_Concentration"].notna() & wells["Metadata_MOA"].isin(styles)
                  & ("Probability_" + wells["Metadata_MOA"]).isin(wells.columns)]
    drawn = {}
    of_compounds = wells.groupby(["Metadata_MOA", "Metadata_Compound"])
    for (mechanism, compound), wells_of_compound in itertools.islice(of_compounds, most):
        with svg(3, 2.2) as (figure, text):
            _dose_panel(figure.subplots(), wells_of_compound, mechanism, styles[mechanism])
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
    with svg(9, 2.8) as (figure, drawn):
        axes = figure.subplots()
        for train in curves[:CURVES]:
            axes.plot(train["epoch"], train["loss"], color=palette.NETWORK, linewidth=0.8, alpha=max(0.3, 1 / len(curves)))
        axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
        axes.set_title(f"Has training come to rest? ({len(curves)} training{'s' if len(curves) > 1 else ''}{shown})",
                       fontsize=10)
    return drawn.getvalue()


def _dose_panel(panel: Axes, wells: pd.DataFrame, mechanism: str, style: tuple[str, str]) -> None:
    concentration, probability = wells["Metadata_Concentration"], wells[f"Probability_{mechanism}"]
    panel.scatter(concentration, probability, color=style[0], marker=style[1], s=16, alpha=0.6, linewidths=0)
    median = probability.groupby(concentration).median()
    panel.plot(median.index, median, color=style[0], linewidth=1.2)
    panel.set(ylim=(-0.03, 1.03), ylabel="probability", xlabel="concentration, µM")
    if (concentration > 0).all():
        panel.set_xscale("log")
        panel.set_xticks(median.index, [f"{dose:g}" for dose in median.index], rotation=45 if len(median) > 4 else 0)
        panel.xaxis.set_minor_locator(NullLocator())


def _map(places_T2: np.ndarray, labels: tuple[str, str], mechanisms_T: np.ndarray, ringed: tuple[np.ndarray, str],
         styles: dict[str, tuple[str, str]], title: str) -> str:
    with svg(9, 4.6) as (figure, drawn):
        axes = figure.subplots()
        many, named = len(places_T2) > DOTS, set(pd.Series(mechanisms_T).value_counts().index[:LABELS])
        for mechanism, (colour, marker) in styles.items():
            if mechanism in named:
                axes.scatter(*places_T2[mechanisms_T == mechanism].T, color=colour, marker=marker, s=26, linewidths=0,
                             label=palette.short(mechanism, 28), rasterized=many)
        if (is_other := ~np.isin(mechanisms_T, [*named])).any():
            axes.scatter(*places_T2[is_other].T, color=palette.GREY, marker=".", s=12, linewidths=0, rasterized=many,
                         label="other mechanisms, or not known")
        if ringed[0].any():
            axes.scatter(*places_T2[ringed[0]].T, facecolors="none", edgecolors="black", s=70, label=ringed[1],
                         rasterized=many)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_title(title, fontsize=10)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return drawn.getvalue()


@contextmanager
def svg(width: float, height: float) -> Iterator[tuple[Figure, io.StringIO]]:
    """Yield a figure of a size in inches, and the text that holds its SVG after the block; names are never mathematics."""
    drawn = io.StringIO()
    with matplotlib.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, drawn
        drawn.write(to_svg(figure))


def to_svg(figure: Figure) -> str:
    """Return the SVG of a figure, the same text each time."""
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "mscnn"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return NO_XML.sub("", written.getvalue())
