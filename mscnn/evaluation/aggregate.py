"""Aggregate predictions and features: fields -> wells -> treatments -> compounds.

The rule of a level is a setting, fixed before anything is scored.  Default: the mean over a well's fields, the median over
a treatment's wells; always the mean over a compound's treatments.

Shapes: S rows (fields or wells), F features, K classes.
"""

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.data.tables.site_table import PUBLIC_NAMES, SiteTable
from mscnn.evaluation.matching import TreatmentCounts, Treatments
from mscnn.evaluation.profile_table import PLACES, ProfileTable
from mscnn.readout.tables import EMBEDDING

LEVELS = {"wells": ["Plate", "Week", "Well", "Compound", "Concentration", "MOA"],
          "treatments": ["Compound", "Concentration", "MOA"],
          "compounds": ["Compound", "MOA"]}
LEAST_SPREAD = 1e-9            # a feature that varies less in a plate's control wells is centred, not scaled


def metadata(table: SiteTable) -> pd.DataFrame:
    """Return Metadata_* of each site."""
    return table.frame[list(PUBLIC_NAMES)].rename(columns=PUBLIC_NAMES).reset_index(drop=True)


def field_predictions(table: SiteTable, probabilities_SK: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Return a row per site: Metadata_*, Predicted_MOA, and Probability_<class> for each class."""
    probabilities = pd.DataFrame(probabilities_SK, columns=[f"Probability_{name}" for name in classes])
    return _with_prediction(pd.concat([metadata(table), probabilities], axis=1))


def field_profiles(table: SiteTable, features_SF: np.ndarray) -> pd.DataFrame:
    """Return a row per site: Metadata_*, and the network's activations as Image_MCNN_Emb_001, ... in float32."""
    return pd.concat([metadata(table), embedding(features_SF)], axis=1)


def embedding(features_SF: np.ndarray) -> pd.DataFrame:
    """Return a row per site: the network's activations as Image_MCNN_Emb_001, ... in float32."""
    names = [f"{EMBEDDING}{number:03d}" for number in range(1, features_SF.shape[1] + 1)]
    return pd.DataFrame(features_SF.astype(np.float32), columns=names)


def aggregate(predictions: pd.DataFrame, control: str, *, well_rule: str = "mean",
              treatment_rule: str = "median") -> dict[str, pd.DataFrame]:
    """Return {"fields", "wells", "treatments", "compounds"}: the predictions at each level, each with Predicted_MOA.

    A treatment is a compound at one concentration, or at a concentration that is not given.  The control compound, in any
    spelling, has fields and wells only.  Rules: "mean" or "median".
    """
    tables = {"fields": predictions}
    current = predictions
    for (level, names), rule in zip(LEVELS.items(), (well_rule, treatment_rule, "mean"), strict=True):
        if level == "treatments":
            current = current[~identity.is_name(current["Metadata_Compound"], control)]
        keys = [f"Metadata_{name}" for name in names]
        probabilities = [name for name in current.columns if name.startswith("Probability_")]
        current = current.groupby(keys, dropna=False, sort=True)[probabilities].agg(rule).reset_index()
        current = tables[level] = _with_prediction(current)
    return tables


def normalise(profiles: ProfileTable, method: str, control: str) -> ProfileTable:
    """Normalise each plate by its own control wells: treated wells never enter.

    method: "z", mean 0 and sd 1; "mad", median 0 and scaled MAD 1; "percentile", 1st percentile 0 and 99th 1 (Ljosa 2013).
    Raises DataError naming plates without control.
    """
    plates = _plates(profiles)
    features_SF, is_control = profiles.features_SF.copy(), profiles.is_control(control)
    lacking = sorted(set(plates) - set(plates[is_control]))
    if lacking:
        raise DataError(f"plates without a row of {control} to normalise by; name another compound with --control, or use "
                        "--normalise none", lacking)
    for plate in np.unique(plates):
        on_plate = plates == plate
        centre_F, spread_F = _centre_and_spread(profiles.features_SF[on_plate & is_control], method)
        features_SF[on_plate] = (features_SF[on_plate] - centre_F) / np.where(spread_F > LEAST_SPREAD, spread_F, 1)
    return ProfileTable(profiles.metadata, features_SF, profiles.names)


def standardise(profiles: ProfileTable) -> ProfileTable:
    """Scale each feature to mean 0 and sd 1 over all rows, also those of the control; to 0 where it is constant."""
    return ProfileTable(profiles.metadata, StandardScaler().fit_transform(profiles.features_SF), profiles.names)


def sphere(profiles: ProfileTable, control: str) -> ProfileTable:
    """Whiten all features (ZCA) so that control wells vary alike and independently in all directions.

    The covariance of the control rows is shrunk (Ledoit & Wolf 2004): it has an inverse however few rows there are.
    Raises DataError for fewer than two control rows, or rows that are all alike.
    """
    reference_SF = profiles.features_SF[profiles.is_control(control)]
    if len(reference_SF) < 2:
        raise DataError(f"{len(reference_SF)} rows of {control} are too few to sphere by; name another compound with "
                        "--control, or leave out --sphere")
    covariance = LedoitWolf().fit(reference_SF)
    values_F, vectors_FF = np.linalg.eigh(covariance.covariance_)
    if values_F.min() <= 0:
        raise DataError(f"the {len(reference_SF)} rows of {control} are all alike; there is nothing to sphere by")
    sphered_SF = (profiles.features_SF - covariance.location_) @ (vectors_FF / np.sqrt(values_F)) @ vectors_FF.T
    return ProfileTable(profiles.metadata, sphered_SF, profiles.names)


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


def _plates(profiles: ProfileTable) -> np.ndarray:
    if "Metadata_Plate" not in profiles.metadata:
        raise DataError("no column Metadata_Plate to normalise each plate by; add it, or use --normalise none")
    return profiles.metadata["Metadata_Plate"].to_numpy(dtype=str)


def _centre_and_spread(reference_SF: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    if method == "z":
        return reference_SF.mean(axis=0), reference_SF.std(axis=0)
    if method == "mad":
        return np.median(reference_SF, axis=0), stats.median_abs_deviation(reference_SF, axis=0, scale="normal")
    low_F, high_F = np.percentile(reference_SF, [1, 99], axis=0)
    return low_F, high_F - low_F


def _with_prediction(table: pd.DataFrame) -> pd.DataFrame:
    """Put the class of highest probability before the probabilities; the first in order where they tie."""
    probabilities = table[[name for name in table.columns if name.startswith("Probability_")]]
    predicted = probabilities.idxmax(axis=1).str.removeprefix("Probability_")
    metadata = table[[name for name in table.columns if name.startswith("Metadata_")]]
    return pd.concat([metadata, predicted.rename("Predicted_MOA"), probabilities], axis=1)
