"""Screens of arranged cells: plates and layout.  pytest tests/synthetic/test_arranged_plates.py"""

from collections import Counter

import numpy as np
import pytest

from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021
from mscnn.synthetic.arranged_plates import draw_field, plan, plan_fields, write_arranged_plates
from mscnn.synthetic.arrangements import DOSES_UM, MECHANISMS

TWO = ["Bar nuclei", "Chains of cells"]


def test_each_compound_has_a_well_of_each_dose_on_each_plate_of_its_week():
    weeks = plan(tuple(MECHANISMS), 12)
    assert len(weeks) == 6
    fields = plan_fields(weeks, 3, 1, seed=0)
    assert len(fields) == 6 * 3 * 60
    for plate in {field.plate for field in fields}:
        here = [field for field in fields if field.plate == plate]
        treated = Counter((field.well.compound, field.well.dose_uM) for field in here)
        names = {name for name, _ in weeks[here[0].week - 1]}
        assert treated.pop(("DMSO", 0.0)) == 12
        assert treated == {(name, dose): 1 for name in names for dose in DOSES_UM}
    weeks_of = {m: {f.week for f in fields if f.mechanism == m} for m in MECHANISMS}
    assert all(len(found) == 6 for found in weeks_of.values())


def test_no_well_stands_for_a_mechanism():
    """Of the 36 wells of a mechanism's first dose in 18 plates, at random over 60 places, some 27 differ."""
    fields = plan_fields(plan(tuple(MECHANISMS), 12), 3, 1, seed=0)
    for mechanism in MECHANISMS:
        wells = [f.well.name for f in fields if f.mechanism == mechanism and f.well.dose_uM == DOSES_UM[0]]
        assert len(wells) == 36
        assert len(set(wells)) > 18


def test_the_reader_of_bbbc021_reads_the_screen(tmp_path):
    write_arranged_plates(tmp_path, mechanisms=TWO, compounds_per_mechanism=2, plates_per_week=1, height=32, width=40)
    frame = read_bbbc021(*find_csvs(tmp_path)).labelled().frame
    counts = Counter(frame["mechanism"])
    assert counts == {"DMSO": 12, "Bar nuclei": 4, "Chains of cells": 4}
    assert set(frame["compound"]) == {"DMSO", "bar-nuclei-a", "bar-nuclei-b", "chains-cells-a", "chains-cells-b"}


def test_a_field_depends_on_its_place_alone():
    field = plan_fields(plan(TWO, 1), 1, 2, seed=3)[7]
    one, again, other = (draw_field(f, 48, 48) for f in (field, field, replace_site(field)))
    assert (one.shape, one.dtype) == ((3, 48, 48), np.uint16)
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5


def replace_site(field):
    return field._replace(site=field.site + 1)


def test_refusals():
    with pytest.raises(ValueError, match="different ones"):
        plan(["Bars"], 3)
    with pytest.raises(ValueError, match=r"1\.\.26"):
        plan(TWO, 27)
