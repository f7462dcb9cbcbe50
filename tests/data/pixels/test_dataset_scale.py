import numpy as np

from mscnn.data.pixels.dataset_scale import DatasetScale, moments, statistics

RNG = np.random.default_rng(0)


def test_statistics_of_several_sites_equal_those_of_all_their_pixels():
    sites = RNG.integers(0, 65536, (5, 3, 64, 80), dtype=np.uint16)
    mean, sd = statistics(np.stack([moments(site) for site in sites]))
    np.testing.assert_allclose(mean, sites.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(sd, sites.std(axis=(0, 2, 3)), rtol=1e-10)


def test_moments_are_exact_at_full_size_and_full_scale():
    pixels, total, squares = moments(np.full((1, 1024, 1280), 65535, np.uint16))[0]
    assert (pixels, total, squares) == (1024 * 1280, 1024 * 1280 * 65535, 1024 * 1280 * 65535**2)


def test_a_dataset_is_scaled_by_its_own_numbers():
    site = np.array([[[10, 30]], [[5, 5]]], np.uint16)
    out = DatasetScale("dataset", (20.0, 4.0), (10.0, 0.5)).apply(site)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, [[[-1, 1]], [[2, 2]]])


def test_strips_are_subtracted_and_divided_as_whole_fields_are():
    site = RNG.integers(0, 65536, (2, 70, 48), dtype=np.uint16)  # 70 rows: two strips, and part of a third
    mean, sd = (17_000.3, 9.1), (333.3, 0.7)
    expected = (site.astype(np.float32) - np.float32(mean)[:, None, None]) / np.float32(sd)[:, None, None]
    normalisation, out = DatasetScale("dataset", mean, sd), np.empty((2, 70, 48), np.float32)
    for view, right in ((site, expected), (site[:, ::-1, ::-1], expected[:, ::-1, ::-1])):
        np.testing.assert_array_equal(normalisation.apply(view), right)
        assert normalisation.apply(view, out_CHW=out) is out
        np.testing.assert_array_equal(out, right)


def test_a_field_is_scaled_by_itself_and_a_constant_channel_becomes_zero():
    site = np.stack([RNG.integers(100, 900, (32, 32)), np.full((32, 32), 7)]).astype(np.uint16)
    out = DatasetScale("field", (), ()).apply(site)
    np.testing.assert_allclose(out[0].mean(), 0, atol=1e-5)  # rounding of float32
    np.testing.assert_allclose(out[0].std(), 1, rtol=1e-5)
    assert not out[1].any()
    brighter = DatasetScale("field", (), ()).apply(site[:1] * 3)
    np.testing.assert_allclose(brighter, out[:1], atol=1e-5)  # a change of gain does not matter
