"""Fit all candidates to the training side, choose one, and predict by it.

Shapes: S sites, D features, K classes.
"""

from dataclasses import dataclass

import numpy as np

from mscnn.core import activity
from mscnn.readout import choice, plate_controls
from mscnn.readout.candidates import (
    BY_NAME,
    CANDIDATES,
    PRODUCT,
    SPHERED,
    UNSCALED,
    Candidate,
    product,
    unavailable,
)
from mscnn.readout.choice import Choice
from mscnn.readout.linear import LinearReadout, Whitening, can_fit, fit_linear, fit_whitening, softmax
from mscnn.readout.plate_controls import PlateControls
from mscnn.readout.tables import NETWORK, STATISTICS, UNKNOWN, Features, SiteFacts, places


@dataclass(frozen=True)
class Readout:
    """Fitted candidates, and which of them predicts."""

    columns: dict[str, list[str]]      # by table, the names of its features
    parts: dict[str, LinearReadout]    # by candidate, of all that can be had but products
    choice: Choice
    controls: PlateControls | None     # of each plate; None where no candidate is scaled by them

    def names(self) -> list[str]:
        """Return the candidates that can predict, the simplest first."""
        return [candidate.name for candidate in CANDIDATES if all(name in self.parts for name in _parts_of(candidate))]

    def probabilities(self, name: str, features: Features, plates_S: np.ndarray,
                      controls: PlateControls | None = None) -> np.ndarray:
        """Return (S, K) by one candidate.

        plates_S: of the sites, in normal form.  controls: of plates that were measured anew; None: those of the training.
        """
        assert features.columns == self.columns, "other features than those that were fitted"
        candidate, by_plate = BY_NAME[name], controls or self.controls
        values_SD = features.values_SD
        if candidate.scaling != UNSCALED:
            assert by_plate is not None
            values_SD = by_plate.apply(values_SD, plates_S)
        return _combined(candidate, self.parts, self.columns, values_SD)

    def predict(self, features: Features, plates_S: np.ndarray, controls: PlateControls | None = None) -> np.ndarray:
        """Return (S, K) by the candidate that was chosen; the rest as in `probabilities`."""
        return self.probabilities(self.choice.chosen, features, plates_S, controls)


def fit_readout(features: Features, facts: SiteFacts, sites: np.ndarray, num_classes: int, *, folds: int,
                network_note: str = "") -> Readout:
    """Fit all candidates to sites whose mechanism is known, and choose one by inner folds of their compounds.

    sites: positions of the training side; those without a mechanism are left out.  Untreated wells scale the features, on
    whatever side they are: they carry no mechanism of a treated well.  network_note: why the network cannot be judged by
    its features of these compounds, as LEARNT_MECHANISMS; "": it can be.
    """
    known = sites[facts.labels_S[sites] != UNKNOWN]
    assert can_fit(facts.labels_S[known]), "too few sites to fit"
    measured = np.union1d(known, np.flatnonzero(facts.is_control_S))
    notes = unavailable(features.columns, facts.select(measured))
    offered = [candidate for candidate in CANDIDATES if candidate.name not in notes]
    controls = (plate_controls.measure(features.values_SD[measured], facts.select(measured))
                if any(candidate.scaling for candidate in offered) else None)
    scaled_SD = controls.apply(features.values_SD, facts.plates_S) if controls else features.values_SD
    whitenings = {name: fit_whitening(scaled_SD[facts.is_control_S][:, places(features.columns, BY_NAME[name].tables)])
                  for name in _parts(offered) if BY_NAME[name].scaling == SPHERED}
    training = _Training(features, facts, known, scaled_SD, whitenings, num_classes)
    judged = [candidate for candidate in offered if not network_note or NETWORK not in candidate.tables]
    notes |= {candidate.name: network_note for candidate in offered if candidate not in judged}
    losses, temperatures = _judge(training, judged, folds)
    parts = {name: part.with_temperature(temperatures.get(name, 1.0))
             for name, part in training.fit(offered, known).items()}
    names = [candidate.name for candidate in CANDIDATES]
    return Readout(features.columns, parts, choice.choose(losses, notes, names, temperatures), controls)


@dataclass(frozen=True)
class _Training:
    """What candidates are fitted to."""

    features: Features
    facts: SiteFacts
    known: np.ndarray                 # positions of the sites whose mechanism is known
    scaled_SD: np.ndarray             # features by plate controls; as they are where no candidate is scaled
    whitenings: dict[str, Whitening]  # by candidate, of those that are sphered
    num_classes: int

    def values(self, candidate: Candidate) -> np.ndarray:
        """Return the features (S, D) of all tables of all sites, scaled as the candidate wants them."""
        return self.features.values_SD if candidate.scaling == UNSCALED else self.scaled_SD

    def fit(self, candidates: list[Candidate], sites: np.ndarray) -> dict[str, LinearReadout]:
        """Return the linear parts of some candidates, fitted to these sites."""
        parts = {}
        for name in _parts(candidates):
            activity.set_activity("fitting a read-out")  # the time limit is for each
            part = BY_NAME[name]
            values_SD = self.values(part)[:, places(self.features.columns, part.tables)]
            parts[name] = fit_linear(values_SD[sites], self.facts.labels_S[sites], self.num_classes,
                                     self.whitenings.get(name), part.components(self.num_classes))
        return parts

    def scores(self, name: str, part: LinearReadout, sites: np.ndarray) -> np.ndarray:
        """Return the scores (S, K) of some sites by the linear part of a candidate."""
        candidate = BY_NAME[name]
        return part.scores(self.values(candidate)[sites][:, places(self.features.columns, candidate.tables)])


def _judge(training: _Training, candidates: list[Candidate],
           folds: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the losses (C,) of each candidate, and the temperature of each linear part, by name.

    Losses are of the compounds whose mechanism another compound has.  Of fewer than choice.FEWEST nothing is calibrated.
    """
    facts, known, names = training.facts, training.known, _parts(candidates)
    tested, scores = [np.zeros(0, int)], {name: [np.zeros((0, training.num_classes))] for name in names}
    for group in choice.inner_folds(facts.select(known), folds):
        is_out = np.isin(facts.compounds_S[known], group) & ~facts.is_control_S[known]
        train, test = known[~is_out], known[is_out]
        test = test[np.isin(facts.labels_S[test], facts.labels_S[train])]  # others are wrong whoever predicts them
        if not can_fit(facts.labels_S[train]) or not len(test):
            continue
        tested.append(test)
        for name, part in training.fit(candidates, train).items():
            scores[name].append(training.scores(name, part, test))
    scores_SK = {name: np.concatenate(parts) for name, parts in scores.items()}
    of_tested = facts.select(np.concatenate(tested))
    compounds, temperatures = np.unique(of_tested.compounds_S), {}
    if len(compounds) >= choice.FEWEST:
        temperatures = {name: choice.temperature(scores_SK[name], of_tested) for name in names}
    found_SK = {name: softmax(scores_SK[name] / temperatures.get(name, 1.0)) for name in names}
    return {candidate.name: choice.compound_losses(_merged([found_SK[name] for name in _parts_of(candidate)]), of_tested,
                                                   compounds) for candidate in candidates}, temperatures


def _parts_of(candidate: Candidate) -> list[str]:
    """Return the names of the candidates whose linear parts a candidate is made of."""
    if candidate.uses != PRODUCT:
        return [candidate.name]
    return [Candidate(uses, candidate.scaling).name for uses in (NETWORK, STATISTICS)]


def _parts(candidates: list[Candidate]) -> list[str]:
    """Return the names of the linear parts of some candidates, each once."""
    return list(dict.fromkeys(name for candidate in candidates for name in _parts_of(candidate)))


def _combined(candidate: Candidate, parts: dict[str, LinearReadout], columns: dict[str, list[str]],
              values_SD: np.ndarray) -> np.ndarray:
    """Return the probabilities (S, K) of a candidate, of features of all tables that are scaled as it wants them."""
    return _merged([parts[name].probabilities(values_SD[:, places(columns, BY_NAME[name].tables)])
                    for name in _parts_of(candidate)])


def _merged(found: list[np.ndarray]) -> np.ndarray:
    """Return the probabilities (S, K) of a candidate, of those of its parts."""
    return found[0] if len(found) == 1 else product(*found)
