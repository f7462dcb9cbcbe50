"""Concentrations of known compounds in the unit of the screen that is compared with them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mscnn.evaluation.known_reference import KnownReference, in_unit
from mscnn.profiling.profile_table import ProfileTable

WELLS = ProfileTable(pd.DataFrame({"Metadata_Concentration": [0.3, np.nan]}), np.zeros((2, 1)), ["f"])


@pytest.mark.parametrize(("of_training", "unit", "expected", "is_told"), [
    (None, "µM", 0.3, False),   # as in an older release
    ("µM", "nM", 300, False), ("nM", "µM", 0.0003, False), ("mg/ml", "µg/ml", 300, False),
    ("µM", "µg/ml", 0.3, True), ("cells", "µM", 0.3, True), ("cells", "cells", 0.3, False)])
def test_doses_of_known_compounds_are_converted_or_a_note_says_that_they_are_not(of_training, unit, expected, is_told):
    saved = SimpleNamespace(settings={"preset": "supervised", "sites": "s.csv", "concentration_unit": of_training})
    found = in_unit(KnownReference(WELLS), saved, unit)
    np.testing.assert_array_equal(found.wells.metadata["Metadata_Concentration"], [expected, np.nan])
    assert bool(found.note) == is_told
    assert not is_told or f"concentrations are in {unit}" in found.note


def test_a_reason_for_no_known_compounds_is_kept():
    saved = SimpleNamespace(settings={"preset": "supervised", "sites": "s.csv"})
    assert in_unit(KnownReference(note="why"), saved, "nM") == KnownReference(note="why")
