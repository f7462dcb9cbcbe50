import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mscnn.readout.linear import can_fit, fit_linear, fit_whitening


def drawn(labels, *, width=12, seed=0):
    """Features of any scale, one of them constant, that tell four classes."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** np.linspace(-3, 3, width)
    features = (rng.normal(size=(len(labels), width)) + rng.normal(size=(4, width))[labels]) * scales + 5 * scales
    features[:, 3] = 0.1
    return features


def pipeline(labels):
    even = np.full(number := len(set(labels)), 1 / number)
    return make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=even))


@pytest.mark.parametrize("present", [[0, 1, 2, 3], [0, 3]])
def test_one_layer_is_standardising_and_discriminant_analysis(present):
    labels = np.random.default_rng(1).choice(present, 60)
    expected = pipeline(labels).fit(drawn(labels), labels)
    new = drawn(np.random.default_rng(2).choice(present, 9), seed=3)
    found = fit_linear(drawn(labels), labels, 4).probabilities(new)
    np.testing.assert_allclose(found[:, present], expected.predict_proba(new), atol=1e-9)  # in another order of sums
    assert np.all(np.delete(found, present, axis=1) == 0)


@pytest.mark.parametrize("components", [1, 4, 11])
def test_principal_components_are_part_of_the_layer(components):
    labels = np.arange(60) % 4
    expected = make_pipeline(StandardScaler(), PCA(components), *(step for _, step in pipeline(labels).steps[1:]))
    expected = expected.fit(drawn(labels), labels).predict_proba(drawn(labels, seed=6))
    found = fit_linear(drawn(labels), labels, 4, components=components).probabilities(drawn(labels, seed=6))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_more_components_than_directions_are_all_directions():
    labels = np.arange(8) % 2  # 8 sites: 7 directions
    one, other = (fit_linear(drawn(labels), labels, 4, components=number).weights_KD for number in (7, 99))
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_sphering_is_part_of_the_layer():
    labels = np.arange(60) % 4
    features, controls = drawn(labels), drawn(np.zeros(40, int), seed=4)
    whitening = fit_whitening(controls)
    sphered = (features - whitening.centre_D) @ whitening.matrix_DD
    expected = pipeline(labels).fit(sphered, labels).predict_proba(sphered)
    np.testing.assert_allclose(fit_linear(features, labels, 4, whitening).probabilities(features), expected, atol=1e-7)


def test_whitened_controls_have_the_covariance_of_no_direction():
    controls = drawn(np.zeros(40, int), seed=5)[:, [0, 1, 2, 4, 5]]
    centre, matrix = fit_whitening(controls)
    sd = controls.std(axis=0)
    shrunk = LedoitWolf().fit((controls - controls.mean(axis=0)) / sd).covariance_ * np.outer(sd, sd)
    np.testing.assert_allclose(matrix.T @ shrunk @ matrix, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(centre, controls.mean(axis=0))


def test_a_class_or_a_site_too_few_cannot_be_fitted():
    assert can_fit(np.array([0, 1, 1]))
    assert not can_fit(np.array([1, 1, 1]))
    assert not can_fit(np.array([0, 1]))
