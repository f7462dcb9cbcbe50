"""Does the network tell the control from effects?  "controls" of scores.json.

    python -m pytest tests/evaluation/test_control_scores.py

False positives are held-out control wells that are predicted to be a mechanism.  How far an effect is from the control is
measured by a score of each well: the log odds that it is no control well, log(p / (1 - p)).  p is the sum of the
probabilities of all other classes, as a share of all.  It is clipped to LEAST and 1 - LEAST: a probability of exactly 1
would be infinitely far, and no screen of some hundred control wells supports odds beyond one in ten thousand.

Shapes: W wells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.logs import log
from mscnn.core.records import Count, Record, Share
from mscnn.data.tables.held_out_wells import well_names
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import plate_statistics
from mscnn.evaluation.aggregate import MECHANISM, PROBABILITY
from mscnn.evaluation.plate_statistics import Measure, Rate, Wells

LEAST = 1e-4         # probability that the score is clipped to
CALLED = 20          # at most one of so many control wells is called at the threshold: 5 %
NOT_A_CLASS = ("the control is no class of the network, which therefore calls every well some mechanism; fill in a "
               "mechanism for the control wells, such as their compound, and train again")
NO_MECHANISM = ("the control wells have no mechanism, and the network has no class of their compound's name, so it is not "
                "known which class is the control; fill in Metadata_MOA of the control wells as in the training's table")
MAYBE_TRAINED = ("plates of the same names were trained on, perhaps with these control wells, so the numbers may flatter; "
                 "training with --hold-out-controls 0.2 keeps some out")
UNITS = {"wells": "wells", "leave-plate-out": "plates", "random": "fields"}
ANOTHER_TABLE = "another table"


@dataclass(frozen=True)
class EffectScore(Record):
    """One mechanism against the control."""

    name: str
    wells: Count             # that are scored
    detected: Rate           # of these, predicted to be no control
    z_prime: Measure         # of the well scores (Zhang 1999)
    robust_z_prime: Measure  # of medians and MADs
    ssmd: Measure            # strictly standardised mean difference (Zhang 2007)
    auc: Measure             # area under the ROC curve; 0.5 by chance


@dataclass(frozen=True)
class PlateScore(Record):
    """One mechanism against the control on one plate."""

    plate: str
    effect: str
    control_wells: Count
    false_positives: Count        # of these
    wells: Count                  # of the effect
    detected: Count               # of these
    z_prime: float | None = None  # None: reason says why
    ssmd: float | None = None     # likewise
    auc: Share | None = None      # None without wells of a side
    reason: str = ""              # why there is no Z'


@dataclass(frozen=True)
class Threshold(Record):
    """A probability of being no control, above which at most one of CALLED control wells is called."""

    probability: Share                # fitted to all held-out control wells
    false_positives: Rate             # called control wells: of each plate by the threshold of the others, or in-sample
    detected: dict[str, Rate]         # by effect, likewise
    is_in_sample: bool = False        # fitted to the very wells that are counted: one plate


@dataclass(frozen=True)
class ControlAccuracy(Record):
    """Wells that a classifier puts on the right side: control, or a mechanism, whichever it is."""

    control: Rate  # control wells that are predicted to be no mechanism
    effects: Rate  # treated wells that are predicted to be one

    @property
    def balanced(self) -> float:
        """Return the mean of both shares; 0.5 by chance, and for a classifier that calls all wells the same."""
        return ((self.control.share or 0.0) + (self.effects.share or 0.0)) / 2


@dataclass(frozen=True)
class ControlScores(Record):
    """The control against all effects."""

    unit: str                         # what is held out: wells, plates, compounds and control wells, another table, or
                                      # fields, which leaks
    wells: Count                      # control wells that are scored
    plates: Count                     # on which they are
    false_positives: Rate | None      # of these, predicted to be a mechanism; None: note says why
    effects: list[EffectScore] = field(default_factory=list)
    by_plate: list[PlateScore] = field(default_factory=list)
    threshold: Threshold | None = None
    accuracy: ControlAccuracy | None = None  # control against all effects; None where either has no wells
    note: str = ""                    # what a reader must know


def score(wells: pd.DataFrame, control: str, splits: Sequence[SplitRecord]) -> ControlScores | None:
    """Return the scores of the control wells among the scored wells, and of mechanisms against them.

    wells: as aggregate.aggregate returns them.  control: compound of the untreated wells.  splits: of the networks.
    None where no control well is scored.
    """
    is_control = identity.is_name(wells["Metadata_Compound"], control).to_numpy()
    if not is_control.any():
        return None
    controls = wells[is_control]
    unit, notes = _held_out(controls, splits)
    num_plates = controls["Metadata_Plate"].nunique()
    table = well_table(wells, control)
    if table is None:
        is_untold = unit == ANOTHER_TABLE and (controls[MECHANISM] == "").all()
        why = NO_MECHANISM if is_untold else NOT_A_CLASS
        return ControlScores(unit, len(controls), num_plates, None, note="; ".join([*notes, why]))
    is_control = (table["effect"] == "").to_numpy()
    return ControlScores(
        unit, len(controls), num_plates,
        plate_statistics.rate(table["called"].to_numpy()[is_control], table["plate"].to_numpy()[is_control]),
        [_effect(name, table) for name in sorted(set(table["effect"]) - {""})], _by_plate(table), _threshold(table),
        _accuracy(table), "; ".join(notes))


def accuracy(wells: pd.DataFrame, control: str) -> ControlAccuracy | None:
    """Return how many control and treated wells are put on the right side; None where either are not there.

    wells: as in `score`.
    """
    table = well_table(wells, control)
    return None if table is None else _accuracy(table)


def not_control(wells: pd.DataFrame, control_classes: Sequence[str]) -> np.ndarray:
    """Return (W,) the probability of all classes but those of the control, as a share of all."""
    probabilities = wells[[name for name in wells if str(name).startswith(PROBABILITY)]]
    others = probabilities.drop(columns=[PROBABILITY + name for name in control_classes]).to_numpy().sum(axis=1)
    total = probabilities.to_numpy().sum(axis=1)
    return np.divide(others, total, out=np.zeros(len(wells)), where=total > 0).clip(0, 1)


def log_odds(probability_W: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)), p clipped to LEAST and 1 - LEAST."""
    clipped_W = probability_W.clip(LEAST, 1 - LEAST)
    return np.log(clipped_W / (1 - clipped_W))


def log_controls(found: ControlScores) -> None:
    """Log the false positives, and Z' of each effect."""
    if found.false_positives is None:
        log.info("controls: %d wells, false positives not to be had: %s", found.wells, found.note)
        return
    rate = found.false_positives
    log.info("controls: %d/%d control wells called a mechanism, %.1f%%   95 %% interval: %.0f to %.0f %%   (%s)%s",
             rate.count, rate.total, 100 * rate.count / rate.total, 100 * rate.low, 100 * rate.high, found.unit,
             f"; {found.note}" if found.note else "")
    shown = [f"{each.name} {each.detected.count}/{each.detected.total} wells called, Z' {_number(each.z_prime)}, "
             f"AUC {_number(each.auc)}" for each in found.effects]
    if shown:
        log.info("against the control: %s", "; ".join(shown))


def _number(measure: Measure) -> str:
    return f"{measure.value:.2f}" if measure.value is not None else f"not to be had ({measure.reason})"


def well_table(wells: pd.DataFrame, control: str) -> pd.DataFrame | None:
    """Return a row a control well and a well of an effect; None where the control is no class.

    Columns: plate, effect ("" for the control), called (a mechanism), probability (of no control), score (its log odds).
    """
    is_control = identity.is_name(wells["Metadata_Compound"], control).to_numpy()
    names = _control_classes(wells, is_control)
    if not names:
        return None
    is_effect = ~is_control & (wells[MECHANISM] != "").to_numpy() & ~wells[MECHANISM].isin(names).to_numpy()
    found = wells[is_control | is_effect]
    probability_W = not_control(found, names)
    return pd.DataFrame({
        "plate": found["Metadata_Plate"].to_numpy(str), "probability": probability_W, "score": log_odds(probability_W),
        "effect": np.where(is_control, "", wells[MECHANISM])[is_control | is_effect].astype(str),
        "called": ~found["Predicted_MOA"].isin(names).to_numpy()})


def _accuracy(table: pd.DataFrame) -> ControlAccuracy | None:
    is_control, is_called = (table["effect"] == "").to_numpy(), table["called"].to_numpy()
    plates_W = table["plate"].to_numpy()
    if is_control.all() or not is_control.any():
        return None
    return ControlAccuracy(plate_statistics.rate(~is_called[is_control], plates_W[is_control]),
                           plate_statistics.rate(is_called[~is_control], plates_W[~is_control]))


def _control_classes(wells: pd.DataFrame, is_control: np.ndarray) -> list[str]:
    """Return the classes that are the control's: the mechanisms of its wells; where they have none, its compound's name.

    Tables of new compounds often name no mechanism.
    """
    classes = [name.removeprefix(PROBABILITY) for name in map(str, wells) if name.startswith(PROBABILITY)]
    controls = wells[is_control]
    given = set(controls[MECHANISM]) - {""} or identity.in_common(classes, set(controls["Metadata_Compound"]))
    return sorted({*given} & {*classes})


def _held_out(controls: pd.DataFrame, splits: Sequence[SplitRecord]) -> tuple[str, list[str]]:
    """Return what is held out, and doubts about the control wells."""
    names = set(well_names(controls["Metadata_Plate"], controls["Metadata_Well"]))
    if any(split.leaks for split in splits):
        return UNITS["random"], ["other fields of these wells were trained on, so the numbers flatter"]
    if names <= {well for split in splits for well in split.wells}:
        return UNITS.get(splits[0].method, "compounds and control wells"), []
    seen = {plate for split in splits for plate in split.trained.get("plates", [])}
    if any("plates" not in split.trained for split in splits) or identity.in_common(controls["Metadata_Plate"], seen):
        return ANOTHER_TABLE, [MAYBE_TRAINED]
    return ANOTHER_TABLE, []


def _effect(name: str, table: pd.DataFrame) -> EffectScore:
    control, own = table[table["effect"] == ""], table[table["effect"] == name]
    sides = [Wells(side["score"].to_numpy(), side["plate"].to_numpy(str)) for side in (control, own)]
    return EffectScore(name, len(own), plate_statistics.rate(own["called"].to_numpy(), sides[1].plates_W),
                       z_prime=plate_statistics.measure(plate_statistics.z_prime, *sides),
                       robust_z_prime=plate_statistics.measure(plate_statistics.robust_z_prime, *sides),
                       ssmd=plate_statistics.measure(plate_statistics.ssmd, *sides),
                       auc=plate_statistics.measure_auc(*sides))


def _by_plate(table: pd.DataFrame) -> list[PlateScore]:
    """Return the scores of each effect on each plate with wells of it."""
    found = []
    for (plate, effect), own in table[table["effect"] != ""].groupby(["plate", "effect"]):
        control = table[(table["plate"] == plate) & (table["effect"] == "")]
        pair = control["score"].to_numpy(), own["score"].to_numpy()
        is_enough = min(map(len, pair)) >= plate_statistics.FEWEST
        z, ssmd = (float(statistic(*pair)) if is_enough else np.nan
                   for statistic in (plate_statistics.z_prime, plate_statistics.ssmd))
        reason = ("" if np.isfinite(z) else f"fewer than {plate_statistics.FEWEST} wells of a side" if not is_enough else
                  plate_statistics.NO_HIGHER)
        found.append(PlateScore(
            str(plate), str(effect), len(control), int(control["called"].sum()), len(own), int(own["called"].sum()),
            z if np.isfinite(z) else None, ssmd if np.isfinite(ssmd) else None,
            float(plate_statistics.auc(*pair)) if len(control) else None, reason))
    return found


def _threshold(table: pd.DataFrame) -> Threshold:
    """Return the threshold of all plates, and what the thresholds of the other plates call on each."""
    control = table[table["effect"] == ""]
    plates = sorted(set(control["plate"]))
    overall = _fit(control["probability"].to_numpy())
    limits = {plate: _fit(control.loc[control["plate"] != plate, "probability"].to_numpy()) for plate in plates} \
        if len(plates) > 1 else {}
    is_called = (table["probability"] > table["plate"].map(limits).fillna(overall)).to_numpy()
    rates = {name: plate_statistics.rate(is_called[own], table["plate"].to_numpy()[own])
             for name in sorted(set(table["effect"])) for own in [(table["effect"] == name).to_numpy()]}
    return Threshold(overall, rates.pop(""), rates, is_in_sample=len(plates) == 1)


def _fit(probability_W: np.ndarray) -> float:
    """Return the least of these probabilities above which at most one of CALLED of them lies."""
    return float(np.sort(probability_W)[len(probability_W) - 1 - len(probability_W) // CALLED])
