"""Phenotypic activity: are the replicate wells of a treatment more alike than they are like control wells?

mAP of each treatment against control wells, p by random rankings, q by Benjamini & Hochberg (Kalinin et al., Nat. Commun.
16 (2025) 5181); and the same of control wells at one position of several plates, which position alone makes alike.
Where this cannot decide, distance_activity.py does.

Shapes: S wells, F features, N control wells, T treatments.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.records import Count, Record, Share
from mscnn.profiling.profile_table import PLACES, ProfileTable
from mscnn.profiling.replicate_ranking import BLOCK, compare_with_chance, rank_replicates
from mscnn.profiling.resampling import Interval, interval
from mscnn.readout.plate_controls import ENOUGH_WELLS

DRAWS = 10_000  # of the null distribution: p is 0.0001 or more
INTERVAL_DRAWS = 1000  # of compounds, which may be ten thousand: all draws are in memory at once
LIMIT = 0.05    # of q: the share of active treatments that are expected to be false
TREATMENT = ["Metadata_Compound", "Metadata_Concentration"]
SAME_PLATE, ALL_PLATES = "control wells of the same plate", "control wells of all plates"
SHOWN = 3       # plates named in a note
COLUMNS = ["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA", "Wells", "Plates", "Mean_Average_Precision",
           "P_Value", "Q_Value", "Active", "Effect_Size", "Test"]
BY_REPLICATES, BY_DISTANCE = "replicates", "distance"  # tests that can give p, q and Active


@dataclass(frozen=True)
class PositionActivity(Record):
    """Control wells at one position, ranked as the wells of a treatment are: what position alone makes active."""

    groups: Count = 0                            # of control wells, ranked
    active: Count = 0                            # groups with q < 0.05: false positives
    positions: Count = 0                         # wells of a plate whose groups are ranked
    replicates: Count = 0                        # wells of a group, each on a plate of its own: as many as a treatment has
    mean_average_precision: Share | None = None  # over groups; None where none is ranked
    chance: Share | None = None                  # mean average precision of random rankings of these sizes
    note: str = ""                               # why there is none, or what to know of it, and the remedy


@dataclass(frozen=True)
class Activity(Record):
    """How many treatments of a screen are active."""

    mean_average_precision: Share | None  # over treatments; None where none is ranked
    interval: Interval | None             # of the mean, over compounds
    chance: Share | None                  # mean average precision of random rankings of these sizes
    treatments: Count                     # ranked: those with two wells or more
    active: Count                         # with q < 0.05, by the test that is used
    single: Count                         # treatments of one well only: not ranked
    negatives: Literal["control wells of the same plate", "control wells of all plates"]  # that a query is ranked with
    control_wells: Count
    draws: Count                          # random rankings of the null distribution
    positions: PositionActivity
    note: str = ""                        # what could not be had or what to know, and the remedy
    can_decide: bool = True               # a q below 0.05 is possible by the test that is used
    test: Literal["replicates", "distance"] = BY_REPLICATES  # that gave p, q and active
    tested: Count | None = None           # treatments with a q by it; None: those ranked, in files of earlier versions

    @property
    def judged(self) -> int:
        """Return the number of treatments with a q."""
        return self.treatments if self.tested is None else self.tested


def activity(wells: ProfileTable, control: str, *, draws: int = DRAWS, seed: int = 0) -> tuple[Activity, pd.DataFrame]:
    """Rank the wells of each treatment, a compound at a concentration, against control wells; return the hits, too.

    wells: a row a well, with controls, as from treatment_profiles.wells, normalised as the caller wishes.
    Control wells are those of the query's plate where each plate with treated wells has ENOUGH_WELLS, else all of them.
    Hits: a row a treatment, by rising q, falling mAP and effect; those that are not ranked come last, with NaN.
    Effect_Size: the median over wells of the distance (Euclidean) from the median of the control wells compared with, over
    the median such distance of these control wells; at about 1 a treatment is no farther away than they are.
    """
    is_control_S, plate_S = wells.is_control(control), number_plates(wells)
    compared_S, note = _compared_plates(wells, plate_S, is_control_S)
    hits, treatment_S = number_treatments(wells, is_control_S, plate_S)
    scores = _rank(wells, treatment_S, is_control_S, compared_S, len(hits), draws=draws, seed=seed)
    hits = pd.concat([hits, scores[["Mean_Average_Precision", "P_Value", "Q_Value"]]], axis=1)
    hits["Active"] = hits["Q_Value"] < LIMIT
    effects = _effect_sizes(wells.features_SF, is_control_S, compared_S).groupby(treatment_S).median()
    hits["Effect_Size"] = effects.reindex(hits.index)
    hits["Test"] = np.where(hits["P_Value"].notna(), BY_REPLICATES, "")
    ranked, several = hits[hits["P_Value"].notna()], hits["Wells"][hits["Wells"] > 1]
    positions = _position_activity(wells, is_control_S, plate_S, compared_S, int(several.median()) if len(several) else 2,
                                   draws=draws, seed=seed)
    resolution = _resolution(scores["Least"], "treatment")
    notes = [note if len(ranked) else _why_not_ranked(hits, int(is_control_S.sum()), control), resolution]
    found = Activity(
        _mean(scores["Mean_Average_Precision"]),
        interval(ranked["Mean_Average_Precision"].to_numpy(), ranked["Metadata_Compound"].to_numpy(str),
                 draws=INTERVAL_DRAWS, seed=seed) if len(ranked) else None,
        _mean(scores["Chance"]), len(ranked), int(hits["Active"].sum()), int((hits["Wells"] < 2).sum()),
        ALL_PLATES if note else SAME_PLATE, int(is_control_S.sum()), draws, positions, "; ".join(filter(None, notes)),
        not resolution, tested=len(ranked))
    return found, hits.sort_values(["Q_Value", "Mean_Average_Precision", "Effect_Size"], ascending=[True, False, False],
                                   kind="stable", ignore_index=True)


def number_plates(wells: ProfileTable) -> np.ndarray:
    """Return the number of each well's plate, (S,); all 0 in a table without plates."""
    if "Metadata_Plate" not in wells.metadata:
        return np.zeros(len(wells.metadata), int)
    return pd.factorize(identity.normal_forms(wells.metadata["Metadata_Plate"], "plate"), sort=True)[0]


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


def number_treatments(wells: ProfileTable, is_control_S: np.ndarray,
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
          place_S: np.ndarray | None = None, draws: int, seed: int) -> pd.DataFrame:
    """Return mAP, p, q, the least possible p and chance of each of `count` groups of wells; NaN where it is not ranked."""
    from scipy import stats

    found = pd.DataFrame(np.nan, range(count), ["Mean_Average_Precision", "P_Value", "Q_Value", "Least", "Chance"])
    if is_control_S.sum() > 1:
        rankings = rank_replicates(wells.features_SF, group_S, np.flatnonzero(is_control_S), compared_S, place_S)
        null = compare_with_chance(rankings, draws=draws, seed=seed)
        ranked = np.flatnonzero(np.isfinite(null.p_T))
        found.loc[ranked] = np.stack([rankings.means(), null.p_T, null.p_T, null.least_T, null.chance_T], axis=1)[ranked]
        found.loc[ranked, "Q_Value"] = stats.false_discovery_control(null.p_T[ranked])
    return found


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


def _position_activity(wells: ProfileTable, is_control_S: np.ndarray, plate_S: np.ndarray, compared_S: np.ndarray,
                       replicates: int, *, draws: int, seed: int) -> PositionActivity:
    """Rank control wells at a position of `replicates` plates, those next to each other in order of name, as a treatment.

    Control wells at other positions are the rest of the ranking.
    """
    if not set(PLACES) <= set(wells.metadata):
        return PositionActivity(note="no wells are known; add Metadata_Plate and Metadata_Well")
    if len(np.unique(plate_S[is_control_S])) < 2:
        return PositionActivity(note="fewer than two plates have control wells; add plates")
    place_S = pd.factorize(identity.normal_forms(wells.metadata["Metadata_Well"], "well"))[0]
    places = pd.DataFrame({"place": place_S, "plate": plate_S})[is_control_S]
    places["part"] = (places.groupby("place")["plate"].rank("dense").astype(int) - 1) // replicates
    grouped = places.groupby(["place", "part"])
    group_S = np.full(len(place_S), -1)
    group_S[is_control_S] = np.where(grouped["plate"].transform("nunique") > 1, grouped.ngroup(), -1)
    if group_S.max() < 0:
        return PositionActivity(note="no well holds the control on two plates, so that position cannot be told from plate; "
                                     "see what is read of row and column")
    scores = _rank(wells, group_S, is_control_S, compared_S, grouped.ngroups, place_S=place_S, draws=draws, seed=seed)
    ranked = scores["P_Value"].notna()
    if not ranked.any():
        return PositionActivity(note="all control wells are at one position; add some at another")
    return PositionActivity(
        int(ranked.sum()), int((scores["Q_Value"] < LIMIT).sum()),
        len(np.unique(place_S[np.isin(group_S, ranked.index[ranked])])), replicates,
        _mean(scores["Mean_Average_Precision"]), _mean(scores["Chance"]), _resolution(scores["Least"], "position"))


def _mean(values: pd.Series) -> float | None:
    """Return the mean of what is known; None where nothing is."""
    return float(values.mean()) if values.notna().any() else None


def _why_not_ranked(hits: pd.DataFrame, control_wells: int, control: str) -> str:
    """Return why no treatment is ranked, and the remedy."""
    if not len(hits):
        return f"all wells hold {control}; add treated wells, or name another compound with --control"
    if control_wells < 2:
        return (f"{control_wells} wells of {control} are too few to compare with; name another compound with --control, or "
                "write all profiles with `mscnn evaluate --profiles all`")
    return "each treatment has one well only; add replicate wells"


def _resolution(least: pd.Series, what: str) -> str:
    """Return a note where no q below LIMIT is possible, since rankings are short; "" where it is."""
    from scipy import stats

    least = least.dropna()
    if not len(least) or stats.false_discovery_control(least).min() < LIMIT:
        return ""
    return (f"no {what} can have q < {LIMIT:g}: with so few replicates and control wells p is {least.min():.2g} or more; "
            "add replicates or control wells")
