import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from mscnn.data.pixels.statistics import OCTAVES, QUANTILES, pixel_statistics

CHANNELS = 3


@pytest.fixture
def fields():
    """Four fields of smooth noise, the channels in part alike."""
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(4, CHANNELS + 1, 128, 192)), (0, 0, 2, 2))
    return torch.from_numpy(noise[:, :CHANNELS] ** 2 * 40 + noise[:, CHANNELS:]).float()


def test_a_mirrored_or_turned_field_looks_the_same(fields):
    expected = pixel_statistics(fields)
    for other in (fields.flip(2), fields.flip(3), fields.transpose(2, 3)):
        found = pixel_statistics(other.contiguous())
        assert found.shape == expected.shape
        number = expected.shape[1]
        quantiles = set(range(2 * CHANNELS, (2 + len(QUANTILES)) * CHANNELS))  # of every seventh pixel: other ones
        others = [place for place in range(number) if place not in quantiles]
        torch.testing.assert_close(found[:, others], expected[:, others], rtol=1e-3, atol=2e-3)
        torch.testing.assert_close(found[:, sorted(quantiles)], expected[:, sorted(quantiles)], rtol=0, atol=0.4)


def test_gain_and_offset_of_a_channel_change_nothing(fields):
    changed = fields * torch.tensor([2.0, 0.7, 30.0])[:, None, None] + torch.tensor([5.0, -1.0, 0.0])[:, None, None]
    torch.testing.assert_close(pixel_statistics(changed), pixel_statistics(fields), rtol=5e-3, atol=2e-2)


def test_moments_quantiles_and_correlations_are_scipys(fields):
    found, flat = pixel_statistics(fields).numpy(), fields.flatten(2).numpy()
    np.testing.assert_allclose(found[:, :3], stats.skew(flat, axis=2), rtol=0.02)
    np.testing.assert_allclose(found[:, 3:6], np.log(stats.kurtosis(flat, axis=2, fisher=False)), rtol=0.02)
    scaled = (flat - flat.mean(2, keepdims=True)) / flat.std(2, keepdims=True)
    np.testing.assert_allclose(found[:, 6:24].reshape(4, 6, 3), np.quantile(scaled, QUANTILES, axis=2).transpose(1, 0, 2),
                               atol=0.4)
    start = 24 + OCTAVES * 4 * CHANNELS + CHANNELS  # sd, tails and two times three pairs, which are as many as channels
    correlations = [[np.corrcoef(field)[pair] for pair in ((0, 1), (0, 2), (1, 2))] for field in flat]
    np.testing.assert_allclose(found[:, start:start + 3], correlations, atol=0.01)


def test_spots_are_counted():
    fields = torch.zeros(1, 1, 128, 128)
    for row, column in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
        fields[0, 0, 8 + row::16, 8 + column::16] = 200.0 if row or column else 400.0
    start = 2 + len(QUANTILES) + 2 * OCTAVES + 1
    assert pixel_statistics(fields)[0, start].expm1().round() == 64  # 8 x 8 of them


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_constant_channels_stay_finite_and_all_channels_count_alike(channels):
    fields = torch.randn(2, channels, 128, 128)
    fields[0, 0] = 3.0
    found = pixel_statistics(fields)
    assert torch.isfinite(found).all()
    swapped = pixel_statistics(fields.flip(1))
    torch.testing.assert_close(swapped[:, :channels], found[:, :channels].flip(1))
