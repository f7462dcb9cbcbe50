"""Aggregate profiles: fields -> wells -> treatments.

The rule of a level is a setting, fixed before anything is scored.  Default: the mean over a well's fields, the median over
a treatment's wells.
"""

import pandas as pd

from mscnn.core.errors import DataError
from mscnn.profiling.matching import TreatmentCounts, Treatments
from mscnn.profiling.profile_table import PLACES, ProfileTable


def treatments(profiles: ProfileTable, control: str, *, well_rule: str = "mean", treatment_rule: str = "median",
               need_batches: bool = True) -> tuple[Treatments, TreatmentCounts]:
    """Return profiles of treatments, in order of compound and concentration, from those of fields or wells; and counts.

    Rows of the control and rows without a mechanism are left out.  In a table without plate and well each row counts as a
    well.  need_batches: all rows have a week, or none has.  Raises DataError naming what cannot be scored.
    """
    table, is_control = profiles.metadata, profiles.is_control(control)
    known = ((table["Metadata_MOA"] != "") & (table["Metadata_Compound"] != "")).to_numpy()
    _refuse(table[known & ~is_control], control, need_batches)
    chosen = profiles.select(known & ~is_control)
    keys = ["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"]
    wells = _groups(chosen, [*keys, "Metadata_Week", *PLACES], well_rule) if set(PLACES) <= set(table) else chosen
    batches = wells.metadata.groupby(keys, dropna=False)["Metadata_Week"].agg([frozenset, "size"]).reset_index()
    counts = chosen.metadata.groupby(keys, dropna=False)["Scored"].any().to_numpy()
    counted = TreatmentCounts(len(table), int(is_control.sum()), int((~known & ~is_control).sum()), len(wells.metadata),
                              len(profiles.names))
    of_treatments = _groups(wells, keys, treatment_rule)
    frame = of_treatments.metadata.assign(Batches=batches["frozenset"], Wells=batches["size"], Scored=counts)
    return Treatments(frame, of_treatments.features_SF), counted


def _refuse(table: pd.DataFrame, control: str, need_batches: bool) -> None:
    """Raise DataError for a table in which nearest neighbours mean nothing."""
    if not len(table):
        raise DataError(f"no row but {control} has a mechanism (Metadata_MOA) and a compound; nothing can be scored")
    compounds = sorted(set(table["Metadata_Compound"]))
    if len(compounds) < 2:
        raise DataError(f"{compounds[0]} is the only compound with a mechanism; two are needed to compare")
    lacks_week = table["Metadata_Week"] == ""
    if need_batches and lacks_week.any() and not lacks_week.all():
        raise DataError(f"{lacks_week.sum()} of {len(table)} rows with a mechanism have no week or batch; fill in "
                        "Metadata_Week, or take the column out: NSCB is left out then",
                        sorted(set(table["Metadata_Compound"][lacks_week])))
    pairs = table.groupby(["Metadata_Compound", "Metadata_Concentration"], dropna=False)["Metadata_MOA"].unique()
    if len(several := pairs[pairs.map(len) > 1]):
        raise DataError("treatments have more than one mechanism; keep one", [
            f"{compound} {dose:g}: {'; '.join(sorted(names))}" for (compound, dose), names in several.items()])


def _groups(profiles: ProfileTable, keys: list[str], rule: str) -> ProfileTable:
    """Return a row per group, in the order of the keys."""
    features = pd.DataFrame(profiles.features_SF, columns=range(profiles.features_SF.shape[1]))
    grouped = pd.concat([profiles.metadata[keys], features], axis=1).groupby(keys, dropna=False, sort=True).agg(rule)
    return ProfileTable(grouped.index.to_frame(index=False), grouped.to_numpy(), profiles.names)
