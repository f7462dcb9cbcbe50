"""Units of length, as microscopes and people write them, in micrometres.

Exercised by `pytest tests/data/tables/test_lengths.py`.
"""

import math
from functools import lru_cache

MICROMETRES = {unit: factor for factor, units in {  # capitals count: Mm is no mm
    1.0: ("µm", "μm", "um", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
    1e-6: ("pm", "picometer", "picometre"), 1e-4: ("Å", "angstrom"), 1e-3: ("nm", "nanometer", "nanometre"),
    1e3: ("mm", "millimeter", "millimetre"), 1e4: ("cm", "centimeter", "centimetre"), 1e6: ("m", "meter", "metre"),
}.items() for unit in units}


@lru_cache(maxsize=2**12)
def micrometres(number: float | str, unit: str) -> float:
    """Return a length in micrometres; NaN for what is no positive length, or has another unit."""
    try:
        size = float(number) * MICROMETRES[unit.strip()]
    except (KeyError, ValueError, OverflowError):
        return math.nan
    return size if math.isfinite(size) and size > 0 else math.nan
