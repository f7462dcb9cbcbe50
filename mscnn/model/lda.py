"""Linear discriminant analysis: a last layer that predicts mechanisms from features.

Shapes: S sites, F features, K classes.
"""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

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
    """Fit EqualPriorLDA; return weights (K, F) and biases (K,) of a linear layer whose softmax is its posterior.

    labels_S: classes 0 to K-1, at least two of them; a class without a label gets probability 0.
    """
    fitted = EqualPriorLDA().fit(features_SF, labels_S)
    weights_KF, biases_K = np.zeros((num_classes, features_SF.shape[1])), np.full(num_classes, NEVER)
    if len(fitted.classes_) == 2:  # scikit-learn keeps one row: the second class's score less the first's
        biases_K[fitted.classes_] = 0, fitted.intercept_[0]
        weights_KF[fitted.classes_[1]] = fitted.coef_[0]
    else:
        biases_K[fitted.classes_], weights_KF[fitted.classes_] = fitted.intercept_, fitted.coef_
    return weights_KF, biases_K
