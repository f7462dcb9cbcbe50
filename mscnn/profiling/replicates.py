"""Phenotypic activity: are the replicate wells of a treatment more alike than they are like control wells?

mAP of each treatment against control wells, p by random rankings, q by Benjamini & Hochberg (Kalinin et al., Nat. Commun.
16 (2025) 5181); and the same of control wells at one position of all plates, which position alone makes alike.

Shapes: S wells, F features, N control wells, T treatments.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.records import Count, Record, Share
from mscnn.profiling.profile_table import PLACES, ProfileTable
from mscnn.profiling.replicate_ranking import BLOCK, p_values, rank_replicates
from mscnn.profiling.resampling import Interval, interval
from mscnn.readout.plate_controls import ENOUGH_WELLS

DRAWS = 10_000  # of the null distribution: p is 0.0001 or more
LIMIT = 0.05    # of q: the share of active treatments that are expected to be false
TREATMENT = ["Metadata_Compound", "Metadata_Concentration"]
SAME_PLATE, ALL_PLATES = "control wells of the same plate", "control wells of all plates"
SHOWN = 3       # plates named in a note
COLUMNS = ["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA", "Wells", "Plates", "Mean_Average_Precision",
           "P_Value", "Q_Value", "Active", "Effect_Size"]


@dataclass(frozen=True)
class PositionActivity(Record):
    """Control wells at one position of all plates, ranked as a treatment is: what position alone makes active."""

    positions: Count = 0                         # ranked: they hold the control on two plates or more
    active: Count = 0                            # with q < 0.05: false positives
    mean_average_precision: Share | None = None  # over positions; None where none is ranked
    note: str = ""                               # why there is none, or what to know of it, and the remedy


@dataclass(frozen=True)
class Activity(Record):
    """How many treatments of a screen are active."""

    mean_average_precision: Share | None  # over treatments; None where none is ranked
    interval: Interval | None             # of the mean, over compounds
    treatments: Count                     # ranked: those with two wells or more
    active: Count                         # with q < 0.05
    single: Count                         # treatments of one well only: not ranked
    negatives: Literal["control wells of the same plate", "control wells of all plates"]  # that a query is ranked with
    control_wells: Count
    draws: Count                          # random rankings of the null distribution
    positions: PositionActivity
    note: str = ""                        # what could not be had or what to know, and the remedy


def activity(wells: ProfileTable, control: str, *, draws: int = DRAWS, seed: int = 0) -> tuple[Activity, pd.DataFrame]:
    """Rank the wells of each treatment, a compound at a concentration, against control wells; return the hits, too.

    wells: a row a well, with controls, as from treatment_profiles.wells, normalised as the caller wishes.
    Control wells are those of the query's plate where each plate with treated wells has ENOUGH_WELLS, else all of them.
    Hits: a row a treatment, by rising q, then falling mAP; those that are not ranked come last, with NaN.  Effect_Size: the
    median over wells of the distance (Euclidean) from the median of the control wells compared with, over the median such
    distance of these control wells; at about 1 a treatment is no farther away than they are.
    """
    is_control_S, plate_S = wells.is_control(control), _plates(wells)
    compared_S, note = _compared_plates(wells, plate_S, is_control_S)
    hits, treatment_S = _treatments(wells, is_control_S, plate_S)
    hits["Mean_Average_Precision"], hits["P_Value"], hits["Q_Value"], least_T = _rank(
        wells, treatment_S, is_control_S, compared_S, len(hits), draws=draws, seed=seed)
    hits["Active"] = hits["Q_Value"] < LIMIT
    hits["Effect_Size"] = _effect_sizes(wells.features_SF, is_control_S, compared_S).groupby(treatment_S).median().reindex(
        range(len(hits))).to_numpy()
    ranked = hits[hits["P_Value"].notna()]
    notes = [note if len(ranked) else _why_not_ranked(hits, int(is_control_S.sum()), control),
             _resolution(least_T, "treatment")]
    found = Activity(
        float(ranked["Mean_Average_Precision"].mean()) if len(ranked) else None,
        interval(ranked["Mean_Average_Precision"].to_numpy(), ranked["Metadata_Compound"].to_numpy(str), seed=seed)
        if len(ranked) else None,
        len(ranked), int(hits["Active"].sum()), int((hits["Wells"] < 2).sum()),
        ALL_PLATES if note else SAME_PLATE, int(is_control_S.sum()), draws,
        _position_activity(wells, is_control_S, plate_S, compared_S, draws=draws, seed=seed),
        "; ".join(filter(None, notes)))
    return found, hits.sort_values(["Q_Value", "Mean_Average_Precision"], ascending=[True, False], kind="stable",
                                   ignore_index=True)


def _plates(wells: ProfileTable) -> np.ndarray:
    """Return the number of each well's plate, (S,); all 0 in a table without plates."""
    if "Metadata_Plate" not in wells.metadata:
        return np.zeros(len(wells.metadata), int)
    return pd.factorize(identity.normal_forms(wells.metadata["Metadata_Plate"], "plate"))[0]


def _compared_plates(wells: ProfileTable, plate_S: np.ndarray, is_control_S: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the plates within which wells are compared with control wells, (S,); or all 0, and why, for all plates."""
    everywhere_S = np.zeros(len(plate_S), int)
    if "Metadata_Plate" not in wells.metadata:
        return everywhere_S, ("no plate is known, so wells are compared with all control wells; add Metadata_Plate and "
                              "Metadata_Well")
    treated, controls = np.unique(plate_S[~is_control_S]), np.bincount(plate_S[is_control_S], minlength=len(plate_S))
    lacking = treated[controls[treated] < ENOUGH_WELLS]
    if not len(lacking):
        return plate_S, ""
    names = wells.metadata["Metadata_Plate"].astype(str).iloc[[int(np.argmax(plate_S == plate)) for plate in lacking]]
    shown = ", ".join(names[:SHOWN]) + (f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else "")
    return everywhere_S, (f"{len(lacking)} of {len(treated)} plates with treated wells have fewer than {ENOUGH_WELLS} "
                          f"control wells ({shown}), so wells are compared with those of all plates, and a plate can pose "
                          "as activity; add control wells, or leave these plates out")


def _treatments(wells: ProfileTable, is_control_S: np.ndarray,
                plate_S: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a row per treatment, in order of compound and concentration, and each well's treatment, -1 for the control."""
    treated = wells.metadata[~is_control_S].assign(plate=plate_S[~is_control_S])
    grouped = treated.groupby(TREATMENT, dropna=False, sort=True)
    treatment_S = np.full(len(is_control_S), -1)
    treatment_S[~is_control_S] = grouped.ngroup()
    found = grouped.agg(
        Metadata_MOA=("Metadata_MOA", lambda names: "; ".join(sorted({name for name in names if name}))),
        Wells=("plate", "size"), Plates=("plate", "nunique"))
    return found.reset_index(), treatment_S


def _rank(wells: ProfileTable, group_S: np.ndarray, is_control_S: np.ndarray, compared_S: np.ndarray, count: int, *,
          draws: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mAP, p, q and the least possible p of each of `count` groups of wells; NaN where it cannot be ranked."""
    from scipy import stats

    found = np.full((4, count), np.nan)
    controls_N = np.flatnonzero(is_control_S)
    if len(controls_N) > 1:
        rankings = rank_replicates(wells.features_SF, group_S, controls_N, compared_S)
        p, least = p_values(rankings, draws=draws, seed=seed)
        found[0, :len(p)], found[1, :len(p)], found[3, :len(p)] = rankings.means(), p, least
        is_ranked = np.isfinite(found[1])
        found[2, is_ranked] = stats.false_discovery_control(found[1, is_ranked])
    return found[0], found[1], found[2], found[3]


def _effect_sizes(features_SF: np.ndarray, is_control_S: np.ndarray, compared_S: np.ndarray) -> pd.Series:
    """Return each well's distance from the median of its control wells over their own; NaN where they do not differ.

    A control well has a part in that median: its distance is enlarged by n / (n - 1), which is exact for the mean of n.
    """
    found_S = np.full(len(features_SF), np.nan)
    for plate in np.unique(compared_S):
        rows = np.flatnonzero(compared_S == plate)
        controls = rows[is_control_S[rows]]
        if len(controls) < 2:
            continue
        centre_F = np.median(features_SF[controls], axis=0)
        distances = np.concatenate([np.linalg.norm(features_SF[rows[start:start + BLOCK]] - centre_F, axis=1)
                                    for start in range(0, len(rows), BLOCK)])
        spread = np.median(distances[is_control_S[rows]]) * len(controls) / (len(controls) - 1)
        if spread > 0:
            found_S[rows] = distances / spread
    return pd.Series(found_S)


def _position_activity(wells: ProfileTable, is_control_S: np.ndarray, plate_S: np.ndarray, compared_S: np.ndarray, *,
                       draws: int, seed: int) -> PositionActivity:
    """Rank the control wells of a position as the wells of a treatment are, against those of other positions."""
    if not set(PLACES) <= set(wells.metadata):
        return PositionActivity(note="no wells are known; add Metadata_Plate and Metadata_Well")
    if len(np.unique(plate_S[is_control_S])) < 2:
        return PositionActivity(note="fewer than two plates have control wells; add plates")
    place_S = pd.factorize(identity.normal_forms(wells.metadata["Metadata_Well"], "well"))[0]
    plates = pd.Series(plate_S[is_control_S]).groupby(place_S[is_control_S]).nunique()
    repeated = plates.index[plates > 1].to_numpy()
    if not len(repeated):
        return PositionActivity(note="no well holds the control on two plates, so that position cannot be told from plate; "
                                     "compare the probes of row and column")
    position_S = np.where(is_control_S & np.isin(place_S, repeated), np.searchsorted(repeated, place_S), -1)
    mean_T, p_T, q_T, least_T = _rank(wells, position_S, is_control_S, compared_S, len(repeated), draws=draws, seed=seed)
    if not (count := int(np.isfinite(p_T).sum())):
        return PositionActivity(note="all control wells are at one position; add some at another")
    return PositionActivity(count, int((q_T < LIMIT).sum()), float(np.nanmean(mean_T)), _resolution(least_T, "position"))


def _why_not_ranked(hits: pd.DataFrame, control_wells: int, control: str) -> str:
    """Return why no treatment is ranked, and the remedy."""
    if not len(hits):
        return f"all wells hold {control}; add treated wells, or name another compound with --control"
    if control_wells < 2:
        return f"{control_wells} wells of {control} are too few to compare with; name another compound with --control"
    return "each treatment has one well only; add replicate wells"


def _resolution(least_T: np.ndarray, what: str) -> str:
    """Return a note where no q below LIMIT is possible, since rankings are short; "" where it is."""
    from scipy import stats

    least_T = least_T[np.isfinite(least_T)]
    if not len(least_T) or stats.false_discovery_control(least_T).min() < LIMIT:
        return ""
    return (f"no {what} can have q < {LIMIT:g}: with so few replicates and control wells p is {least_T.min():.2g} or more; "
            "add replicates or control wells")
