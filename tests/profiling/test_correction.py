import dataclasses

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from mscnn.core.errors import DataError
from mscnn.profiling.correction import correct, normalise_plates, whiten
from tests.profiling.test_treatment_profiles import SCREEN, profile_table


@pytest.mark.parametrize(("method", "centre", "spread"), [
    ("z", np.mean, np.std),
    ("mad", np.median, lambda values: 1.4826022185056018 * np.median(np.abs(values - np.median(values)))),
    ("percentile", lambda values: np.percentile(values, 1), lambda values: np.subtract(*np.percentile(values, [99, 1])))])
def test_each_plate_is_normalised_by_its_own_controls(method, centre, spread):
    """Whatever the treated wells are: changing them changes nothing of the others."""
    rng = np.random.default_rng(0)
    rows = [(plate, f"B{n:02d}", "W1", "DMSO" if n < 9 else "a", 1.0, "M") for plate in ("P1", "P2") for n in range(12)]
    features = rng.normal(size=(24, 2)) * [[1, 5]] + np.repeat([[3, -3], [50, 60]], 12, axis=0)
    found = normalise_plates(profile_table(rows, features), method, "DMSO").features_SF
    for start in (0, 12):
        controls = features[start:start + 9]
        for number in range(2):
            expected = (features[start:start + 12, number] - centre(controls[:, number])) / spread(controls[:, number])
            np.testing.assert_allclose(found[start:start + 12, number], expected)
    changed = features.copy()
    changed[[9, 10, 22]] = 1e6
    kept = ~np.isin(np.arange(24), [9, 10, 22])
    again = normalise_plates(profile_table(rows, changed), method, "DMSO").features_SF
    np.testing.assert_array_equal(again[kept], found[kept])


def test_a_feature_that_does_not_vary_in_the_controls_is_centred_only():
    rows = [("P1", "B02", "W1", "DMSO", 0.0, ""), ("P1", "B03", "W1", "DMSO", 0.0, ""), ("P1", "B04", "W1", "a", 1.0, "M")]
    for method in ("z", "mad", "percentile"):
        found = normalise_plates(profile_table(rows, [(2,), (2,), (5,)]), method, "DMSO")
        assert found.features_SF.tolist() == [[0], [0], [3]]


def test_a_feature_that_hardly_varies_on_one_plate_is_not_blown_up():
    """0 or 0.001 in the control wells of P1, 0 or 4 on P2: by hand, a quarter of the spread in both."""
    rows = [(plate, f"B{n:02d}", "W1", "DMSO" if n < 4 else "a", 1.0, "M") for plate in ("P1", "P2") for n in range(5)]
    values = [0, 0, 0.001, 0.001, 5, 0, 4, 0, 4, 5]  # medians 0.0005 and 2; squares 4 times 0.0005^2, and 4 times 2^2
    found = normalise_plates(profile_table(rows, [(value,) for value in values]), "mad", "DMSO").features_SF[:, 0]
    spread = np.sqrt((4 * 0.0005**2 + 4 * 2**2) / 8)
    assert found[4] == pytest.approx((5 - 0.0005) / (0.25 * spread))
    assert found[9] == pytest.approx((5 - 2) / (1.482602218505602 * 2))


def test_plates_without_controls_are_named():
    rows = [("P1", "B02", "W1", "DMSO", 0.0, ""), ("P2", "B03", "W1", "a", 1.0, "M"), ("P3", "B03", "W1", "a", 1.0, "M")]
    with pytest.raises(DataError, match="plates without a row of DMSO") as refusal:
        normalise_plates(profile_table(rows, [(1,), (2,), (3,)]), "z", "DMSO")
    assert refusal.value.details == ["P2", "P3"]
    with pytest.raises(DataError, match="no column Metadata_Plate"):
        normalise_plates(dataclasses.replace(SCREEN, metadata=SCREEN.metadata.drop(columns="Metadata_Plate")), "z", "DMSO")


def test_sphered_controls_are_uncorrelated_and_alike_and_treated_wells_never_enter():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(2000, 3)) @ [[2, 1, 0], [0, 0.5, 0.3], [0, 0, 4]] + 7
    rows = [("P1", "B02", "W1", "DMSO" if n < 1900 else "a", 1.0, "M") for n in range(2000)]
    mixed[1900:] += 100
    table = profile_table(rows, mixed)
    found = whiten(table, "DMSO").features_SF
    np.testing.assert_allclose(np.cov(found[:1900].T), np.eye(3), atol=0.1)  # but for the shrinkage
    distances = LedoitWolf().fit(mixed[:1900]).mahalanobis(mixed)
    np.testing.assert_allclose((found**2).sum(axis=1), distances)  # lengths are what scikit-learn's covariance measures
    np.testing.assert_allclose(found[:1900].mean(axis=0), 0, atol=1e-9)
    table.features_SF[1950:] *= 3
    np.testing.assert_array_equal(whiten(table, "DMSO").features_SF[:1950], found[:1950])
    with pytest.raises(DataError, match="1 rows of DMSO are too few"):
        whiten(table.select(np.arange(1899, 2000)), "DMSO")


def test_a_correction_tells_the_rows_wells_and_plates_that_it_was_fitted_on():
    rows = [(plate, well, "W1", compound, 0.0, "M") for plate in ("P1", "P2") for well, compound in
            (("B02", "DMSO"), ("B02", "dmso"), ("B03", "DMSO"), ("B04", "a"))]
    table = profile_table(rows, np.random.default_rng(0).normal(size=(8, 2)))
    _, done = correct(table, normalise="z", sphere=False, control="DMSO")
    assert (done.rows, done.wells, done.plates, done.is_none) == (6, 4, 2, False)
    assert str(done) == ("each plate scaled by its control wells (--normalise z); fitted on 6 rows of DMSO, 4 wells of "
                         "2 plates")
    for normalise in ("none", "standard"):
        _, done = correct(table, normalise=normalise, sphere=False, control="DMSO")
        assert (done.rows, done.is_none) == (0, normalise == "none")
    sphered, done = correct(table, normalise="none", sphere=True, control="DMSO")
    np.testing.assert_array_equal(sphered.features_SF, whiten(table, "DMSO").features_SF)
    assert str(done).startswith("sphered by all control wells; fitted on 6 rows")
