"""Places of treatments on a map: PCA, and UMAP where umap-learn is installed.

Shapes: T treatments, F features.
"""

import importlib.util
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from mscnn.evaluation.aggregate import PROBABILITY
from mscnn.profiling import profile_table, treatment_profiles
from mscnn.report.run import Run

MAPPED = 5000   # treatments above which UMAP takes minutes
FEWEST = 4      # treatments of a map


@dataclass(frozen=True)
class Projection:
    """Places of treatments in a plane."""

    name: str               # PCA or UMAP
    places_T2: np.ndarray   # float64
    axes: tuple[str, str]   # titles


@dataclass(frozen=True)
class PlacedTreatments:
    """Treatments and their places."""

    frame: pd.DataFrame            # a row per treatment: Metadata_Compound, Metadata_Concentration, Metadata_MOA
    projections: list[Projection]  # [] where there is nothing to tell apart
    of: str                        # the features, in words


NOWHERE = PlacedTreatments(pd.DataFrame({name: [] for name in treatment_profiles.KEYS}), [], "")


def place(run: Run) -> PlacedTreatments:
    """Place all treatments: by one network's features, or by the probabilities of networks that had not seen the compound.

    The control is no treatment.  Networks of different folds have different features, so theirs are not compared.
    """
    description = run.description
    if run.profiles is None:
        table = run.tables["treatments"]
        features_TF = table[[name for name in table if name.startswith(PROBABILITY)]].to_numpy(float)
        found, of = table[treatment_profiles.KEYS], "probabilities, each by a network that was trained without the compound"
    else:
        wells = treatment_profiles.wells(profile_table.read(run.profiles), description.aggregate_wells)
        if wells.is_control(description.control).all():
            return NOWHERE
        found, features_TF = treatment_profiles.of_wells(wells, description.control, description.aggregate_treatments)
        of = f"the network's {features_TF.shape[1]} features"
    return PlacedTreatments(found[treatment_profiles.KEYS].reset_index(drop=True), project(features_TF), of)


def project(features_TF: np.ndarray) -> list[Projection]:
    """Project standardised features: PCA, and UMAP (McInnes et al. 2018) of 16 to 5,000 treatments.

    Fewer than 4 treatments, or treatments that are all alike, have no places.
    """
    if len(features_TF) < FEWEST or features_TF.shape[1] < 2 or not np.ptp(features_TF, axis=0).any():
        return []
    scaled_TF = StandardScaler().fit_transform(features_TF)
    pca = PCA(2, random_state=0).fit(scaled_TF)
    titles = [f"component {number} ({share:.0%} of the variance)"
              for number, share in enumerate(pca.explained_variance_ratio_, start=1)]
    found = [Projection("PCA", pca.transform(scaled_TF), (titles[0], titles[1]))]
    if importlib.util.find_spec("umap") and 15 < len(scaled_TF) <= MAPPED:
        import umap  # here: it takes seconds

        places_T2 = umap.UMAP(random_state=0, n_jobs=1, init="random").fit_transform(scaled_TF)
        found.append(Projection("UMAP", np.asarray(places_T2, float), ("UMAP 1", "UMAP 2")))
    return found
