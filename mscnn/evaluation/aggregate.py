"""Fields -> wells -> treatments -> compounds, predictions and features.

How a level follows from the one below is a setting, fixed before anything is scored: by default the mean over a well's
fields, the median over a treatment's wells, the mean over a compound's treatments.

Shapes: S rows (fields or wells), F features, K classes.
"""

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.covariance import LedoitWolf

from mscnn.core.errors import DataError
from mscnn.data.tables.site_table import PUBLIC_NAMES, SiteTable
from mscnn.evaluation.profile_table import PLACES, ProfileTable
from mscnn.evaluation.scoring import Treatments

LEVELS = {"wells": ["Plate", "Week", "Well", "Compound", "Concentration", "MOA"],
          "treatments": ["Compound", "Concentration", "MOA"],
          "compounds": ["Compound", "MOA"]}
EMBEDDING = "Image_MCNN_Emb_"  # Image_ is where pycytominer looks for features of whole fields
LEAST_SPREAD = 1e-9            # a feature that varies less in a plate's control wells is centred, not scaled


def metadata(table: SiteTable) -> pd.DataFrame:
    """Metadata_* of each site."""
    return table.frame[list(PUBLIC_NAMES)].rename(columns=PUBLIC_NAMES).reset_index(drop=True)


def field_predictions(table: SiteTable, probabilities_SK: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """A row a site: Metadata_*, Predicted_MOA, and Probability_<class> for each class."""
    probabilities = pd.DataFrame(probabilities_SK, columns=[f"Probability_{name}" for name in classes])
    return _with_prediction(pd.concat([metadata(table), probabilities], axis=1))


def field_profiles(table: SiteTable, features_SF: np.ndarray) -> pd.DataFrame:
    """A row a site: Metadata_*, and the network's activations as Image_MCNN_Emb_001, ... in float32."""
    names = [f"{EMBEDDING}{number:03d}" for number in range(1, features_SF.shape[1] + 1)]
    return pd.concat([metadata(table), pd.DataFrame(features_SF.astype(np.float32), columns=names)], axis=1)


def aggregate(predictions: pd.DataFrame, control: str, *, wells: str = "mean",
              treatments: str = "median") -> dict[str, pd.DataFrame]:
    """Fields -> {"fields", "wells", "treatments", "compounds"}, each with Predicted_MOA.

    A treatment is a compound at one concentration (or at one that is not given).  The control compound, in any case,
    is no treatment: its fields and wells stay, it is not among treatments and compounds.
    """
    tables = {"fields": predictions}
    current = predictions
    for (level, names), rule in zip(LEVELS.items(), (wells, treatments, "mean"), strict=True):
        if level == "treatments":
            current = current[current["Metadata_Compound"].str.casefold() != control.casefold()]
        keys = [f"Metadata_{name}" for name in names]
        probabilities = [name for name in current.columns if name.startswith("Probability_")]
        current = current.groupby(keys, dropna=False, sort=True)[probabilities].agg(rule).reset_index()
        current = tables[level] = _with_prediction(current)
    return tables


def normalise(profiles: ProfileTable, method: str, control: str) -> ProfileTable:
    """Each plate by its own control wells: "z", mean 0 and sd 1; "mad", median 0 and scaled MAD 1; "percentile", 1st
    percentile 0 and 99th 1 (Ljosa 2013).  Treated wells never enter.  Raises DataError naming plates without control.
    """
    plates = _plates(profiles)
    features_SF, is_control = profiles.features_SF.copy(), profiles.is_control(control)
    lacking = sorted(set(plates) - set(plates[is_control]))
    if lacking:
        raise DataError(f"plates without a row of {control} to normalise by; name another compound with --control, or use "
                        "--normalise none", lacking)
    for plate in np.unique(plates):
        own = plates == plate
        centre_F, spread_F = _centre_and_spread(profiles.features_SF[own & is_control], method)
        features_SF[own] = (features_SF[own] - centre_F) / np.where(spread_F > LEAST_SPREAD, spread_F, 1)
    return ProfileTable(profiles.metadata, features_SF, profiles.names)


def sphere(profiles: ProfileTable, control: str) -> ProfileTable:
    """All features rotated and scaled (ZCA) so that control wells vary alike and independently in all directions.

    By the shrunk covariance of the control rows (Ledoit & Wolf 2004), which has an inverse however few there are.
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


def treatments(profiles: ProfileTable, control: str, *, wells: str = "mean", treatment_by: str = "median",
               need_batches: bool = True) -> tuple[Treatments, dict[str, int]]:
    """Profiles of treatments from those of fields or wells, in order of compound and concentration; and what was counted.

    Rows of the control and those without a mechanism are left out.  A table without plate and well has no wells: its rows
    are taken for them.  need_batches: each row must have a week.  Raises DataError naming what cannot be scored.
    """
    table, is_control = profiles.metadata, profiles.is_control(control)
    known = ((table["Metadata_MOA"] != "") & (table["Metadata_Compound"] != "")).to_numpy()
    _refuse(table[known & ~is_control], control, need_batches)
    chosen = profiles.select(known & ~is_control)
    keys = ["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"]
    wells = _groups(chosen, [*keys, "Metadata_Week", *(name for name in PLACES if name in table)], wells) \
        if set(PLACES) <= set(table) else chosen
    batches = wells.metadata.groupby(keys, dropna=False)["Metadata_Week"].agg([frozenset, "size"]).reset_index()
    counts = chosen.metadata.groupby(keys, dropna=False)["Scored"].any().to_numpy()
    counted = {"rows": len(table), "control": int(is_control.sum()), "unlabelled": int((~known & ~is_control).sum()),
               "wells": len(wells.metadata), "features": len(profiles.names)}
    of_treatments = _groups(wells, keys, treatment_by)
    frame = of_treatments.metadata.assign(Batches=batches["frozenset"], Wells=batches["size"], Scored=counts)
    return Treatments(frame, of_treatments.features_SF), counted


def _refuse(table: pd.DataFrame, control: str, need_batches: bool) -> None:
    """What makes nearest neighbours meaningless."""
    if not len(table):
        raise DataError(f"no row but {control} has a mechanism (Metadata_MOA) and a compound; nothing can be scored")
    compounds = sorted(set(table["Metadata_Compound"]))
    if len(compounds) < 2:
        raise DataError(f"{compounds[0]} is the only compound with a mechanism; two are needed to compare")
    if need_batches and (homeless := table["Metadata_Week"] == "").any():
        raise DataError("rows have a mechanism but no week or batch; fill in Metadata_Week",
                        sorted(set(table["Metadata_Compound"][homeless])))
    pairs = table.groupby(["Metadata_Compound", "Metadata_Concentration"], dropna=False)["Metadata_MOA"].unique()
    if len(several := pairs[pairs.map(len) > 1]):
        raise DataError("treatments have more than one mechanism; keep one", [
            f"{compound} {dose:g}: {'; '.join(sorted(names))}" for (compound, dose), names in several.items()])


def _groups(profiles: ProfileTable, keys: list[str], rule: str) -> ProfileTable:
    """One row a group, in the order of the keys."""
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
