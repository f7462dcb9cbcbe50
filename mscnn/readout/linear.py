"""A linear read-out: standardised features, their principal components, linear discriminant analysis; as one layer.

Shapes: S sites, D features, V features that vary, C principal components, K classes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LEAST_VARIANCE = 1e-6  # of a direction, in standard deviations squared: untreated wells that are all alike stay finite


@dataclass(frozen=True)
class LinearReadout:
    """A layer whose softmax is the posterior probability of each class."""

    weights_KD: np.ndarray  # float64; standardising, and sphering where it is done, are part of them
    biases_K: np.ndarray    # float64

    def scores(self, features_SD: np.ndarray) -> np.ndarray:
        """Return (S, K), before softmax."""
        return features_SD @ self.weights_KD.T + self.biases_K

    def probabilities(self, features_SD: np.ndarray) -> np.ndarray:
        """Return (S, K)."""
        return softmax(self.scores(features_SD))

    def with_temperature(self, temperature: float) -> "LinearReadout":
        """Return the layer whose scores are divided by a temperature: above 1, it is less sure."""
        return LinearReadout(self.weights_KD / temperature, self.biases_K / temperature)


class Whitening(NamedTuple):
    """A linear map that makes untreated wells vary alike and independently in all directions."""

    centre_D: np.ndarray
    matrix_DD: np.ndarray


def softmax(scores_SK: np.ndarray) -> np.ndarray:
    """Return the probabilities (S, K) of scores."""
    odds_SK = np.exp(scores_SK - scores_SK.max(axis=1, keepdims=True))
    return odds_SK / odds_SK.sum(axis=1, keepdims=True)


def can_fit(labels_S: np.ndarray) -> bool:
    """Return whether there are two classes, and more sites than classes."""
    return 2 <= len(np.unique(labels_S)) < len(labels_S)


def fit_linear(features_SD: np.ndarray, labels_S: np.ndarray, num_classes: int,
               whitening: Whitening | None = None, components: int | None = None) -> LinearReadout:
    """Fit StandardScaler, PCA and EqualPriorLDA to sites whose class is known; see can_fit.

    whitening: of all features, first; None: none.  components: of the PCA; None: no PCA.
    """
    if whitening:
        inner = fit_linear((features_SD - whitening.centre_D) @ whitening.matrix_DD, labels_S, num_classes,
                           components=components)
        weights_KD = inner.weights_KD @ whitening.matrix_DD.T
        return LinearReadout(weights_KD, inner.biases_K - weights_KD @ whitening.centre_D)
    from mscnn.model.lda import fit_lda_layer  # here: scikit-learn takes as long to load as torch

    centre_D, spread_D = _centre_and_spread(features_SD)
    scaled_SD = (features_SD - centre_D) / spread_D
    if components is None:
        scaled_KD, biases_K = fit_lda_layer(scaled_SD, labels_S, num_classes)
    else:
        directions_DC = _principal_directions(scaled_SD, components)
        weights_KC, biases_K = fit_lda_layer(scaled_SD @ directions_DC, labels_S, num_classes)
        scaled_KD = weights_KC @ directions_DC.T
    weights_KD = scaled_KD / spread_D
    return LinearReadout(weights_KD, biases_K - weights_KD @ centre_D)


def fit_whitening(controls_SD: np.ndarray) -> Whitening:
    """Return the whitening (ZCA) of untreated wells: features are standardised, and their covariance is shrunk.

    Shrunk as by Ledoit & Wolf (2004), it has an inverse.  Features that are constant there are centred only.
    """
    from sklearn.covariance import LedoitWolf

    centre_D, spread_D = _centre_and_spread(controls_SD)
    varies = np.flatnonzero(_varies(controls_SD))
    matrix_DD = np.eye(len(centre_D))
    if len(varies):
        scaled_SV = ((controls_SD - centre_D) / spread_D)[:, varies]
        values_V, vectors_VV = np.linalg.eigh(LedoitWolf().fit(scaled_SV).covariance_)
        roots_V = np.sqrt(np.maximum(values_V, LEAST_VARIANCE))
        matrix_DD[np.ix_(varies, varies)] = (vectors_VV / roots_V) @ vectors_VV.T / spread_D[varies, None]
    return Whitening(centre_D, matrix_DD)


def _principal_directions(centred_SD: np.ndarray, number: int) -> np.ndarray:
    """Return the `number` directions (D, C) in which features vary most, or all in which they do, of length 1."""
    from scipy import linalg  # here: it takes a while to load

    width = centred_SD.shape[1]
    values_C, directions_DC = linalg.eigh(centred_SD.T @ centred_SD, subset_by_index=[max(width - number, 0), width - 1])
    return directions_DC[:, values_C > width * np.finfo(float).eps * values_C[-1]]


def _centre_and_spread(features_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, as StandardScaler: 1 for a feature that is constant but for rounding."""
    return features_SD.mean(axis=0), np.where(_varies(features_SD), features_SD.std(axis=0), 1.0)


def _varies(features_SD: np.ndarray) -> np.ndarray:
    """Return (D,) bool: features that vary by more than the rounding of their mean."""
    rounding_D = len(features_SD) * np.finfo(float).eps * np.abs(features_SD.mean(axis=0))
    return features_SD.std(axis=0) > rounding_D
