"""The unit of concentrations as it is shown.   python -m pytest tests/core/test_units.py"""

import re

from mscnn.core.errors import UsageError, printable

MICROMOLAR = "µM"  # with the micro sign, U+00B5
LONGEST = 40       # letters of a unit


def one_spelling(unit: str) -> str:
    """Return a unit with one spelling of micro: uM, μM (Greek) and µM are µM, ug/ml is µg/ml; other units are unchanged.

    Raises UsageError for a unit that is empty, too long, or not printable.
    """
    plain = unit.strip().replace("μ", "µ")
    if not plain or len(plain) > LONGEST or plain != printable(plain):
        raise UsageError(f"concentration-unit must be a unit such as µM or nM, got {printable(unit)[:LONGEST]!r}")
    return re.sub(r"(?<![^\W_])u(?=(?:M|mol|g|l|L)(?![^\W_]))", "µ", plain)
