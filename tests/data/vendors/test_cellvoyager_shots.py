import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors.cellvoyager_shots import Shot, Shots, read_shots
from tests.data.vendors.cellvoyager_folder import PLACE, record, records


@pytest.fixture
def read(tmp_path):
    """Read the text of MeasurementData.mlf."""
    def read_text(text) -> Shots:
        (tmp_path / "MeasurementData.mlf").write_text(text, "utf-8")
        return read_shots(tmp_path / "MeasurementData.mlf")

    return read_text


def test_a_record_of_an_image_is_a_shot(read):
    text = records(record("P_B03.tif", FieldIndex=4, Ch=5, PartialTileIndex=6, TimePoint=7, TimelineIndex=8, ZIndex=9,
                          ActionIndex=10, ZImageProcessing="Maximum"))
    assert read(text).taken == [Shot(row=2, column=3, field=4, channel=5, tile=6, time=7, timeline=8, z=9, action=10,
                                     processing="Maximum", file="P_B03.tif")]


def test_what_old_microscopes_leave_out_is_1(read):
    shot, = read(records(record(TimePoint=None, ZIndex=None, TimelineIndex=None, ActionIndex=None, Type=None))).taken
    assert shot == Shot(2, 3, 4, channel=1, tile=1, time=1, timeline=1, z=1, action=1, processing="", file="a.tif")


def test_errors_have_no_field_and_are_counted_by_type(read):
    found = read(records(record(), record("", Type="ERR", FieldIndex=None, Ch=None), record("x", Type="ERR"),
                         record("x", Type="AF")))
    assert [shot.file for shot in found.taken] == ["a.tif"]
    assert found.left_out == {"records of type ERR are no images, and are left out": 2,
                              "records of type AF are no images, and are left out": 1}


def test_the_first_time_point_of_a_timeline_may_be_an_error(read):
    found = read(records(record(TimePoint=3), record(TimePoint=6, TimelineIndex=2),
                         record("", Type="ERR", TimePoint=5, TimelineIndex=2, FieldIndex=None)))
    assert found.starts == {1: 3, 2: 5}


def test_a_record_without_a_file_was_not_recorded(read):
    found = read(records(record(""), record("<other/>")))
    assert (found.taken, list(found.left_out.values())) == ([], [2])


@pytest.mark.parametrize("name", [name for name in PLACE if name != "Type"])
def test_a_record_whose_place_is_no_number_is_unclear(read, name):
    assert read(records(record("b.tif", **{name: "x"}))).unclear[0].startswith("b.tif lacks a number for one of Row")


@pytest.mark.parametrize("name", ["Row", "Column", "FieldIndex", "Ch"])
def test_a_record_without_its_place_is_unclear(read, name):
    found = read(records(record("b.tif", **{name: None})))
    assert (len(found.unclear), found.taken) == (1, [])


def test_records_that_are_cut_short_or_absent_are_refused(read):
    whole = records(record(), record("b.tif"))
    for length in range(0, len(whole) - 1, 25):
        with pytest.raises(DataError, match="cut short or no XML"):
            read(whole[:length])
    with pytest.raises(DataError, match=r"has no records of images; name the MeasurementData.mlf of a measurement"):
        read(records())
    with pytest.raises(DataError, match="starts with MeasurementDetail, not with MeasurementData; name"):
        read("<MeasurementDetail/>")
