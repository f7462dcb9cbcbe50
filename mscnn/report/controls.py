"""The report's section on the control against effects: false positives, Z' in words, and the scores of wells by plate.

    python -m pytest tests/report/test_controls.py
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.evaluation import control_scores
from mscnn.evaluation.control_scores import ControlAccuracy, ControlScores, EffectScore
from mscnn.evaluation.plate_statistics import Measure
from mscnn.evaluation.scoring import BaselineResult
from mscnn.report import data_urls, figures, palette

PLATES = 12     # in the picture, at most: those with the most control wells
EFFECTS = 5     # likewise, those with the most wells
WIDTH = 4.2     # inches: readable on a screen of 390 pixels
EXCELLENT = 0.5  # Z' from which an assay is excellent (Zhang, Chung & Oldenburg 1999, table 1)


@dataclass(frozen=True)
class ShownEffect:
    """An effect with its Z' in words."""

    score: EffectScore
    words: str


@dataclass(frozen=True)
class ShownControls:
    """All that the template shows of the control against effects."""

    scores: ControlScores
    effects: list[ShownEffect]                # those with the highest AUC first
    accuracies: dict[str, ControlAccuracy]    # of the network and of baselines, where they were asked
    layout: list[str]                         # baselines that see no cells, and tell control from effect all the same
    picture: str                              # data URL; "" where the control is no class
    alternative: str                          # what the picture shows, in words
    drawn: str                                # what of it is drawn, where not all is


def shown(scores: ControlScores | None, wells: pd.DataFrame, control: str,
          baselines: dict[str, BaselineResult]) -> ShownControls | None:
    """Return what a report shows of the control against effects; None where no control well is scored.

    wells: as aggregate.aggregate returns them.  control: compound of the untreated wells.
    """
    if scores is None:
        return None
    own = {"the network": scores.accuracy} if scores.accuracy else {}
    others = {name: result.controls for name, result in baselines.items() if result.controls}
    layout = [name for name, found in others.items() if baselines[name].kind == "shortcut" and _beats_chance(found)]
    table = control_scores.well_table(wells, control)
    if table is None:
        return ShownControls(scores, [], {**own, **others}, layout, "", "", "")
    effects = sorted(scores.effects, key=lambda each: -(each.auc.value or 0))
    kept = table[table["plate"].isin(_most(table["plate"][table["effect"] == ""], PLATES))
                 & table["effect"].isin(["", *_most(table["effect"][table["effect"] != ""], EFFECTS)])]
    drawn = "" if len(kept) == len(table) else (f"Drawn are {kept['plate'].nunique()} of {table['plate'].nunique()} plates "
                                                f"and {kept['effect'].nunique() - 1} of {len(effects)} effects.")
    return ShownControls(scores, [ShownEffect(each, in_words(each.z_prime)) for each in effects], {**own, **others}, layout,
                         data_urls.of_svg(draw(kept)), f"scores of {len(kept)} wells by plate, control and effects", drawn)


def in_words(z_prime: Measure) -> str:
    """Return what a Z' means for a screen (Zhang, Chung & Oldenburg 1999, table 1)."""
    if z_prime.value is None:
        return z_prime.reason
    words = ("an excellent assay" if z_prime.value >= EXCELLENT else "a marginal assay" if z_prime.value > 0 else
             "not separable well by well: control and effect overlap")
    borders = [border for border in (0.0, EXCELLENT) if _holds(z_prime, border)]
    return words + ("; its interval holds other answers too" if borders else "")


def draw(table: pd.DataFrame) -> str:
    """Draw the score of each well, a row a plate, control wells above effects; return SVG.

    table: plate, effect ("" for the control) and score, as control_scores.well_table returns them.
    """
    plates, effects = sorted(set(table["plate"])), sorted(set(table["effect"]) - {""})
    styles = palette.mechanism_styles(effects)
    with figures.svg(WIDTH, 1.5 + (0.3 + 0.08 * len(effects)) * len(plates) + 0.16 * len(effects)) as (figure, drawn):
        axes = figure.subplots()
        for rank, effect in enumerate(["", *effects]):
            own = table[table["effect"] == effect]
            places = own["plate"].map(plates.index).to_numpy() + 0.7 * rank / (len(effects) + 1) - 0.3
            jitter = np.random.default_rng(rank).uniform(-0.06, 0.06, len(own))
            colour, marker = styles[effect] if effect else (palette.GREY, "x")
            axes.scatter(own["score"], places + jitter, s=14, color=colour, marker=marker, alpha=0.8,
                         linewidths=1.0 if not effect else 0.0, label=palette.short(effect, 28) or "control")
        axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(plates)), [palette.short(plate, 16) for plate in plates], fontsize=8)
        axes.set_ylim(len(plates) - 0.4, -0.6)
        axes.set_xlabel("log odds that a well is no control\n(dotted: as likely as not)", fontsize=8)
        figure.suptitle("Are control and effect apart on each plate?", fontsize=9)
        figure.legend(loc="outside lower center", fontsize=7, frameon=False)
    return drawn.getvalue()


def _beats_chance(found: ControlAccuracy) -> bool:
    """Return whether more wells of both sides are right than a guess gives, by the intervals of both shares."""
    return (found.control.low + found.effects.low) / 2 > 0.5


def _holds(measure: Measure, border: float) -> bool:
    low = measure.low if measure.low is not None else -np.inf
    high = measure.high if measure.high is not None else np.inf
    return low < border < high


def _most(names: pd.Series, number: int) -> list[str]:
    """Return the most frequent names, so many at most."""
    return names.value_counts(sort=True).index[:number].tolist()
