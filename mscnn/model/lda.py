"""Linear discriminant analysis: a last layer that predicts mechanisms from features.

Shapes: S sites, N sites of a class, F features, K classes, P classes with sites.
"""

import warnings

import numpy as np
from scipy import linalg
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

NEVER = -1e9  # score of a class without training fields: finite, and its probability is 0


class EqualPriorLDA(LinearDiscriminantAnalysis):
    """Linear discriminant analysis with a shrunk covariance (Ledoit & Wolf 2004) and equal priors of all mechanisms."""

    def __init__(self):
        super().__init__(solver="lsqr", shrinkage="auto")

    def fit(self, features_SF: np.ndarray, mechanisms_S: np.ndarray) -> "EqualPriorLDA":
        """Fit as scikit-learn does, with equal priors."""
        self.priors = np.full(count := len(set(mechanisms_S)), 1 / count)
        return super().fit(features_SF, mechanisms_S)


def fit_lda_layer(features_SF: np.ndarray, labels_S: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit what EqualPriorLDA fits; return weights (K, F) and biases (K,) of a linear layer whose softmax is its posterior.

    labels_S: classes 0 to K-1, at least two of them; a class without a label gets probability 0.
    Raises ValueError unless there are more fields than classes with a label, as scikit-learn does.
    Scikit-learn solves for the weights by a singular value decomposition, which takes seven times as long as Cholesky's.
    """
    present = np.unique(labels_S)
    if len(labels_S) <= len(present):
        raise ValueError(f"{len(labels_S)} fields of {len(present)} classes: more fields than classes are needed")
    of_classes = [features_SF[labels_S == label] for label in present]
    means_PF = np.stack([features_NF.mean(axis=0) for features_NF in of_classes])
    covariance_FF = sum(map(_shrunk_covariance, of_classes)) / len(present)
    try:
        with warnings.catch_warnings(action="error", category=linalg.LinAlgWarning):
            coefficients_PF = linalg.solve(covariance_FF, means_PF.T, assume_a="pos").T
    except (linalg.LinAlgError, linalg.LinAlgWarning):  # singular: features that are constant in each class
        coefficients_PF = np.linalg.lstsq(covariance_FF, means_PF.T)[0].T
    weights_KF, biases_K = np.zeros((num_classes, features_SF.shape[1])), np.full(num_classes, NEVER)
    weights_KF[present] = coefficients_PF
    biases_K[present] = -0.5 * (means_PF * coefficients_PF).sum(axis=1)
    return weights_KF, biases_K


def _shrunk_covariance(features_NF: np.ndarray) -> np.ndarray:
    """Return the covariance (F, F) of one class, shrunk after its features are standardised."""
    scale_F = np.asarray(StandardScaler().fit(features_NF).scale_)
    correlation_FF = ledoit_wolf((features_NF - features_NF.mean(axis=0)) / scale_F)[0]
    return scale_F[:, None] * correlation_FF * scale_F
