"""What labels are worth: treatments right by the number of labelled compounds.   mscnn bench labels"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mscnn.report import palette


def draw_labels(table: pd.DataFrame, path: Path) -> None:
    """Draw the share of treatments right, with intervals, and the mAP of each method.

    table: a row per method and number of labelled compounds, with right, treatments, low, high and mAP (empty: none).
    """
    figure = Figure(figsize=(9, 4), layout="constrained", dpi=110)
    shares, precisions = figure.subplots(1, 2)
    methods = list(dict.fromkeys(table["method"]))
    for number, (method, colour) in enumerate(zip(methods, palette.LINES, strict=False)):
        rows = table[table["method"] == method].sort_values("labelled")
        share = rows["right"] / rows["treatments"]
        place = rows["labelled"] * 1.03 ** (number - (len(methods) - 1) / 2)      # side by side: intervals stay apart
        shares.errorbar(place, 100 * share, yerr=100 * pd.concat([share - rows["low"], rows["high"] - share], axis=1).T,
                        color=colour, marker=palette.MARKERS[number], capsize=2, label=method)
        if rows["mAP"].notna().all():
            precisions.plot(place, rows["mAP"], color=colour, marker=palette.MARKERS[number], label=method)
    counts = sorted(set(table["labelled"]))
    for panel in (shares, precisions):
        panel.set_xscale("log", base=2)
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.minorticks_off()
        panel.set_xlabel("labelled compounds of each mechanism")
    shares.axhline(100 / 12, color=palette.GREY, linestyle=":", label="chance")
    shares.set(title="Mechanisms that field averages hardly see",
               ylabel="treatments right, %; 95 % over compounds", ylim=(0, 103))
    precisions.set(title="Do the test treatments find each other?", ylabel="mean average precision", ylim=(0, 1.03))
    shares.legend(fontsize=8)
    precisions.text(0.02, 0.02, f"n = {table['treatments'].iloc[0]} test treatments", transform=precisions.transAxes,
                    fontsize=8)
    figure.savefig(path)
