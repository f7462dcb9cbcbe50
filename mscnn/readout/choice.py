"""Choose a read-out by inner folds: groups of training compounds, each predicted without itself.

The rule, fixed in advance: the score of a candidate is the mean over compounds of -log(probability of the true mechanism),
each compound counting once.  The simplest candidate is chosen whose score is within one standard error of the best one's,
or within LEAST_GAIN of it.
The standard error is that of the difference over compounds, in pairs (Breiman et al. 1984, section 3.4.3; Hastie et al.
2009, section 7.10): of so few compounds, candidates lie within chance of each other.

Shapes: S sites, K classes, C compounds.
"""

from dataclasses import dataclass, field

import numpy as np

from mscnn.core.records import Count, Record
from mscnn.readout.tables import UNKNOWN, SiteFacts

LEAST_PROBABILITY = 1e-3  # a field's probability counts as no less: one field that is surely wrong does not decide
LEAST_GAIN = 0.01         # of the score, about 1 % of probability: less is no reason for a read-out that is less simple
FEWEST = 3                # compounds that must be judged: of two, the standard error means nothing


@dataclass(frozen=True)
class Judgement(Record):
    """A candidate beside the others."""

    loss: float | None = None  # mean over compounds of -log(probability of the true mechanism); None where not judged
    note: str = ""             # why it cannot be had, or is not judged


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


def choose(losses: dict[str, np.ndarray], notes: dict[str, str], names: list[str]) -> Choice:
    """Return the choice by the rule above.

    losses: (C,) of the candidates that are judged, of the same compounds.  notes: why others are not.  names: all
    candidates, the simplest first.
    """
    judged = [name for name in names if name in losses]
    num_compounds = len(losses[judged[0]]) if judged else 0
    judgements = {name: Judgement(float(losses[name].mean()) if name in losses and num_compounds else None,
                                  notes.get(name, "")) for name in names}
    if num_compounds < FEWEST:
        chosen = next(name for name in names if name not in notes)
        return Choice(chosen, f"{num_compounds} training compounds share their mechanism with another, too few to judge "
                              "by; the simplest one", num_compounds, judgements)
    if len(judged) == 1:
        return Choice(judged[0], "the only one that can be judged", num_compounds, judgements)
    best = min(judged, key=lambda name: losses[name].mean())
    more = {name: losses[name] - losses[best] for name in judged}
    error = {name: more[name].std(ddof=1) / np.sqrt(num_compounds) for name in judged}
    chosen = next(name for name in judged if more[name].mean() <= max(error[name], LEAST_GAIN))
    scores = f"{losses[chosen].mean():.3f} over {num_compounds} compounds"
    if chosen == best:
        return Choice(chosen, f"best in inner folds: {scores}", num_compounds, judgements)
    return Choice(chosen, f"simplest within one standard error of the best in inner folds: {scores}, {best} "
                          f"{losses[best].mean():.3f}, standard error {error[chosen]:.3f}", num_compounds, judgements)
