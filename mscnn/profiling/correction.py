"""Correct profiles: scale each plate by its untreated wells, whiten by all of them, or scale by all rows.

Shapes: S rows (fields or wells), F features.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from mscnn.core.errors import DataError
from mscnn.core.records import Count, Record
from mscnn.profiling.profile_table import PLACES, ProfileTable
from mscnn.readout.plate_controls import ENOUGH_WELLS

LEAST_SPREAD = 1e-9            # a feature that varies less in control wells is centred, not scaled
LEAST_SHARE = 0.25             # of a feature's spread in control wells of all plates: the least that a plate is scaled by


@dataclass(frozen=True)
class Correction(Record):
    """What was done to profiles before they were compared, and which wells it was fitted on."""

    normalise: str       # none; standard; z, mad or percentile
    sphere: bool
    control: str         # compound of the control wells
    rows: Count = 0      # of control that it was fitted on; 0: none, or all rows of the table (standard)
    wells: Count = 0     # of these rows; 0 where the table tells no wells
    plates: Count = 0    # of these wells

    @property
    def is_none(self) -> bool:
        """Whether nothing was done."""
        return self.normalise == "none" and not self.sphere

    def __str__(self) -> str:
        done = [f"features scaled over all rows (--normalise {self.normalise})"] if self.normalise == "standard" else \
            [f"each plate scaled by its control wells (--normalise {self.normalise})"] if self.normalise != "none" else []
        done += ["sphered by all control wells"] if self.sphere else []
        fitted = f"; fitted on {self.rows} rows of {self.control}" if self.rows else ""
        wells = f", {self.wells} wells of {self.plates} plates" if self.wells else ""
        return " and ".join(done or ["nothing"]) + fitted + wells


def correct(profiles: ProfileTable, *, normalise: str, sphere: bool, control: str) -> tuple[ProfileTable, Correction]:
    """Return the corrected profiles, and what was done. Raises DataError where control wells lack.

    normalise: none; standard, as in standardise; z, mad or percentile, as in normalise_plates.  sphere: whiten, after it.
    """
    found = profiles
    if normalise == "standard":
        found = standardise(found)
    elif normalise != "none":
        found = normalise_plates(found, normalise, control)
    if sphere:
        found = whiten(found, control)
    if not sphere and normalise in ("none", "standard"):
        return found, Correction(normalise, sphere, control)
    fitted = profiles.metadata[profiles.is_control(control)]
    has_wells = set(PLACES) <= set(fitted)
    return found, Correction(normalise, sphere, control, len(fitted),
                             len(fitted.drop_duplicates(list(PLACES))) if has_wells else 0,
                             fitted["Metadata_Plate"].nunique() if has_wells else 0)


def has_controls(profiles: ProfileTable, control: str) -> bool:
    """Return whether each plate has enough control wells to be scaled by them."""
    if not set(PLACES) <= set(profiles.metadata):
        return False
    plates, wells = (profiles.metadata[name] for name in PLACES)
    is_control = profiles.is_control(control)
    return bool((wells[is_control].groupby(plates[is_control]).nunique().reindex(plates.unique(), fill_value=0)
                 >= ENOUGH_WELLS).all())


def normalise_plates(profiles: ProfileTable, method: str, control: str) -> ProfileTable:
    """Normalise each plate by its own control wells: treated wells never enter.

    method: "z", mean 0 and sd 1; "mad", median 0 and scaled MAD 1; "percentile", 1st percentile 0 and 99th 1 (Ljosa 2013).
    A feature that hardly varies in the control wells of one plate, as one that the network sets to 0 in most of them, is
    divided by LEAST_SHARE of its spread in those of all plates: else a few such features outweigh all others by chance.
    Raises DataError naming plates without control.
    """
    plates = _plates(profiles)
    features_SF, is_control = profiles.features_SF.copy(), profiles.is_control(control)
    lacking = sorted(set(plates) - set(plates[is_control]))
    if lacking:
        raise DataError(f"plates without a row of {control} to normalise by; name another compound with --control, or use "
                        "--normalise none", lacking)
    least_F = LEAST_SHARE * _spread_in_all_plates(profiles.features_SF[is_control], plates[is_control])
    for plate in np.unique(plates):
        on_plate = plates == plate
        centre_F, spread_F = _centre_and_spread(profiles.features_SF[on_plate & is_control], method)
        spread_F = np.maximum(spread_F, least_F)
        features_SF[on_plate] = (features_SF[on_plate] - centre_F) / np.where(spread_F > LEAST_SPREAD, spread_F, 1)
    return ProfileTable(profiles.metadata, features_SF, profiles.names)


def _spread_in_all_plates(controls_SF: np.ndarray, plates_S: np.ndarray) -> np.ndarray:
    """Return the root mean square (F,) of the distances of control rows from the median of their plate."""
    squares_F = np.zeros(controls_SF.shape[1])
    for plate in np.unique(plates_S):
        of_plate_SF = controls_SF[plates_S == plate]
        squares_F += ((of_plate_SF - np.median(of_plate_SF, axis=0)) ** 2).sum(axis=0)
    return np.sqrt(squares_F / len(controls_SF))


def standardise(profiles: ProfileTable) -> ProfileTable:
    """Scale each feature to mean 0 and sd 1 over all rows, also those of the control; to 0 where it is constant."""
    return ProfileTable(profiles.metadata, StandardScaler().fit_transform(profiles.features_SF), profiles.names)


def whiten(profiles: ProfileTable, control: str) -> ProfileTable:
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
