import numpy as np
import pytest
import torch

from mscnn.data import augment as module
from mscnn.data.augment import Jitter, affine, augment, flip, quarter_turns, transforms


@pytest.fixture(params=["torchvision", "plain torch"])
def engine(request, monkeypatch):
    if request.param == "plain torch":
        monkeypatch.setattr(module, "transforms", lambda: (None, "switched off for this test"))
    elif transforms()[0] is None:
        pytest.skip(f"torchvision: {transforms()[1]}")
    return request.param


def field(height=6, width=6):
    return torch.randn(2, height, width, generator=torch.Generator().manual_seed(0))


def test_torchvision_loads_where_it_is_installed():
    functional, why = transforms()
    assert functional is not None, why


@pytest.mark.usefixtures("engine")
def test_flips_and_quarter_turns_are_exact():
    pixels = field().numpy()
    np.testing.assert_array_equal(flip(field(), True, False), pixels[:, :, ::-1])
    np.testing.assert_array_equal(flip(field(), False, True), pixels[:, ::-1])
    np.testing.assert_array_equal(flip(field(), False, False), pixels)
    for turns in range(4):
        np.testing.assert_array_equal(quarter_turns(field(), turns), np.rot90(pixels, turns, axes=(1, 2)))


@pytest.mark.usefixtures("engine")
def test_all_eight_symmetries_of_a_square_occur_and_only_four_of_an_oblong():
    for shape, symmetries in (((2, 6, 6), 8), ((2, 4, 6), 4)):
        start = torch.arange(float(np.prod(shape))).reshape(shape)
        seen = {tuple(augment(start, Jitter(flips=True, turns=True), np.random.default_rng(n)).flatten().tolist())
                for n in range(100)}
        assert len(seen) == symmetries


def test_both_engines_make_the_same_fields(monkeypatch):
    jitter = Jitter(flips=True, turns=True, gain=0.2, offset=0.1)
    by_torchvision = [augment(field(), jitter, np.random.default_rng(n)) for n in range(10)]
    monkeypatch.setattr(module, "transforms", lambda: (None, "switched off for this test"))
    for n, expected in enumerate(by_torchvision):
        torch.testing.assert_close(augment(field(), jitter, np.random.default_rng(n)), expected, rtol=0, atol=0)


def test_nothing_switched_on_changes_nothing():
    assert augment(field(), Jitter(), np.random.default_rng(0)) is not None
    torch.testing.assert_close(augment(field(), Jitter(), np.random.default_rng(0)), field(), rtol=0, atol=0)


def test_one_setting_does_not_change_anothers_draws():
    plain = augment(field(), Jitter(flips=True), np.random.default_rng(5))
    scaled = augment(field(), Jitter(flips=True, gain=0.5), np.random.default_rng(5))
    ratio = scaled / plain
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio))  # one gain a channel, over the same flip


def test_a_move_by_whole_pixels_moves_and_fills_with_background():
    pixels = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)) + 1
    moved = affine(pixels, angle=0.0, scale=1.0, right=2.0, down=1.0)
    torch.testing.assert_close(moved[:, 1:, 2:], pixels[:, :-1, :-2])
    background = pixels[:, ::4, ::4].flatten().quantile(0.05)
    torch.testing.assert_close(moved[:, 0], background.expand(1, 8))


def test_enlarging_keeps_the_centre():
    pixels = torch.zeros(1, 9, 9)
    pixels[0, 4, 4] = 1
    grown = affine(pixels, angle=0.0, scale=2.0, right=0.0, down=0.0)
    assert grown[0, 4, 4] == 1
    assert grown.sum() == pytest.approx(4, rel=0.01)  # twice as wide and high


def test_gain_and_offset_stay_within_their_settings():
    start = torch.ones(3, 4, 4)
    for n in range(20):
        values = augment(start, Jitter(gain=0.2, offset=0.1), np.random.default_rng(n))
        assert (values >= 0.7).all()
        assert (values <= 1.3).all()
        assert len(values[:, 0, 0].unique()) == 3  # each channel on its own
