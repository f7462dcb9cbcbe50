"""Correct profiles: scale each plate by its untreated wells, whiten by all of them, or scale by all rows.

Shapes: S rows (fields or wells), F features.
"""

import numpy as np
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from mscnn.core.errors import DataError
from mscnn.profiling.profile_table import ProfileTable

LEAST_SPREAD = 1e-9            # a feature that varies less in a plate's control wells is centred, not scaled


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
