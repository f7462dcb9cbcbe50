"""Choose a read-out by inner folds: groups of training compounds, each predicted without itself.

The score of a candidate is the mean over compounds of -log(probability of the true mechanism); each compound counts once.
Probabilities are calibrated first, by the temperature that makes this score the least (Guo et al., ICML 2017): linear
discriminant analysis of hundreds of features is far too sure of compounds that it was not fitted to.  The simplest of the
candidates whose score is within LEAST_GAIN of the best one's is chosen.

Shapes: S sites, K classes, C compounds.
"""

from dataclasses import dataclass, field

import numpy as np

from mscnn.core.records import Count, Record
from mscnn.readout.linear import softmax
from mscnn.readout.tables import UNKNOWN, SiteFacts

LEAST_PROBABILITY = 1e-3  # a field's probability counts as no less: one field that is surely wrong does not decide
LEAST_GAIN = 0.01         # of the score, about 1 % of probability: less is no reason for a read-out that is less simple
FEWEST = 3                # compounds that must be judged
TEMPERATURES = 2.0 ** np.arange(-2, 7.5, 0.5)  # from 1/4 to 128


@dataclass(frozen=True)
class Judgement(Record):
    """A candidate beside the others."""

    loss: float | None = None         # mean over compounds of -log(probability of the true mechanism); None: not judged
    note: str = ""                    # why it cannot be had, or is not judged
    temperature: float | None = None  # by which its scores are divided; None for a product, and where not judged


@dataclass(frozen=True)
class Choice(Record):
    """Which candidate was chosen, and why."""

    chosen: str                         # name of a candidate
    reason: str                         # for people
    compounds: Count                    # that were judged
    candidates: dict[str, Judgement] = field(default_factory=dict)  # by name, the simplest first

    def __post_init__(self):
        if self.chosen not in self.candidates:
            raise ValueError(f"has chosen {self.chosen!r}, which is no candidate")


def inner_folds(facts: SiteFacts, folds: int) -> list[np.ndarray]:
    """Return groups of compounds of near equal size, each mechanism spread over the groups; at most `folds`.

    Sites of a known mechanism count, and untreated wells are in no group: they are never predicted.
    """
    treated = facts.select((facts.labels_S != UNKNOWN) & ~facts.is_control_S)
    compounds, first = np.unique(treated.compounds_S, return_index=True)
    by_mechanism = compounds[np.argsort(treated.labels_S[first], kind="stable")]
    number = min(folds, len(compounds))
    return [by_mechanism[group::number] for group in range(number)]


def compound_losses(probabilities_SK: np.ndarray, facts: SiteFacts, compounds: np.ndarray) -> np.ndarray:
    """Return (C,) of each compound the mean over its fields of -log(probability of the true mechanism)."""
    right_S = probabilities_SK[np.arange(len(facts.labels_S)), facts.labels_S]
    losses_S = -np.log(np.maximum(right_S, LEAST_PROBABILITY))
    return np.array([losses_S[facts.compounds_S == compound].mean() for compound in compounds])


def temperature(scores_SK: np.ndarray, facts: SiteFacts) -> float:
    """Return the temperature with the least mean loss over the compounds of these sites, which were not fitted to."""
    compounds = np.unique(facts.compounds_S)
    return float(min(TEMPERATURES, key=lambda each: compound_losses(softmax(scores_SK / each), facts, compounds).mean()))


def choose(losses: dict[str, np.ndarray], notes: dict[str, str], names: list[str],
           temperatures: dict[str, float] | None = None) -> Choice:
    """Return the choice by the rule above.

    losses: (C,) of the candidates that are judged, of the same compounds.  notes: why others are not.  names: all
    candidates, the simplest first.  temperatures: of those that have one.
    """
    judged = [name for name in names if name in losses]
    num_compounds = len(losses[judged[0]]) if judged else 0
    judgements = {name: Judgement(float(losses[name].mean()) if name in losses and num_compounds else None,
                                  notes.get(name, ""), (temperatures or {}).get(name)) for name in names}
    if num_compounds < FEWEST:
        chosen = next(name for name in names if name not in notes)
        return Choice(chosen, f"{num_compounds} training compounds share their mechanism with another, too few to judge "
                              "by; the simplest one", num_compounds, judgements)
    if len(judged) == 1:
        return Choice(judged[0], "the only one that can be judged", num_compounds, judgements)
    best, chosen = min(judged, key=lambda name: losses[name].mean()), best_of(judgements, judged)
    scores = f"{losses[chosen].mean():.3f} over {num_compounds} compounds"
    if chosen == best:
        return Choice(chosen, f"best in inner folds: {scores}", num_compounds, judgements)
    return Choice(chosen, f"simplest within {LEAST_GAIN} of the best in inner folds: {scores}, {best} "
                          f"{losses[best].mean():.3f}", num_compounds, judgements)


def best_of(candidates: dict[str, Judgement], names: list[str]) -> str:
    """Return the one of some candidates, the simplest first, that the rule above chooses; the first if none is judged."""
    losses = {name: loss for name in names if (loss := candidates[name].loss) is not None}
    return next((name for name, loss in losses.items() if loss <= min(losses.values()) + LEAST_GAIN), names[0])
