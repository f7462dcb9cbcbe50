"""Aggregate predictions and features: fields -> wells -> treatments -> compounds.

The rule of a level is a setting, fixed before anything is scored.  Default: the mean over a well's fields, the median over
a treatment's wells; always the mean over a compound's treatments.

Tables of assays have no Predicted_MOA, and the known values as Assay_<name> before the probabilities.  Where no mechanism
can be predicted there are no probabilities, and Predicted_MOA is "".

Shapes: S rows (fields or wells), F features, K classes or assays.
"""

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.data.tables.site_table import PUBLIC_NAMES, SiteTable
from mscnn.readout.tables import EMBEDDING

KEYS = {"wells": ["Plate", "Week", "Well", "Compound", "Concentration"], "treatments": ["Compound", "Concentration"],
        "compounds": ["Compound"]}
LEVELS = {level: [*names, "MOA"] for level, names in KEYS.items()}  # metadata of a row
ASSAY, PROBABILITY, MECHANISM = "Assay_", "Probability_", "Metadata_MOA"


def metadata(table: SiteTable) -> pd.DataFrame:
    """Return Metadata_* of each site."""
    return table.frame[list(PUBLIC_NAMES)].rename(columns=PUBLIC_NAMES).reset_index(drop=True)


def field_predictions(table: SiteTable, probabilities_SK: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Return a row per site: Metadata_*, Predicted_MOA, and Probability_<class> for each class."""
    probabilities = pd.DataFrame(probabilities_SK, columns=[f"Probability_{name}" for name in classes])
    return _with_prediction(pd.concat([metadata(table), probabilities], axis=1))


def assay_predictions(table: SiteTable, probabilities_SK: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Return a row per site: Metadata_*, and of each assay Assay_<name>, 1, 0 or NaN, and Probability_<name> of being 1."""
    known_SK = np.full(probabilities_SK.shape, np.nan) if table.assays is None else table.assays.of_sites().astype(float)
    return pd.concat([metadata(table), pd.DataFrame(known_SK, columns=[f"{ASSAY}{name}" for name in names]),
                      pd.DataFrame(probabilities_SK, columns=[f"{PROBABILITY}{name}" for name in names])], axis=1)


def is_of_assays(predictions: pd.DataFrame) -> bool:
    """Return whether predictions of any level are of assays, and not of mechanisms."""
    return any(str(name).startswith(ASSAY) for name in predictions)


def field_profiles(table: SiteTable, features_SF: np.ndarray) -> pd.DataFrame:
    """Return a row per site: Metadata_*, and the network's activations as Image_MCNN_Emb_001, ... in float32."""
    return pd.concat([metadata(table), embedding(features_SF)], axis=1)


def embedding(features_SF: np.ndarray) -> pd.DataFrame:
    """Return a row per site: the network's activations as Image_MCNN_Emb_001, ... in float32."""
    names = [f"{EMBEDDING}{number:03d}" for number in range(1, features_SF.shape[1] + 1)]
    return pd.DataFrame(features_SF.astype(np.float32), columns=names)


def aggregate(predictions: pd.DataFrame, control: str, *, well_rule: str = "mean",
              treatment_rule: str = "median") -> dict[str, pd.DataFrame]:
    """Return {"fields", "wells", "treatments", "compounds"}: the predictions at each level, in the form of the fields'.

    A treatment is a compound at one concentration, or at a concentration that is not given.  The control compound, in any
    spelling, has fields and wells only.  Rules: "mean" or "median".  A row has the known mechanism among those that it is
    made of: a compound is one row, also where only some of its doses have a mechanism.
    """
    of_assays = is_of_assays(predictions)
    tables = {"fields": predictions}
    current = predictions
    for (level, names), rule in zip(KEYS.items(), (well_rule, treatment_rule, "mean"), strict=True):
        if level == "treatments":
            current = current[~identity.is_name(current["Metadata_Compound"], control)]
        keys = [f"Metadata_{name}" for name in names]
        rules = {MECHANISM: "max", **{name: "max" for name in current if name.startswith(ASSAY)},  # "" sorts first
                 **{name: rule for name in current if name.startswith(PROBABILITY)}}
        current = current.groupby(keys, dropna=False, sort=True)[[*rules]].agg(rules).reset_index()
        current = tables[level] = current if of_assays else _with_prediction(current)
    return tables


def _with_prediction(table: pd.DataFrame) -> pd.DataFrame:
    """Put the class of highest probability before the probabilities; the first in order where they tie, "" of none."""
    probabilities = table[[name for name in table.columns if name.startswith(PROBABILITY)]]
    predicted = probabilities.idxmax(axis=1).str.removeprefix(PROBABILITY) if len(probabilities.columns) else \
        pd.Series("", table.index, dtype=str)
    metadata = table[[name for name in table.columns if name.startswith("Metadata_")]]
    return pd.concat([metadata, predicted.rename("Predicted_MOA"), probabilities], axis=1)
