"""The report's section on assays: a table and a picture of the AUC of each.

    python -m pytest tests/report/test_assays.py
"""

from dataclasses import dataclass

from mscnn.evaluation import results
from mscnn.evaluation.assay_scores import AssayScore, AssayScores
from mscnn.report import figures, palette

DRAWN = 60    # assays in the picture, at most
LETTERS = 20  # of an assay's name there


@dataclass(frozen=True)
class ShownAssays:
    """All that the template shows of the assays of a run."""

    scores: AssayScores
    rows: dict[str, AssayScore]   # scored, those of the highest AUC first, then the others
    picture: str                  # SVG of the AUCs; "" where no assay is scored
    drawn: int                    # assays in the picture
    csv: str                      # file with all of them


def shown(scores: AssayScores | None) -> ShownAssays | None:
    """Return what a report shows of assays; None for a run that has learnt mechanisms."""
    if scores is None:
        return None
    scored = scores.scored()
    drawn = dict(list(scored.items())[:DRAWN])
    return ShownAssays(scores, {**scored, **{name: each for name, each in scores.assays.items() if name not in scored}},
                       draw(drawn) if drawn else "", len(drawn), results.ASSAYS)


def draw(scored: dict[str, AssayScore]) -> str:
    """Draw the AUC of each assay with its interval, the highest on top, and chance as a line; return SVG."""
    with figures.svg(1.0 + 0.2 * len(scored)) as (figure, drawn):
        axes = figure.subplots()
        for place, each in enumerate(reversed(scored.values())):
            assert each.auc
            axes.plot([each.auc.low, each.auc.high], [place, place], color=palette.NETWORK, linewidth=1.2)
            axes.plot(each.auc.value, place, "o", color=palette.NETWORK, markersize=4)
        axes.axvline(0.5, color=palette.GREY, linestyle=":", linewidth=1)
        names = [f"{palette.short(name, LETTERS)} ({each.active}/{each.active + each.inactive})"
                 for name, each in reversed(scored.items())]
        axes.set_yticks(range(len(scored)), names, fontsize=7)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.7, len(scored) - 0.3), xlabel="ROC AUC (dotted: chance)")
        axes.set_title("How well is each assay predicted?\n(line: 95 % interval over compounds)")
    return drawn.getvalue()
