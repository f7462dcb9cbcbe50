"""Random changes of a training field that keep its mechanism; the one door to torchvision.transforms.v2.

Exercised by `pytest tests/test_augment.py`.  Shapes: C channels, H W pixels.
"""

import functools
import importlib
import importlib.util
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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


def augment(field_CHW: Tensor, jitter: Jitter, rng: np.random.Generator) -> Tensor:
    """Change one normalised field (C, H, W) float32 at random; rng: a generator of this field alone.

    The same numbers are drawn whatever is switched on, so that one setting never changes another's draws.
    """
    left_right, up_down = rng.random(2) < 0.5
    turns = int(rng.integers(4))
    angle, zoom, right, down = rng.uniform(-1, 1, 4)
    gains, offsets = rng.uniform(-1, 1, (2, field_CHW.shape[0]))
    if jitter.flips:
        field_CHW = flip(field_CHW, bool(left_right), bool(up_down))
    if jitter.turns:
        square = field_CHW.shape[1] == field_CHW.shape[2]
        field_CHW = quarter_turns(field_CHW, turns if square else 2 * (turns % 2))
    if jitter.resamples():
        height, width = field_CHW.shape[1:]
        field_CHW = affine(field_CHW, angle=angle * jitter.rotate, scale=1 + zoom * jitter.scale,
                           right=right * jitter.shift * width, down=down * jitter.shift * height)
    if jitter.gain or jitter.offset:
        gain = torch.as_tensor(1 + gains * jitter.gain, dtype=torch.float32)[:, None, None]
        offset = torch.as_tensor(offsets * jitter.offset, dtype=torch.float32)[:, None, None]
        field_CHW = field_CHW * gain + offset
    return field_CHW


def flip(field_CHW: Tensor, left_right: bool, up_down: bool) -> Tensor:
    """Mirror a field."""
    functional, _ = transforms()
    if functional is None:
        return field_CHW.flip([axis for axis, wanted in ((2, left_right), (1, up_down)) if wanted])
    field_CHW = functional.horizontal_flip(field_CHW) if left_right else field_CHW
    return functional.vertical_flip(field_CHW) if up_down else field_CHW


def quarter_turns(field_CHW: Tensor, turns: int) -> Tensor:
    """Turn a field counter-clockwise by so many quarters, exactly; odd numbers need a square field."""
    functional, _ = transforms()
    if functional is None:
        return torch.rot90(field_CHW, turns, (1, 2))
    return functional.rotate(field_CHW, 90.0 * turns) if turns else field_CHW


def affine(field_CHW: Tensor, *, angle: float, scale: float, right: float, down: float) -> Tensor:
    """Rotate (degrees), zoom and move (pixels); what comes in from outside has each channel's background value."""
    functional, why = transforms()
    assert functional is not None, why
    background = field_CHW[:, ::4, ::4].flatten(1).quantile(0.05, dim=1).tolist()
    return functional.affine(field_CHW, angle=angle, translate=[right, down], scale=scale, shear=[0.0, 0.0],
                             interpolation=functional.InterpolationMode.BILINEAR, fill=background)


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
