"""Probes of batch and position: how well can plate, week, row and column be read from profiles of wells?

A linear classifier is cross-validated so that a well is never recognised by what else would give its class away: by wells
of its plate (week, row and column of control wells), or by wells of its compound (treated wells).

Shapes: S wells, F features, K classes, G groups of wells, D draws.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import linalg, stats
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from mscnn.core import identity
from mscnn.core.records import Count, Record, Share
from mscnn.data.tables.wells import well_place
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.resampling import LEVEL, Interval
from mscnn.readout.plate_controls import ENOUGH_WELLS

Property = Literal["plate", "week", "row", "column"]
PROPERTIES: tuple[Property, ...] = ("plate", "week", "row", "column")
COLUMNS = {"plate": "Metadata_Plate", "week": "Metadata_Week", "row": "Metadata_Well", "column": "Metadata_Well"}
FOLDS = ENOUGH_WELLS  # a plate with so many control wells has one in each fold
MOST_WELLS = 5000     # read by a probe: its interval is narrow with so many, and the fits take seconds
MOST_FEATURES = 1000  # read by a probe; of more, principal components: the time of a fit grows with their cube
DRAWS = 1000          # of groups, for an interval
RIDGE = 1e-9          # added to variances of about 1, for features that do not vary within classes


@dataclass(frozen=True)
class Probe(Record):
    """How well one property of the wells is read from their profiles."""

    what: Property
    wells: Literal["control", "treated"] | None  # that are read; None where neither can be
    unit: Literal["well", "plate", "compound"] | None  # group: its wells are in one fold, and are resampled together
    classes: Count                           # plates, weeks, rows or columns that are told apart
    left_out: Count                          # those with too few wells or groups
    rows: Count                              # wells
    groups: Count
    balanced_accuracy: Share | None = None   # mean over classes of the share of wells that is right; None: cannot be read
    chance: Share | None = None              # 1 / classes
    interval: Interval | None = None         # of the balanced accuracy, over groups
    above_chance: bool = False               # the whole interval is
    note: str = ""                           # why nothing is read, or what to know of it


@dataclass(frozen=True)
class _Task:
    """Wells of classes that can be told apart."""

    rows_S: np.ndarray   # of the table
    class_S: np.ndarray  # numbers from 0
    group_S: np.ndarray  # numbers from 0
    left_out: int        # classes with too few wells or groups
    sampled: bool        # not all wells are taken

    @property
    def classes(self) -> int:
        return len(np.unique(self.class_S))


def probes(wells: ProfileTable, control: str, *, is_fitted: bool = False, seed: int = 0) -> list[Probe]:
    """Read plate, week, row and column from profiles; return a probe of each, also of those that cannot be read.

    wells: a row a well, with controls, as from treatment_profiles.wells.  Control wells are read where they have half of
    the classes of treated wells or more: they hold the same on all plates.  Otherwise treated wells are read.
    is_fitted: the profiles were corrected by their control wells, which cannot judge that: those of each plate have one
    centre, so that a well without the others lies on the wrong side of it.  Treated wells are read where they can be.
    """
    return [_probe(wells, control, what, is_fitted, seed) for what in PROPERTIES]


def _probe(wells: ProfileTable, control: str, what: Property, is_fitted: bool, seed: int) -> Probe:
    names_S, plate_S = _names(wells.metadata, what), _names(wells.metadata, "plate")
    compound_S = identity.normal_forms(wells.metadata["Metadata_Compound"]).to_numpy(str)
    is_control_S, well_S = wells.is_control(control), np.arange(len(names_S)).astype(str)
    of_control = _task(is_control_S & (plate_S != ""), names_S, well_S if what == "plate" else plate_S, seed)
    of_treated = _task(~is_control_S, names_S, compound_S, seed)
    if of_control.classes >= max(2, of_treated.classes / 2) and not (is_fitted and of_treated.classes > 1):
        return _read(wells.features_SF, of_control, what, "control", "well" if what == "plate" else "plate", seed)
    if of_treated.classes > 1:
        return _read(wells.features_SF, of_treated, what, "treated", "compound", seed)
    return Probe(what, None, None, 0, max(of_control.left_out, of_treated.left_out), 0, 0, note=_why_not(names_S, what))


def _read(features_SF: np.ndarray, task: _Task, what: Property, of_which: Literal["control", "treated"],
          unit: Literal["well", "plate", "compound"], seed: int) -> Probe:
    features_SF, notes = features_SF[task.rows_S], []
    if task.sampled:
        notes.append(f"read from {len(features_SF):,} wells of {unit}s drawn at random")
    if features_SF.shape[1] > MOST_FEATURES:
        notes.append(f"read from {MOST_FEATURES} principal components at most")
    if what == "week" and of_which == "treated":
        notes.append("plates are on both sides of the folds: what is read may be the plate")
    known = (task.classes, task.left_out, len(task.rows_S), len(np.unique(task.group_S)))
    right_S, is_scored_S = _cross_validate(features_SF, task, seed)
    if not np.ptp(features_SF, axis=0).any() or not is_scored_S.any():
        return Probe(what, None, None, *known, note="all profiles are alike; check the features")
    accuracy, found = _balanced(right_S[is_scored_S], task.class_S[is_scored_S], task.group_S[is_scored_S], seed)
    return Probe(what, of_which, unit, *known, accuracy, 1 / task.classes, found, found.low > 1 / task.classes,
                 "; ".join(notes))


def _names(metadata: pd.DataFrame, what: str) -> np.ndarray:
    """Return each well's plate, week, row or column in normal form, (S,) text; "" where it is not known."""
    if COLUMNS[what] not in metadata:
        return np.full(len(metadata), "")
    column = metadata[COLUMNS[what]]
    if what in ("row", "column"):
        places = {name: well_place(str(name)) for name in column.unique()}
        return np.array([str(place[what == "column"]) if (place := places[name]) else "" for name in column], dtype=str)
    return identity.normal_forms(column.astype(str), what).to_numpy(str)


def _task(is_read_S: np.ndarray, names_S: np.ndarray, groups_S: np.ndarray, seed: int) -> _Task:
    """Return the wells of classes with a well for each fold, in two groups or more; of too many wells whole groups."""
    rows_S = np.flatnonzero(is_read_S & (names_S != ""))
    sampled = len(rows_S) > MOST_WELLS
    if sampled:
        names, group_S, sizes = np.unique(groups_S[rows_S], return_inverse=True, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(names))
        taken = order[:max(1, int(np.searchsorted(sizes[order].cumsum(), MOST_WELLS, side="right")))]
        rows_S = rows_S[np.isin(group_S, taken)]
    table = pd.DataFrame({"name": names_S[rows_S], "group": groups_S[rows_S]})
    of_class = table.groupby("name")["group"].agg(["size", "nunique"])
    enough = of_class.index[(of_class["size"] >= FOLDS) & (of_class["nunique"] > 1)]
    is_enough_S = table["name"].isin(enough).to_numpy()
    class_S, group_S = (np.unique(table[name][is_enough_S], return_inverse=True)[1] for name in table)
    return _Task(rows_S[is_enough_S], class_S, group_S, len(of_class) - len(enough), sampled)


def _why_not(names_S: np.ndarray, what: str) -> str:
    """Return why a property cannot be read, and the remedy."""
    known = len(set(names_S) - {""})
    if not known:
        return f"no {what} is known; add {COLUMNS[what]}{', spelt as A01' if what in ('row', 'column') else ''}"
    if known == 1:
        return f"all wells are of one {what}; add wells of another"
    of_plates = "" if what == "plate" else " of two plates"
    return (f"no two {what}s have {FOLDS} control wells{of_plates}, or {FOLDS} treated wells of two compounds; add "
            "replicate wells or plates")


def _cross_validate(features_SF: np.ndarray, task: _Task, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which wells are predicted right, and which are scored, (S,) bool: those of a class that was fitted."""
    if features_SF.shape[1] > MOST_FEATURES:
        components = PCA(min(MOST_FEATURES, len(features_SF) - 1), svd_solver="randomized", random_state=seed)
        features_SF = components.fit_transform(StandardScaler().fit_transform(features_SF))
    right_S, is_scored_S = (np.zeros(len(features_SF), bool) for _ in range(2))
    folds = StratifiedGroupKFold(min(FOLDS, len(np.unique(task.group_S))), shuffle=True, random_state=seed)
    for fitted, held_out in folds.split(features_SF, task.class_S, task.group_S):
        if len(held_out):
            scaler = StandardScaler().fit(features_SF[fitted])
            fitted_SF, held_out_SF = (np.asarray(scaler.transform(features_SF[rows])) for rows in (fitted, held_out))
            right_S[held_out] = _predict(fitted_SF, task.class_S[fitted], held_out_SF) == task.class_S[held_out]
            is_scored_S[held_out] = np.isin(task.class_S[held_out], task.class_S[fitted])
    return right_S, is_scored_S


def _predict(fitted_SF: np.ndarray, class_S: np.ndarray, held_out_SF: np.ndarray) -> np.ndarray:
    """Return the classes of held-out wells by linear discriminant analysis with equal priors.

    All classes have one covariance, shrunk (Ledoit & Wolf 2004): a class may have fewer wells than there are features.
    """
    classes, class_S = np.unique(class_S, return_inverse=True)
    means_KF = np.stack([fitted_SF[class_S == number].mean(axis=0) for number in range(len(classes))])
    covariance_FF = ledoit_wolf(fitted_SF - means_KF[class_S], assume_centered=True)[0]
    weights_KF = linalg.solve(covariance_FF + RIDGE * np.eye(len(covariance_FF)), means_KF.T, assume_a="pos").T
    return classes[(held_out_SF @ weights_KF.T - 0.5 * (means_KF * weights_KF).sum(axis=1)).argmax(axis=1)]


def _balanced(right_S: np.ndarray, class_S: np.ndarray, group_S: np.ndarray, seed: int) -> tuple[float, Interval]:
    """Return the mean over classes of the share right, and its interval: the wider of two on each side.

    The first is a bootstrap over groups (percentiles; a class without a well in a draw has no part in it).  The second is
    the exact binomial interval of so many groups (Clopper & Pearson 1934), as in resampling.interval.
    """
    group_S, class_S = (np.unique(numbers, return_inverse=True)[1] for numbers in (group_S, class_S))
    groups, classes = group_S.max() + 1, class_S.max() + 1
    right_GK, total_GK = (np.bincount(group_S * classes + class_S, weights, groups * classes).reshape(groups, classes)
                          for weights in (right_S.astype(float), np.ones(len(right_S))))
    accuracy = float((right_GK.sum(axis=0) / total_GK.sum(axis=0)).mean())
    drawn_DG = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS).astype(float)
    with np.errstate(invalid="ignore"):
        shares_D = np.nanmean((drawn_DG @ right_GK) / (drawn_DG @ total_GK), axis=1)
    tail, right = (1 - LEVEL) / 2, accuracy * groups
    low, high = np.quantile(shares_D, [tail, 1 - tail])
    low = min(low, stats.beta.ppf(tail, right, groups - right + 1)) if right > 0 else 0.0
    high = max(high, stats.beta.ppf(1 - tail, right + 1, groups - right)) if right < groups else 1.0
    return accuracy, Interval(float(low), float(high), LEVEL, int(groups))
