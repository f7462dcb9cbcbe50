import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mscnn.model.lda import fit_lda_layer


def features(labels, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(labels), 20)) + 3 * rng.normal(size=(6, 20))[labels]


@pytest.mark.parametrize("present", [[0, 1, 2, 3, 4, 5], [0, 2, 5], [1, 4]])
def test_softmax_of_the_layer_is_the_posterior(present):
    labels = np.random.default_rng(1).choice(present, 90)
    weights, biases = fit_lda_layer(features(labels), labels, 6)
    new = features(np.repeat(present, 5), seed=2)
    found = torch.softmax(torch.from_numpy(new @ weights.T + biases), 1).numpy()
    even = np.full(len(present), 1 / len(present))
    expected = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=even).fit(features(labels), labels)
    np.testing.assert_allclose(found[:, present], expected.predict_proba(new), atol=1e-9)
    absent = [label for label in range(6) if label not in present]
    assert np.all(found[:, absent] == 0)
    assert np.isfinite(weights).all()
    assert np.isfinite(biases).all()


def test_a_frequent_mechanism_is_not_favoured():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 30])
    weights, biases = fit_lda_layer(rng.normal(size=(330, 4)) + 2 * labels[:, None], labels, 2)
    middle = np.ones((1, 4)) @ weights.T + biases
    assert abs(middle[0, 0] - middle[0, 1]) < 1  # priors by frequency would add log 10


def test_features_that_are_constant_in_each_class_have_the_answer_of_scikit_learn():
    """Two fields a class, all alike: the covariance is singular."""
    labels = np.array([0, 0, 1, 1, 2, 2])
    alike = np.eye(4)[labels]
    weights, biases = fit_lda_layer(alike, labels, 3)
    expected = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(3, 1 / 3)).fit(alike, labels)
    np.testing.assert_allclose(alike @ weights.T + biases - np.log(3), expected.decision_function(alike), atol=1e-9)
