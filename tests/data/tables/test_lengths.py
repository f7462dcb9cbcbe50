"""Lengths in micrometres."""

import math

import pytest

from mscnn.data.tables.lengths import micrometres


@pytest.mark.parametrize(("text", "unit", "size"), [
    ("6.5E-07", "m", 0.65), ("0.65", "µm", 0.65), ("0.65", "μm", 0.65), ("650", "nm", 0.65), ("6.5e-4", " mm ", 0.65),
    (0.65, "micrometer", 0.65), (6500, "Å", 0.65), ("6.5e-5", "cm", 0.65), ("650000", "pm", 0.65)])
def test_lengths_are_in_micrometres(text, unit, size):
    assert micrometres(text, unit) == pytest.approx(size, rel=1e-12)


@pytest.mark.parametrize(("text", "unit"), [
    ("", "m"), ("0", "m"), ("-1", "m"), ("nan", "m"), ("inf", "m"), ("1", "parsec"), ("1", "Mm"), (10**400, "m")])
def test_what_is_no_positive_length_is_not_known(text, unit):
    assert math.isnan(micrometres(text, unit))
