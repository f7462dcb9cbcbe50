"""Random changes of a training field that keep its mechanism; the one door to torchvision.transforms.v2.

Shapes: C channels, H W pixels."""

import functools
import importlib
import importlib.util
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mscnn.core.errors import UsageError

_kept_alive: list[torch.library.Library] = []


@dataclass(frozen=True)
class Jitter:
    """How far a field may be changed; the settings of config.Augment, where each is explained."""

    flips: bool = False
    turns: bool = False
    rotate: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    gain: float = 0.0
    offset: float = 0.0

    def resamples(self) -> bool:
        """Whether fields are resampled, which needs torchvision."""
        return bool(self.rotate or self.scale or self.shift)


@dataclass(frozen=True)
class Change:
    """What is done to one field: gains and offsets have a number a channel, the others are those of Jitter, drawn."""

    left_right: bool
    up_down: bool
    turns: int              # quarters, counter-clockwise
    angle: float
    zoom: float
    right: float
    down: float
    gains: np.ndarray
    offsets: np.ndarray


def draw(jitter: Jitter, rng: np.random.Generator, *, channels: int, square: bool) -> Change:
    """The change of one field; rng: a generator of this field alone.

    The same numbers are drawn whatever is switched on, so that one setting never changes another's draws.
    """
    left_right, up_down = (rng.random(2) < 0.5) & jitter.flips
    turns = int(rng.integers(4)) * jitter.turns
    angle, zoom, right, down = rng.uniform(-1, 1, 4) * (jitter.rotate, jitter.scale, jitter.shift, jitter.shift)
    gains, offsets = rng.uniform(-1, 1, (2, channels))
    return Change(bool(left_right), bool(up_down), turns if square else 2 * (turns % 2), angle, zoom, right, down,
                  1 + gains * jitter.gain, offsets * jitter.offset)


def orient(site_CHW: np.ndarray, change: Change) -> np.ndarray:
    """Mirror and turn a site, exactly: a view, so that it costs nothing until the pixels are read."""
    rows, columns = (slice(None, None, -1 if mirrored else 1) for mirrored in (change.up_down, change.left_right))
    return np.rot90(site_CHW[:, rows, columns], change.turns, axes=(1, 2))


def augment(fields_NCHW: Tensor, changes: list[Change], jitter: Jitter) -> None:
    """Resample and recolour a minibatch of normalised fields in place; their orientation is orient's."""
    if jitter.resamples():
        height, width = fields_NCHW.shape[2:]
        for field_CHW, change in zip(fields_NCHW, changes, strict=True):
            field_CHW.copy_(affine(field_CHW, angle=change.angle, scale=1 + change.zoom, right=change.right * width,
                                   down=change.down * height))
    if jitter.gain or jitter.offset:
        gains_NC, offsets_NC = (torch.tensor(np.stack(values), dtype=torch.float32)[:, :, None, None] for values in
                                zip(*((change.gains, change.offsets) for change in changes), strict=True))
        fields_NCHW.mul_(gains_NC).add_(offsets_NC)


def affine(field_CHW: Tensor, *, angle: float, scale: float, right: float, down: float) -> Tensor:
    """Rotate (degrees), zoom and move (pixels); what comes in from outside has each channel's background value."""
    functional, why = transforms()
    assert functional is not None, why
    background = field_CHW[:, ::4, ::4].flatten(1).quantile(0.05, dim=1).tolist()
    return functional.affine(field_CHW, angle=angle, translate=[right, down], scale=scale, shear=[0.0, 0.0],
                             interpolation=functional.InterpolationMode.BILINEAR, fill=background)


def resampled_by(jitter: Jitter) -> str:
    """What resamples fields, for the log. Raises UsageError where that takes torchvision, and it cannot be loaded."""
    if not jitter.resamples():  # torchvision takes as long to load as torch itself
        return "nothing, as asked"
    functional, how = transforms()
    if functional is None:
        raise UsageError(f"rotate, scale and shift need torchvision: {how}; install it, or say 0")
    return how


@functools.cache
def transforms() -> tuple[types.ModuleType | None, str]:
    """torchvision.transforms.v2.functional, or None, and the reason.

    Wheels of torchvision linked against CUDA cannot load their compiled part beside a CPU build of torch, and their
    import then fails for want of two operators that transforms never call: those are declared before it.  A failed
    import leaves half-loaded modules behind, hence the decision before it.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return None, "torchvision is not installed"
    if torch.version.cuda is None and not _compiled_part_loads(Path(found.submodule_search_locations[0])):
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept_alive.append(library)
    try:
        return importlib.import_module("torchvision.transforms.v2.functional"), "torchvision.transforms.v2"
    except Exception as problem:  # an unfit build fails in many ways; all mean that plain torch has to do
        return None, f"torchvision cannot be loaded ({type(problem).__name__}: {problem})"


def _compiled_part_loads(package: Path) -> bool:
    try:
        for library in package.glob("_C*.so"):
            torch.ops.load_library(library)
            return True
    except OSError:
        pass
    return False
