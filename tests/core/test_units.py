"""Units of concentrations have one spelling of micro."""

import pytest

from mscnn.core.config import Table
from mscnn.core.errors import UsageError
from mscnn.core.units import one_spelling


@pytest.mark.parametrize(("written", "shown"), [
    ("uM", "\u00b5M"), ("\u03bcM", "\u00b5M"), ("\u00b5M", "\u00b5M"), (" ug/ml ", "\u00b5g/ml"), ("umol/L", "\u00b5mol/L"),
    ("ng/uL", "ng/\u00b5L"), ("nM", "nM"), ("%", "%"), ("unit", "unit"), ("log10 uM", "log10 \u00b5M"), ("cuM", "cuM")])
def test_micro_has_one_spelling_and_all_else_is_kept(written, shown):
    assert one_spelling(written) == shown
    assert Table(sites="a.csv", concentration_unit=written).concentration_unit == shown


@pytest.mark.parametrize("unit", ["", " ", "\u00b5M\n", "x" * 41, "\x1b[31m"])
def test_what_cannot_be_shown_is_no_unit(unit):
    if unit == "\u00b5M\n":
        assert one_spelling(unit) == "\u00b5M"
        return
    with pytest.raises(UsageError, match="concentration-unit must be a unit such as"):
        one_spelling(unit)
