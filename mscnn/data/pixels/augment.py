"""Random changes of a training field that keep its mechanism.

Shapes: N fields of a minibatch, C channels, H W pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True)
class Jitter:
    """Limits of the random changes of a field."""

    flips: bool = False          # mirror left-right and up-down
    quarter_turns: bool = False  # turn by quarters; by halves where fields are not square
    rotate: float = 0.0          # by up to so many degrees
    zoom: float = 0.0            # enlarge or shrink by up to this share
    shift: float = 0.0           # move by up to this share of the sides
    gain: float = 0.0            # multiply each channel by 1 plus or minus up to this
    offset: float = 0.0          # add up to plus or minus this to each channel, in its scaled unit
    crop: float = 0.0            # enlarge a part of the field, of at least this share of its area; 0: the whole field
    gamma: float = 0.0           # raise each channel, from 0 to 1 over its range, to a power of 1 / (1 + this) to 1 + this
    dropout: float = 0.0         # set each channel to 0 with this probability, but for one of them

    def resamples(self) -> bool:
        """Return whether fields are resampled."""
        return bool(self.rotate or self.zoom or self.shift or self.crop)


@dataclass(frozen=True)
class Change:
    """Random change of one field."""

    left_right: bool     # mirrored
    up_down: bool        # mirrored
    quarter_turns: int   # counter-clockwise
    angle: float         # degrees, clockwise
    zoom: float          # share by which it is enlarged
    right: float         # share of the width by which it is moved
    down: float          # share of the height
    gains: np.ndarray    # (C,) factors
    offsets: np.ndarray  # (C,) in scaled units
    gammas: np.ndarray   # (C,) powers
    kept: np.ndarray     # (C,) bool: channels that are not set to 0


def draw(jitter: Jitter, rng: np.random.Generator, *, channels: int, square: bool) -> Change:
    """Draw the change of one field; rng: a generator of this field alone.

    The same numbers are drawn whatever is switched on, so that no setting changes the draws of another; those of crop,
    gamma and dropout come last.
    """
    left_right, up_down = (rng.random(2) < 0.5) & jitter.flips
    turns = int(rng.integers(4)) * jitter.quarter_turns
    angle, zoom, right, down = rng.uniform(-1, 1, 4) * (jitter.rotate, jitter.zoom, jitter.shift, jitter.shift)
    gains, offsets = rng.uniform(-1, 1, (2, channels))
    if jitter.crop:
        side = math.sqrt(rng.uniform(jitter.crop, 1))  # of the part, as a share of the field's
        zoom, (right, down) = (1 + zoom) / side - 1, (right, down) + rng.uniform(-1, 1, 2) * (1 - side) / (2 * side)
    powers = rng.uniform(-1, 1, channels) if jitter.gamma else np.zeros(channels)
    kept = rng.random(channels) >= jitter.dropout if jitter.dropout else np.ones(channels, bool)
    if jitter.dropout:
        kept[rng.integers(channels)] = True
    return Change(bool(left_right), bool(up_down), turns if square else 2 * (turns % 2), angle, zoom, right, down,
                  1 + gains * jitter.gain, offsets * jitter.offset, (1 + jitter.gamma) ** powers, kept)


def orient(site_CHW: np.ndarray, change: Change) -> np.ndarray:
    """Mirror and turn a site exactly. The result is a view, which costs nothing until its pixels are read."""
    rows, columns = (slice(None, None, -1 if mirrored else 1) for mirrored in (change.up_down, change.left_right))
    return np.rot90(site_CHW[:, rows, columns], change.quarter_turns, axes=(1, 2))


def augment(fields_NCHW: Tensor, changes: list[Change], jitter: Jitter) -> None:
    """Resample a minibatch of scaled fields in place, and change their channels; orient has mirrored and turned them."""
    if jitter.resamples():
        height, width = fields_NCHW.shape[2:]
        for field_CHW, change in zip(fields_NCHW, changes, strict=True):
            field_CHW.copy_(affine(field_CHW, angle=change.angle, scale=1 + change.zoom, right=change.right * width,
                                   down=change.down * height))
    if jitter.gamma:
        low_NC11, high_NC11 = fields_NCHW.amin((2, 3), keepdim=True), fields_NCHW.amax((2, 3), keepdim=True)
        range_NC11 = (high_NC11 - low_NC11).clamp_min(torch.finfo(torch.float32).tiny)
        powers_NC11 = torch.tensor(np.stack([change.gammas for change in changes]), dtype=torch.float32)[:, :, None, None]
        fields_NCHW.sub_(low_NC11).div_(range_NC11).pow_(powers_NC11).mul_(range_NC11).add_(low_NC11)
    if jitter.gain or jitter.offset:
        gains_NC, offsets_NC = (torch.tensor(np.stack(values), dtype=torch.float32)[:, :, None, None] for values in
                                zip(*((change.gains, change.offsets) for change in changes), strict=True))
        fields_NCHW.mul_(gains_NC).add_(offsets_NC)
    if jitter.dropout:
        fields_NCHW.mul_(torch.tensor(np.stack([change.kept for change in changes]))[:, :, None, None])


def affine(field_CHW: Tensor, *, angle: float, scale: float, right: float, down: float) -> Tensor:
    """Rotate (degrees, clockwise), zoom about the centre, then move (pixels); interpolate bilinearly.

    Pixels from outside the field get each channel's background value.
    """
    height, width = field_CHW.shape[1:]
    cosine, sine = math.cos(math.radians(angle)) / scale, math.sin(math.radians(angle)) / scale
    # From output to input coordinates.  Both sides run from -1 to 1, so that a unit of y is height / width units of x.
    inverse_123 = field_CHW.new_tensor([[
        [cosine, sine * height / width, -2 * (cosine * right + sine * down) / width],
        [-sine * width / height, cosine, -2 * (cosine * down - sine * right) / height]]])
    grid_1HW2 = affine_grid(inverse_123, [1, 1, height, width], align_corners=False)
    # The channel of ones is resampled to the share of a pixel that lies inside the field.  That share weighs pixels at the
    # edge twice: outside counts as 0 in the resampling, then background is blended in, as torchvision's affine does.
    field_and_ones_1CHW = torch.cat([field_CHW, field_CHW.new_ones(1, height, width)])[None]
    resampled_CHW, inside_1HW = grid_sample(field_and_ones_1CHW, grid_1HW2, align_corners=False)[0].tensor_split([-1])
    background_C11 = field_CHW[:, ::4, ::4].flatten(1).quantile(0.05, dim=1)[:, None, None]
    return resampled_CHW.sub_(background_C11).mul_(inside_1HW).add_(background_C11)
