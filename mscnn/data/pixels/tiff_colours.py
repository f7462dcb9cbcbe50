"""What the numbers of a TIFF mean: counts, which grow with the light, or something else.

Exercised by `pytest tests/data/pixels/test_tiff_colours.py`.
"""

import numpy as np

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6  # PhotometricInterpretation
_NAMES = {4: "a mask", 5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a colour filter array", 32844: "LogL",
          32845: "LogLuv", 34892: "a colour filter array"}


def require_counts(photometric: int, palette_3N: np.ndarray | None, *, is_jpeg: bool) -> None:
    """Raise ValueError where the numbers of a TIFF do not grow with the light.

    photometric: its PhotometricInterpretation; is_jpeg: its decoder makes red, green and blue of YCbCr.
    """
    if photometric == _MIN_IS_WHITE:
        raise ValueError("0 is white in it (MinIsWhite), so that bright is dark; save it with 0 as black")
    if photometric == _PALETTE and palette_3N is not None and not _is_ramp(palette_3N):
        raise ValueError("its pixels are numbers of colours in a palette, and no counts; save it as grey values")
    if photometric not in (_MIN_IS_BLACK, _PALETTE, _RGB) and not (photometric == _YCBCR and is_jpeg):
        name = _NAMES.get(photometric, "YCbCr" if photometric == _YCBCR else f"of kind {photometric}")
        raise ValueError(f"its colours are {name}, and only grey values and red, green, blue are read; save it so")


def _is_ramp(palette_3N: np.ndarray) -> bool:
    """Return whether a palette shows one hue that grows brighter, as of a false colour, so that its numbers are counts."""
    steps = np.diff(palette_3N.astype(np.int64), axis=1)
    return bool((steps >= 0).all() and steps.any())
