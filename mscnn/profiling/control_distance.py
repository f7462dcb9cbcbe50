"""How far wells are from the control wells of their plates, and how far control wells are from others of their kind.

distance_activity.py says what it is for.

Shapes: S wells, F features, C control wells, G groups of wells, N null distances, V features that vary, R directions.
"""

from dataclasses import dataclass

import numpy as np

from mscnn.profiling.correction import LEAST_SHARE, LEAST_SPREAD
from mscnn.readout.plate_controls import ENOUGH_WELLS

FOLDS = 10  # of groups whose wells are left out of a covariance


@dataclass(frozen=True)
class ControlSpread:
    """How control wells vary around the median of their plate."""

    varies_F: np.ndarray       # bool: features that differ from the median in at least half of the control wells
    scale_V: np.ndarray        # sd of each of these, but no less than LEAST_SHARE of its sd over all wells
    directions_RV: np.ndarray  # orthonormal: principal components of the scaled features
    variance_R: np.ndarray     # along them, shrunk
    rest: float                # variance in any other direction

    def distances(self, profiles_GF: np.ndarray) -> np.ndarray:
        """Return Mahalanobis' distance of each profile, relative to its plate's median, (G,)."""
        scaled_GV = profiles_GF[:, self.varies_F] / self.scale_V
        along_GR = scaled_GV @ self.directions_RV.T
        other_G = np.maximum((scaled_GV**2).sum(axis=1) - (along_GR**2).sum(axis=1), 0)
        return np.sqrt((along_GR**2 / self.variance_R).sum(axis=1) + other_G / self.rest)


def control_spread(residuals_CF: np.ndarray, spread_F: np.ndarray) -> ControlSpread | None:
    """Return how control wells vary; None where they do not.

    residuals_CF: relative to the median of the plate.  spread_F: sd of each feature over all wells, relative to it, too.
    How far is far is not known of a feature that is the same in most control wells, as one that the network sets to 0
    there: it is left out.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    varies_F = np.median(np.abs(residuals_CF), axis=0) > LEAST_SPREAD * spread_F
    if not varies_F.any():
        return None
    residuals_CV = residuals_CF[:, varies_F]
    scale_V = np.maximum(np.sqrt((residuals_CV**2).mean(axis=0)), LEAST_SHARE * spread_F[varies_F])
    scaled_CV = residuals_CV / scale_V
    _, values_R, directions_RV = np.linalg.svd(scaled_CV, full_matrices=False)
    variance_R = values_R**2 / len(scaled_CV)
    mean = variance_R.sum() / scaled_CV.shape[1]
    shrinkage = max(float(ledoit_wolf_shrinkage(scaled_CV, assume_centered=True)), LEAST_SPREAD)
    rest = shrinkage * mean
    return ControlSpread(varies_F, scale_V, directions_RV, (1 - shrinkage) * variance_R + rest, rest)


def null_distances(features_SF: np.ndarray, plate_S: np.ndarray, controls_C: np.ndarray, groups: list[np.ndarray],
                   spread_F: np.ndarray) -> np.ndarray:
    """Return the distance of each group of control wells, by a median and a covariance of others, (N,)."""
    found_N, fold_N = np.empty(len(groups)), np.arange(len(groups)) % FOLDS
    for fold in np.unique(fold_N):
        chosen = np.flatnonzero(fold_N == fold)
        others_C = np.setdiff1d(controls_C, np.concatenate([groups[number] for number in chosen]))
        model = control_spread(residuals(features_SF, plate_S, others_C), spread_F)
        profiles = [(features_SF[groups[number]] - plate_medians(features_SF, plate_S, np.setdiff1d(
            controls_C[np.isin(plate_S[controls_C], plate_S[groups[number]])], groups[number]))[plate_S[groups[number]]]
                     ).mean(axis=0) for number in chosen]
        found_N[chosen] = model.distances(np.array(profiles)) if model else np.inf
    return found_N


def null_groups(pattern: tuple[int, ...], plate_S: np.ndarray, place_S: np.ndarray,
                controls_C: np.ndarray) -> list[np.ndarray]:
    """Return groups of control wells that share no well: as many of each of several plates as the pattern says.

    The plates with the most wells left give the next group, at one position where they can.  Each plate keeps at least
    ENOUGH_WELLS - 1 control wells that are not in the group, for its median.
    """
    left = {plate: sorted(controls_C[plate_S[controls_C] == plate], key=lambda row: (place_S[row], row))
            for plate in np.unique(plate_S[controls_C])}
    allowed = {plate: len(rows) - ENOUGH_WELLS + 1 for plate, rows in left.items()}
    groups = []
    while True:
        chosen = sorted(left, key=lambda plate: (-len(left[plate]), plate))[:len(pattern)]
        wanted = list(zip(chosen, pattern, strict=False))
        if len(chosen) < len(pattern) or any(number > min(len(left[plate]), allowed[plate]) for plate, number in wanted):
            return groups
        common = set.intersection(*({int(place_S[row]) for row in left[plate]} for plate in chosen))
        group: list[int] = []
        for plate, number in wanted:
            taken = sorted(left[plate], key=lambda row: place_S[row] not in common)[:number]
            left[plate] = [row for row in left[plate] if row not in taken]
            group += taken
        groups.append(np.array(group))


def plate_medians(features_SF: np.ndarray, plate_S: np.ndarray, controls_C: np.ndarray) -> np.ndarray:
    """Return the median of these control wells of each plate, (plates, F); NaN where a plate has none."""
    found_PF = np.full((plate_S.max() + 1, features_SF.shape[1]), np.nan)
    for plate in np.unique(plate_S[controls_C]):
        found_PF[plate] = np.median(features_SF[controls_C[plate_S[controls_C] == plate]], axis=0)
    return found_PF


def residuals(features_SF: np.ndarray, plate_S: np.ndarray, controls_C: np.ndarray) -> np.ndarray:
    """Return these control wells relative to the median of their plate, which they have a part in, (C, F)."""
    plate_C = plate_S[controls_C]
    number_C = np.bincount(plate_C)[plate_C]
    residuals_CF = features_SF[controls_C] - plate_medians(features_SF, plate_S, controls_C)[plate_C]
    return (residuals_CF * np.sqrt(number_C / np.maximum(number_C - 1, 1))[:, None])[number_C > 1]
