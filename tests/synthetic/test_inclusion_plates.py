"""Screens of inclusions: plates and layout.  pytest tests/synthetic/test_inclusion_plates.py"""

from collections import Counter

import numpy as np
import pytest

from mscnn.data.tables.bbbc021 import find_csvs, read_bbbc021
from mscnn.synthetic.inclusion_plates import draw_field, plan, plan_fields, write_inclusion_plates
from mscnn.synthetic.inclusions import DOSES_UM, MECHANISMS

TWO = ["Bar inclusions", "Double-bar inclusions"]


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
    write_inclusion_plates(tmp_path, mechanisms=TWO, compounds_per_mechanism=2, plates_per_week=1, height=32, width=40)
    frame = read_bbbc021(*find_csvs(tmp_path)).labelled().frame
    counts = Counter(frame["mechanism"])
    assert counts == {"DMSO": 12, "Bar inclusions": 4, "Double-bar inclusions": 4}
    assert set(frame["compound"]) == {"DMSO", "bar-a", "bar-b", "double-bar-a", "double-bar-b"}


def test_a_field_depends_on_its_place_alone():
    field = plan_fields(plan(TWO, 1), 1, 2, seed=3)[7]
    one, again, other = (draw_field(f, 48, 48) for f in (field, field, replace_site(field)))
    assert (one.shape, one.dtype) == ((3, 48, 48), np.uint16)
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5


def replace_site(field):
    return field._replace(site=field.site + 1)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_inclusion_plates(tmp_path / name, mechanisms=TWO, compounds_per_mechanism=1, plates_per_week=1, height=32,
                               width=32, seed=seed)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 3 * 60 + 2
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    image, other = (next((tmp_path / name).rglob("*_B02_s1_w2*.tif")).read_bytes() for name in ("one", "other"))
    assert image != other


def test_a_mechanism_changes_inclusions_alone():
    """A field of the same place and compound under another mechanism: the other two channels have the same bytes."""
    field = next(f for f in plan_fields(plan(TWO, 1), 1, 1, seed=3) if f.mechanism == TWO[0])
    one, other = (draw_field(f, 256, 256) for f in (field, field._replace(mechanism=TWO[1])))
    np.testing.assert_array_equal(one[[0, 2]], other[[0, 2]])
    assert 0 < (one[1] != other[1]).mean() < 0.2              # some shapes of 24 x 24 pixels, blurred


def test_refusals():
    with pytest.raises(ValueError, match="different ones"):
        plan(["Bars"], 3)
    with pytest.raises(ValueError, match=r"1\.\.26"):
        plan(TWO, 27)
