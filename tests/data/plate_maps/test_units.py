"""Units of concentrations."""

import pytest

from mscnn.data.plate_maps.units import find_unit, split_unit

UNITS = [
    ("uM", "µM", 1), ("um", "µM", 1), ("\u00b5M", "µM", 1), ("\u03bcM", "µM", 1), ("micromolar", "µM", 1),
    ("umol/l", "µM", 1),
    ("µmol/L", "µM", 1), ("nM", "µM", 1e-3), ("nanomolar", "µM", 1e-3), ("nmol / litre", "µM", 1e-3), ("pM", "µM", 1e-6),
    ("fM", "µM", 1e-9), ("mM", "µM", 1e3), ("millimolar", "µM", 1e3), ("mmoles_per_liter", "µM", 1e3), ("M", "µM", 1e6),
    ("molar", "µM", 1e6), ("mol/l", "µM", 1e6), ("ng/ml", "µg/ml", 1e-3), ("ng per mL", "µg/ml", 1e-3),
    ("ug/ml", "µg/ml", 1), ("mcg/ml", "µg/ml", 1), ("µg/mL", "µg/ml", 1), ("mg/l", "µg/ml", 1), ("ng/ul", "µg/ml", 1),
    ("mg_per_ml", "µg/ml", 1e3), ("g/l", "µg/ml", 1e3), ("milligrams per milliliter", "µg/ml", 1e3), ("%", "%", 1),
    ("% v/v", "%", 1), ("%(w/v)", "%", 1), ("percent", "%", 1), ("pct", "%", 1)]


@pytest.mark.parametrize(("text", "written", "factor"), UNITS, ids=[text for text, _, _ in UNITS])
def test_a_unit_is_known_in_every_spelling(text, written, factor):
    unit = find_unit(text)
    assert unit is not None
    assert (unit.written, unit.factor) == (written, pytest.approx(factor, rel=1e-12))  # products of powers of ten


@pytest.mark.parametrize("text", ["", "uL", "ml", "x", "umol", "g", "mg/kg", "logM", "h", "cells/ml", "uM/ml", "10"])
def test_other_texts_are_no_unit(text):
    assert find_unit(text) is None


COLUMNS = [("dose_uM", "dose", "uM"), ("Concentration (nM)", "Concentration", "nM"), ("conc [µM]", "conc", "µM"),
           ("Concentration_in_uM", "Concentration", "uM"), ("conc uM", "conc", "uM"), ("doseuM", "dose", "uM"),
           ("Concentration/µM", "Concentration", "µM"), ("dose_ug_per_ml", "dose", "ug_per_ml"),
           ("mmoles_per_liter", "concentration", "mmoles_per_liter"), ("mg_per_ml", "concentration", "mg_per_ml"),
           ("uM", "concentration", "uM"), ("Metadata_Dose_nM", "Metadata_Dose", "nM"),
           ("compound", "compound", ""), ("well_name", "well_name", ""), ("drug (batch 3)", "drug (batch 3)", ""),
           ("M", "M", ""), ("MOA", "MOA", "")]


@pytest.mark.parametrize(("column", "name", "unit"), COLUMNS, ids=[column for column, _, _ in COLUMNS])
def test_a_column_is_parted_from_its_unit(column, name, unit):
    assert split_unit(column) == (name, unit)
