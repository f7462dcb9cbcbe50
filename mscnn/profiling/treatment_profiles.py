"""Aggregate profiles: fields -> wells -> treatments.

The rule of a level is a setting, fixed before anything is scored.  Default: the mean over a well's fields, the median over
a treatment's wells.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from mscnn.core.errors import DataError
from mscnn.profiling.matching import TreatmentCounts, Treatments
from mscnn.profiling.profile_table import PLACES, ProfileTable

KEYS = ["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"]  # of a treatment


class NothingToMatch(DataError):
    """Fewer than two compounds have a mechanism."""


def wells(profiles: ProfileTable, rule: str = "mean") -> ProfileTable:
    """Return a row per well, in order of compound and concentration: treated ones and those of the control.

    Metadata: KEYS, Metadata_Week, Scored, and PLACES where the table has both.  Mechanisms may be "".  In a table without
    plate and well each row counts as a well, and so does a row that lacks one.  Rows without a compound are left out.
    """
    named = profiles.select((profiles.metadata["Metadata_Compound"] != "").to_numpy())
    if not set(PLACES) <= set(named.metadata):
        return named
    keys = [*KEYS, "Metadata_Week", *PLACES, "alone"]
    is_placed = (named.metadata[list(PLACES)] != "").all(axis=1)
    alone = np.where(is_placed, -1, np.arange(len(is_placed)))
    named = ProfileTable(named.metadata.assign(alone=alone), named.features_SF, named.names)
    grouped = _groups(named, keys, rule)
    scored = named.metadata.groupby(keys, dropna=False, sort=True)["Scored"].any().to_numpy()
    return ProfileTable(grouped.metadata.drop(columns="alone").assign(Scored=scored), grouped.features_SF, grouped.names)


def of_wells(wells: ProfileTable, control: str, rule: str = "median") -> tuple[pd.DataFrame, np.ndarray]:
    """Return the treatments of a table of wells, in order of compound and concentration, and their profiles (T, F).

    The control is left out, and treatments without a mechanism are not.  The table has KEYS, Batches (frozenset of text),
    Wells (their number) and Scored.
    """
    treated = wells.select(~wells.is_control(control))
    grouped = treated.metadata.groupby(KEYS, dropna=False, sort=True)
    batches = grouped["Metadata_Week"].agg([frozenset, "size"]).reset_index()
    found = _groups(treated, KEYS, rule)
    return found.metadata.assign(Batches=batches["frozenset"], Wells=batches["size"],
                                 Scored=grouped["Scored"].any().to_numpy()), found.features_SF


def treatments(profiles: ProfileTable, control: str, *, well_rule: str = "mean", treatment_rule: str = "median",
               need_batches: bool = True) -> tuple[Treatments, TreatmentCounts]:
    """Return profiles of treatments, in order of compound and concentration, from those of fields or wells; and counts.

    Rows of the control and rows without a mechanism are left out.  In a table without plate and well each row counts as a
    well.  need_batches: where some rows have no week, none has: NSCB cannot be had.  Raises DataError naming what cannot be
    scored, NothingToMatch where too few mechanisms are known.
    """
    table, is_control = profiles.metadata, profiles.is_control(control)
    known = ((table["Metadata_MOA"] != "") & (table["Metadata_Compound"] != "")).to_numpy()
    _refuse(table[known & ~is_control], control)
    matched = profiles.select(known & ~is_control)
    lacks_week = matched.metadata["Metadata_Week"] == ""
    weekless = 0 if lacks_week.all() else int(lacks_week.sum())
    if need_batches and weekless:
        matched = replace(matched, metadata=matched.metadata.assign(Metadata_Week=""))
    of_known = wells(matched, well_rule)
    counts = replace(count(profiles, control, len(of_known.metadata)), weekless=weekless)
    return Treatments(*of_wells(of_known, control, treatment_rule)), counts


def count(profiles: ProfileTable, control: str, num_wells: int = 0) -> TreatmentCounts:
    """Return what becomes of the rows of a table; num_wells: that are matched."""
    table, is_control = profiles.metadata, profiles.is_control(control)
    known = ((table["Metadata_MOA"] != "") & (table["Metadata_Compound"] != "")).to_numpy()
    return TreatmentCounts(len(table), int(is_control.sum()), int((~known & ~is_control).sum()), num_wells,
                           len(profiles.names))


def _refuse(table: pd.DataFrame, control: str) -> None:
    """Raise DataError for a table in which nearest neighbours mean nothing."""
    if not len(table):
        raise NothingToMatch(f"no row but {control} has a mechanism (Metadata_MOA) and a compound; nothing can be scored")
    compounds = sorted(set(table["Metadata_Compound"]))
    if len(compounds) < 2:
        raise NothingToMatch(f"{compounds[0]} is the only compound with a mechanism; two are needed to compare")
    pairs = table.groupby(["Metadata_Compound", "Metadata_Concentration"], dropna=False)["Metadata_MOA"].unique()
    if len(several := pairs[pairs.map(len) > 1]):
        raise DataError("treatments have more than one mechanism; keep one", [
            f"{compound} {dose:g}: {'; '.join(sorted(names))}" for (compound, dose), names in several.items()])


def _groups(profiles: ProfileTable, keys: list[str], rule: str) -> ProfileTable:
    """Return a row per group, in the order of the keys."""
    features = pd.DataFrame(profiles.features_SF, columns=range(profiles.features_SF.shape[1]))
    grouped = pd.concat([profiles.metadata[keys], features], axis=1).groupby(keys, dropna=False, sort=True).agg(rule)
    return ProfileTable(grouped.index.to_frame(index=False), grouped.to_numpy(), profiles.names)
