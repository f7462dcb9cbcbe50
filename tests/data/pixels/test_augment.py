import dataclasses
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from mscnn.data.pixels.augment import Jitter, affine, augment, draw, orient


def augmented(field_CHW: torch.Tensor, jitter: Jitter, rng: np.random.Generator) -> torch.Tensor:
    """One field drawn for, turned and changed as a minibatch of its own."""
    change = draw(jitter, rng, channels=len(field_CHW), square=field_CHW.shape[1] == field_CHW.shape[2])
    fields_NCHW = torch.from_numpy(np.array(orient(field_CHW.numpy(), change)))[None]
    augment(fields_NCHW, [change], jitter)
    return fields_NCHW[0]


def field(height=6, width=6):
    return torch.randn(2, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def torchvision_functional():
    """Import torchvision's resampling, the oracle; skip where it cannot be imported.

    A build of torchvision for CUDA cannot load its compiled operators beside a torch for CPUs.  Its import then asks
    for two of them, which resampling never calls: they are declared here.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        pytest.skip("torchvision is not installed")
    declared = torch.library.Library("torchvision", "FRAGMENT")
    try:
        torch.ops.load_library(next(Path(found.origin).parent.glob("_C*")))
    except (OSError, StopIteration):
        for operator in ("nms", "qnms"):
            declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return pytest.importorskip("torchvision.transforms.v2.functional", exc_type=(ImportError, RuntimeError))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 81), (97, 60)])
def test_resampling_is_that_of_torchvision(torchvision_functional, height, width, dtype):
    noise = torch.randn(3, height, width, dtype=dtype, generator=torch.Generator().manual_seed(0))
    pixels = noise + torch.tensor([0.0, 1.0, 5.0])[:, None, None]
    background = pixels[:, ::4, ::4].flatten(1).quantile(0.05, dim=1).tolist()
    # Coordinates are rounded to a few units of half a side; a pixel further on, a value differs by up to the range.
    rounding = 2 * torch.finfo(dtype).eps * max(height, width) * float(pixels.max() - pixels.min())
    for angle, scale, (right, down) in itertools.product(
            (0.0, 7.3, -45.0, 90.0, 151.0, 180.0), (0.8, 1.0, 1.25), ((0.0, 0.0), (3.0, -5.0), (-8.4, 11.7))):
        expected = torchvision_functional.affine(
            pixels, angle=angle, translate=[right, down], scale=scale, shear=[0.0, 0.0],
            interpolation=torchvision_functional.InterpolationMode.BILINEAR, fill=background)
        found = affine(pixels, angle=angle, scale=scale, right=right, down=down)
        torch.testing.assert_close(found, expected, rtol=0, atol=rounding,
                                   msg=lambda text, case=(angle, scale, right, down): f"{case}: {text}")


def test_mirrored_and_turned_views_are_exact():
    pixels = field().numpy()
    still = draw(Jitter(), np.random.default_rng(0), channels=2, square=True)
    for left_right, up_down, turns, expected in (
            (True, False, 0, pixels[:, :, ::-1]), (False, True, 0, pixels[:, ::-1]), (False, False, 0, pixels),
            *((False, False, turns, np.rot90(pixels, turns, axes=(1, 2))) for turns in range(4)),
            (True, False, 1, np.rot90(pixels[:, :, ::-1], 1, axes=(1, 2)))):
        change = dataclasses.replace(still, left_right=left_right, up_down=up_down, quarter_turns=turns)
        turned = orient(pixels, change)
        np.testing.assert_array_equal(turned, expected)
        assert np.shares_memory(turned, pixels)


def test_all_eight_symmetries_of_a_square_occur_and_only_four_of_an_oblong():
    for shape, symmetries in (((2, 6, 6), 8), ((2, 4, 6), 4)):
        start = torch.arange(float(np.prod(shape))).reshape(shape)
        seen = {tuple(augmented(start, Jitter(flips=True, quarter_turns=True), np.random.default_rng(n)).flatten().tolist())
                for n in range(100)}
        assert len(seen) == symmetries


def test_each_field_of_a_minibatch_changes_in_its_own_way():
    jitter = Jitter(gain=0.2, offset=0.3, rotate=20.0)
    fields_NCHW = torch.stack([field(), field(), 2 * field()])
    changes = [draw(jitter, np.random.default_rng(n), channels=2, square=True) for n in range(3)]
    expected = [augmented(one, jitter, np.random.default_rng(n)) for n, one in enumerate(fields_NCHW)]
    augment(fields_NCHW, changes, jitter)
    torch.testing.assert_close(fields_NCHW, torch.stack(expected), rtol=0, atol=0)
    assert not torch.equal(fields_NCHW[0], fields_NCHW[1])


def test_gamma_and_dropout_are_each_fields_own():
    jitter = Jitter(gamma=1.0, dropout=0.5)
    fields_NCHW = torch.stack([field(), 1 + field(), 2 * field()])
    changes = [draw(jitter, np.random.default_rng(n), channels=2, square=True) for n in range(3)]
    assert len({tuple(change.kept) for change in changes}) > 1
    expected = [augmented(one, jitter, np.random.default_rng(n)) for n, one in enumerate(fields_NCHW)]
    augment(fields_NCHW, changes, jitter)
    torch.testing.assert_close(fields_NCHW, torch.stack(expected))


def test_nothing_switched_on_changes_nothing():
    assert augmented(field(), Jitter(), np.random.default_rng(0)) is not None
    torch.testing.assert_close(augmented(field(), Jitter(), np.random.default_rng(0)), field(), rtol=0, atol=0)


def test_one_setting_does_not_change_anothers_draws():
    plain = augmented(field(), Jitter(flips=True), np.random.default_rng(5))
    scaled = augmented(field(), Jitter(flips=True, gain=0.5), np.random.default_rng(5))
    ratio = scaled / plain
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio))  # one gain a channel, over the same flip


def test_a_move_by_whole_pixels_moves_and_fills_with_background():
    pixels = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, 5.0])[:, None, None]
    moved = affine(pixels, angle=0.0, scale=1.0, right=2.0, down=1.0)
    torch.testing.assert_close(moved[:, 1:, 2:], pixels[:, :-1, :-2])
    background = pixels[:, ::4, ::4].flatten(1).quantile(0.05, dim=1)
    torch.testing.assert_close(moved[:, 0], background[:, None].expand(2, 8))


def test_a_positive_angle_rotates_clockwise():
    pixels = field().double()
    for quarters in range(4):
        rotated = affine(pixels, angle=90.0 * quarters, scale=1.0, right=0.0, down=0.0)
        torch.testing.assert_close(rotated, torch.rot90(pixels, -quarters, dims=(1, 2)), rtol=0, atol=1e-12)  # cos 90


def test_enlarging_keeps_the_centre():
    pixels = torch.zeros(1, 9, 9)
    pixels[0, 4, 4] = 1
    grown = affine(pixels, angle=0.0, scale=2.0, right=0.0, down=0.0)
    assert grown[0, 4, 4] == 1
    assert grown.sum() == pytest.approx(4, rel=0.01)  # twice as wide and high


@pytest.mark.parametrize(("jitter", "low", "high"), [(Jitter(gain=0.2), 0.8, 1.2), (Jitter(offset=0.1), 0.9, 1.1)])
def test_gain_and_offset_fill_their_range_each_channel_on_its_own(jitter, low, high):
    start = torch.ones(3, 4, 4)
    values = torch.stack([augmented(start, jitter, np.random.default_rng(n))[:, 0, 0] for n in range(200)])
    assert low <= values.min() < low + 0.02
    assert high - 0.02 < values.max() <= high + 1e-6
    assert abs(torch.corrcoef(values.T)[0, 1]) < 0.3


def test_gain_multiplies_and_offset_adds():
    start = torch.tensor([[[0.0, 2.0]]])
    assert augmented(start, Jitter(gain=0.2), np.random.default_rng(0))[0, 0, 0] == 0
    shifted = augmented(start, Jitter(offset=0.2), np.random.default_rng(0))
    assert shifted[0, 0, 1] - shifted[0, 0, 0] == 2


@pytest.mark.parametrize(("setting", "amount", "moved_px"), [("rotate", 20, 13), ("zoom", 0.3, 12), ("shift", 0.2, 13)])
def test_moves_move_a_spot_within_their_setting(setting, amount, moved_px):
    """A spot 32 px right of the centre of a 65 px field: 20 degrees and 30 % move it by at most 12, a fifth by 13."""
    start = torch.zeros(1, 65, 65)
    start[0, 32, 62] = 1
    places = []
    for n in range(60):
        field = augmented(start, Jitter(**{setting: amount}), np.random.default_rng(n))[0]
        if field.max() > 0.2:  # still inside
            places.append(np.unravel_index(int(field.argmax()), field.shape))
    away = np.hypot(*(np.array(places) - (32, 62)).T)
    assert 0.5 * moved_px < away.max() <= moved_px * 1.5
    assert len({tuple(place) for place in places}) > 5


def test_a_crop_is_a_part_of_the_field_of_at_least_its_share():
    """Coordinates stand for pixels: those of the enlarged part lie within the field, as far apart as its share says."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    sides, starts = [], []
    for seed in range(60):
        found = augmented(torch.stack([rows, columns]), Jitter(crop=0.25), np.random.default_rng(seed))
        inner = found[:, 2:-2, 2:-2]  # the outermost pixels are blended with the background
        high, wide = ((plane.max() - plane.min()).item() / (length - 5)
                      for plane, length in zip(inner, (64, 96), strict=True))
        assert high == pytest.approx(wide, abs=0.02)  # the aspect is kept
        sides.append(high)
        starts.append(inner[1].min().item())
    assert 0.5 - 0.02 <= min(sides) < 0.6 < 0.9 < max(sides) <= 1.01  # a quarter of the area is half a side
    assert min(starts) < 10 < 30 < max(starts)


def test_a_crop_keeps_zoom_and_shift():
    plain, whole = (draw(Jitter(zoom=0.3, shift=0.2, crop=crop), np.random.default_rng(5), channels=2, square=True)
                    for crop in (0.0, 1.0))  # a part that is all of the field
    for name in ("zoom", "right", "down"):
        assert getattr(whole, name) == pytest.approx(getattr(plain, name)) != 0


def test_gamma_keeps_the_range_and_the_order_of_each_channel():
    start = field(16, 16)
    powers = []
    for seed in range(40):
        found = augmented(start, Jitter(gamma=1.0), np.random.default_rng(seed))
        for before, after in zip(start, found, strict=True):
            assert after.min().item() == pytest.approx(before.min().item(), abs=1e-5)
            assert after.max().item() == pytest.approx(before.max().item(), abs=1e-5)
            assert torch.equal(before.flatten().argsort(), after.flatten().argsort())
            share = ((before - before.min()) / (before.max() - before.min())).flatten()
            of_after = ((after - after.min()) / (after.max() - after.min())).flatten()
            middle = share.sub(0.5).abs().argmin()
            powers.append((of_after[middle].log() / share[middle].log()).item())
    assert 0.5 <= min(powers) < 0.6 < 1.8 < max(powers) <= 2.001
    assert abs(np.corrcoef(powers[::2], powers[1::2])[0, 1]) < 0.4  # each channel has its own


def test_dropout_sets_channels_to_0_but_never_all():
    start, kept = torch.ones(3, 4, 4), []
    for seed in range(200):
        found = augmented(start, Jitter(dropout=0.5), np.random.default_rng(seed)).mean((1, 2))
        assert set(found.tolist()) <= {0.0, 1.0}
        kept.append(int(found.sum()))
    assert set(kept) == {1, 2, 3}
    rarely = [draw(Jitter(dropout=0.1), np.random.default_rng(seed), channels=3, square=True).kept.mean()
              for seed in range(200)]
    assert 0.9 < np.mean(rarely) < 0.97  # 0.1 of the two that may go: 0.933
    shifted = augmented(start, Jitter(dropout=0.5, offset=0.3, gamma=0.5), np.random.default_rng(1)).mean((1, 2))
    assert 0 < (shifted == 0).sum() < 3  # no offset is added to what is left out
    assert augmented(torch.zeros(1, 2, 2), Jitter(gamma=0.5), np.random.default_rng(0)).tolist() == [[[0, 0], [0, 0]]]


def test_later_changes_move_no_draw_of_earlier_ones():
    plain, more = (draw(jitter, np.random.default_rng(5), channels=2, square=True) for jitter in (
        Jitter(flips=True, quarter_turns=True, rotate=9, shift=0.1, gain=0.2, offset=0.1),
        Jitter(flips=True, quarter_turns=True, rotate=9, shift=0.1, gain=0.2, offset=0.1, gamma=0.3, dropout=0.2)))
    for name in ("left_right", "up_down", "quarter_turns", "angle", "right", "down"):
        assert getattr(plain, name) == getattr(more, name)
    np.testing.assert_array_equal(plain.gains, more.gains)
