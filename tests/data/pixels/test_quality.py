"""Planes whose power spectrum, histogram, brightest patch and number of nuclei are known by construction."""

import numpy as np
import pytest
from scipy import ndimage

from mscnn.data.pixels import handcrafted, quality

RNG = np.random.default_rng(0)


def power_law(exponent: float, height: int = 256, width: int = 256) -> np.ndarray:
    """(H, W) uint16, with an amplitude of frequency ** exponent, in waves a field, and random phases."""
    rows, columns = np.fft.fftfreq(height, 1 / height)[:, None], np.fft.fftfreq(width, 1 / width)
    frequency = np.maximum(np.hypot(rows, columns), 1)
    phases = np.exp(2j * np.pi * np.random.default_rng(1).random((height, width)))
    plane_HW = np.fft.ifft2(frequency**exponent * phases).real
    return (30000 + 3000 * plane_HW / plane_HW.std()).astype(np.uint16)


def cellprofiler_slope(plane_HW: np.ndarray) -> float:
    """PowerLogLogSlope as MeasureImageQuality and centrosome.radial_power_spectrum.rps compute it, written out again."""
    image = plane_HW.astype(float)
    radii2 = np.arange(image.shape[0])[:, None] ** 2 + np.arange(image.shape[1]) ** 2
    radii2 = np.minimum(radii2, np.flipud(radii2))
    radii2 = np.minimum(radii2, np.fliplr(radii2))
    image = image / np.median(np.abs(image - image.mean()))
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    radii = np.floor(np.sqrt(radii2)).astype(int) + 1
    labels = np.arange(2, int(np.floor(min(image.shape) / 8)))
    summed = ndimage.sum(power, radii, labels)
    design = np.stack([np.log(labels), np.ones(len(labels))], axis=1)
    return float(np.linalg.lstsq(design, np.log(summed), rcond=None)[0][0])


@pytest.mark.parametrize("exponent", [-0.5, -1.0])
def test_the_slope_is_that_of_the_spectrum_summed_over_rings(exponent):
    # Power is amplitude squared, and a ring has about as many frequencies as its radius: one power more.
    assert quality.power_slope(power_law(exponent, 1024, 1024)) == pytest.approx(2 * exponent + 1, abs=0.1)  # few rings


@pytest.mark.parametrize("shape", [(256, 256), (200, 260)])
def test_the_slope_is_near_that_of_cellprofiler(shape):
    plane_HW = ndimage.gaussian_filter(power_law(-0.8, *shape).astype(float), 1).astype(np.uint16)
    # CellProfiler mirrors indices and so is a whole frequency off for half of the frequencies.
    assert quality.power_slope(plane_HW) == pytest.approx(cellprofiler_slope(plane_HW), abs=0.06)


@pytest.mark.parametrize("shape", [(128, 128), (96, 150)])
def test_the_slope_sums_all_frequencies_of_a_ring(shape):
    plane_HW = power_law(-0.7, *shape)
    power = np.abs(np.fft.fft2(plane_HW - plane_HW.mean())) ** 2
    waves = np.hypot(np.fft.fftfreq(shape[0], 1 / shape[0])[:, None], np.fft.fftfreq(shape[1], 1 / shape[1]))
    rings = np.arange(2, min(shape) // 8)
    summed = [power[np.floor(waves) + 1 == ring].sum() for ring in rings]
    assert quality.power_slope(plane_HW) == pytest.approx(np.polyfit(np.log(rings), np.log(summed), 1)[0], abs=1e-3)


def test_blur_lowers_the_slope_and_gain_and_offset_do_not_change_it():
    sharp_HW = power_law(-0.8)
    blurred_HW = ndimage.gaussian_filter(sharp_HW.astype(float), 3).astype(np.uint16)
    assert quality.power_slope(blurred_HW) < quality.power_slope(sharp_HW) - 1
    assert quality.power_slope(sharp_HW // 2 * 3 + 500) == pytest.approx(quality.power_slope(sharp_HW // 2), abs=1e-3)


@pytest.mark.parametrize("plane_HW", [np.full((64, 64), 7, np.uint8), power_law(-1)[:31, :64]], ids=["constant", "small"])
def test_a_channel_without_a_spectrum_has_no_slope(plane_HW):
    assert np.isnan(quality.power_slope(plane_HW))


@pytest.mark.parametrize("top", [255, 4095, 65535, 40000])
def test_the_share_at_the_end_of_the_range_is_found_without_knowing_the_range(top):
    light = RNG.gamma(2, top / 8, (200, 200))
    clipped = np.minimum(light, top).astype(np.uint16)
    assert quality.saturated_share(np.bincount(clipped.ravel())) == pytest.approx((light >= top).mean(), abs=1e-9)


def test_a_tail_of_few_counts_is_not_saturated_nor_is_a_constant_channel():
    dark = RNG.poisson(1.0, 40000)
    assert quality.saturated_share(np.bincount(dark)) == 0
    assert quality.saturated_share(np.bincount(np.full(10, 4))) == 0


def test_the_brightest_patch_is_found_wherever_it_lies():
    plane_HW = np.full((128, 160), 10, np.uint16)
    plane_HW[44:52, 65:75] = 250  # 8 x 10 pixels, a patch, but for rows: blocks are 4 x 5
    assert quality.brightest_patch(plane_HW) == 250
    plane_HW[48:52] = 10
    assert quality.brightest_patch(plane_HW) == (250 + 10) / 2


def test_percentiles_are_those_of_the_pixels():
    plane_HW = RNG.integers(0, 60000, (100, 128)).astype(np.uint16)
    _, _, median, low, high, _ = quality.measure_channel(plane_HW)
    expected = np.percentile(plane_HW, (50, 5, 99), method="inverted_cdf")
    np.testing.assert_array_equal((median, low, high), expected)


def discs() -> np.ndarray:
    rows, columns = np.mgrid[:256, :256]
    inside = sum(np.hypot(rows - row, columns - column) < 6 for row in (40, 120, 200) for column in (50, 130, 210))
    return (800 + 5000 * inside + RNG.normal(0, 40, (256, 256))).astype(np.uint16)


def test_cells_are_the_nuclei_of_handcrafted_features_and_noise_has_none():
    site_CHW = np.stack([discs(), discs()])
    found = handcrafted.features(site_CHW, channels=("DNA", "RNA"), nuclei=0)
    assert quality.count_cells(site_CHW[0]) == found["Image_Basic_NucleusCount_DNA"] == 9
    assert quality.count_cells(RNG.normal(800, 40, (256, 256)).astype(np.uint16)) == 0
    assert quality.count_cells(np.full((256, 256), 5, np.uint8)) == 0


def test_measures_stand_under_their_names():
    site_CHW = np.stack([discs(), np.full((256, 256), 9, np.uint16)])
    measured = dict(zip(quality.columns(("DNA", "RNA")), quality.measure(site_CHW, nuclei=0), strict=True))
    assert (measured["Quality_Cells"], measured["Quality_Intensity_RNA"], measured["Quality_P05_RNA"]) == (9, 9, 9)
    assert (measured["Quality_Debris_RNA"], measured["Quality_Saturated_RNA"]) == (0, 0)
    assert measured["Quality_P99_DNA"] > 1000 > measured["Quality_Intensity_DNA"]
    assert np.isnan(measured["Quality_Focus_RNA"])
    assert np.isnan(quality.measure(site_CHW, nuclei=None)[0])
