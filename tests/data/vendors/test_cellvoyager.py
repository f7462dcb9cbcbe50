import math

import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors import cellvoyager
from mscnn.data.vendors.planes import COLUMNS, PlaneIndex, ReadOptions, list_folder
from tests.data.vendors.cellvoyager_folder import detail, measurement, record, records
from tests.data.vendors.harmony_folder import folder

INDEX = "m/MeasurementData.mlf"
TITLE = "CV8000-Minimal-DataSet-2C-3W-4S-FP2-stack"


@pytest.fixture
def read(tmp_path):
    """Write a measurement and read it."""
    return lambda *lines, **settings: cellvoyager.read(measurement(tmp_path, *lines, **settings), INDEX, ReadOptions())


def reasons(found: PlaneIndex) -> list[str]:
    return [problem.reason for problem in found.problems]


def test_a_record_becomes_a_plane(read):
    found = read(record("P_B03.tif", Ch=2, ZIndex=7, TimePoint=5), images=("p_b03.TIF",))
    plane, = found.planes.to_dict("records")
    assert plane == {"plate": "BR9", "well": "B03", "site": "4", "channel": "ER", "order": 2, "z": 7, "time": 5,
                     "path": "m/p_b03.TIF", "frame": -1, "pixel_size": 0.65}
    assert (found.format, found.notes, found.problems) == ("CellVoyager CV8000", (), ())
    assert list(found.planes.columns) == list(COLUMNS)


def test_errors_are_counted_and_left_out(read):
    found = read(record("a.tif"), record("", Type="ERR", FieldIndex=None), record("", Type="ERR", FieldIndex=None))
    assert found.planes.path.tolist() == ["m/a.tif"]
    assert found.notes == ("2 records of type ERR are no images, and are left out",)


def test_a_measurement_of_errors_has_no_planes(read):
    found = read(record("", Type="ERR"))
    assert (len(found.planes), found.problems) == (0, ())


def test_wells_of_a_plate_of_1536(read):
    found = read(record("a", Row=32, Column=48), record("b", Row=27, Column=1), mrf=detail(RowCount=32, ColumnCount=48))
    assert found.planes.well.tolist() == ["AF48", "AA01"]


def test_problems_of_all_records_are_told_together(read):
    found = read(record("a.tif"), record("b.tif", Row=9), record("c.tif", Column=0), record("../d.tif"),
                 record("e.tif", Ch="x"))
    assert found.planes.path.tolist() == ["m/a.tif"]
    assert sorted(reasons(found)) == [
        "../d.tif leaves the folder of the index", "b.tif is in row 9 and column 3 of a plate of 8 x 12 wells",
        "c.tif is in row 2 and column 0 of a plate of 8 x 12 wells", "e.tif lacks a number for one of Row, Column, "
        "FieldIndex, Ch, PartialTileIndex, TimePoint, TimelineIndex, ZIndex, ActionIndex"]
    assert {problem.file for problem in found.problems} == {INDEX}


def test_a_channel_without_a_stain_has_its_number_and_no_pixel_size(read):
    found = read(record(Ch=1), record(Ch=9))
    assert found.planes.channel.tolist() == ["DNA", "C09"]
    assert found.planes.pixel_size[0] == 0.325
    assert math.isnan(found.planes.pixel_size[1])


def test_stains_that_channels_share_get_numbers_but_only_of_channels_that_were_used(read):
    stains = {1: "405", 2: "405", 3: "488", 4: "488"}
    assert read(record(Ch=1), record(Ch=2), record(Ch=3), stains=stains).planes.channel.tolist() == [
        "405 C01", "405 C02", "488"]


def test_a_channel_of_two_actions_of_one_timeline_is_two_channels(read):
    found = read(record("a", ActionIndex=1), record("b", ActionIndex=3, ZIndex=1), record("c", ActionIndex=3, ZIndex=2),
                 record("d", Ch=2, ActionIndex=2))
    assert found.planes.channel.tolist() == ["DNA A01", "DNA A03", "DNA A03", "ER"]
    assert found.notes == ("channels of one camera setting that differ by action or projection: DNA A01, DNA A03",)


def test_a_channel_is_one_where_timelines_number_its_action_otherwise(read):
    found = read(record("a", Row=1, ActionIndex=1), record("b", Row=2, ActionIndex=2, TimelineIndex=2))
    assert (found.planes.channel.tolist(), found.notes) == (["DNA", "DNA"], ())


def test_a_projection_beside_its_planes_is_a_channel_of_its_own(read):
    found = read(record("a", ZIndex=1), record("b", ZIndex=2), record("p", ZImageProcessing="Maximum"),
                 record("q", Ch=2, ZImageProcessing="Maximum"))
    assert found.planes.channel.tolist() == ["DNA", "DNA", "DNA Maximum", "ER"]


def test_wells_that_were_imaged_once_have_the_same_time_point(read):
    found = read(record("a", Row=1, TimePoint=2), record("b", Row=2, TimePoint=3), record("c", Row=2, TimePoint=3, Ch=2),
                 record("d", Row=3, TimePoint=4, TimelineIndex=2))
    assert found.planes.time.tolist() == [2, 2, 2, 2]
    assert found.notes == ("wells have one time point each, with different numbers; it is taken as the same",)


def test_timelines_of_different_wells_have_the_same_time_points(read):
    found = read(record("a", Row=1, TimePoint=1), record("b", Row=1, TimePoint=2),
                 record("", Row=2, TimePoint=3, TimelineIndex=2, Type="ERR"),
                 record("c", Row=2, TimePoint=4, TimelineIndex=2), record("d", Row=2, TimePoint=5, TimelineIndex=2))
    assert found.planes.time.tolist() == [1, 2, 2, 3]
    assert found.notes[1] == ("timelines of different wells count their time points from different numbers; all are "
                              "counted from the first")


def test_a_well_that_lacks_a_time_point_of_its_timeline_keeps_the_others(read):
    found = read(record("a", Row=1, TimePoint=1), record("b", Row=1, TimePoint=2), record("c", Row=2, TimePoint=2))
    assert (found.planes.time.tolist(), found.notes) == ([1, 2, 2], ())


def test_timelines_of_one_well_keep_their_time_points(read):
    found = read(record("a", TimePoint=1), record("b", TimePoint=2, TimelineIndex=2),
                 record("c", Row=3, TimePoint=2, TimelineIndex=2))
    assert (found.planes.time.tolist(), found.notes) == ([1, 2, 2], ())


def test_a_single_timeline_counts_as_the_microscope_does(read):
    assert read(record("a", TimePoint=3), record("b", TimePoint=5)).planes.time.tolist() == [3, 5]


def test_tiles_of_a_field_are_sites(read):
    found = read(record("a", PartialTileIndex=1), record("b", PartialTileIndex=2))
    assert (found.planes.site.tolist(), found.notes) == (
        ["4-1", "4-2"], ("fields are imaged in tiles; each tile is a site, named FIELD-TILE",))
    assert read(record("a", PartialTileIndex=3), record("b", PartialTileIndex=3, FieldIndex=5)).planes.site.tolist() == [
        "4", "5"]


def test_images_that_were_packed_again_are_found_by_their_stem(read):
    found = read(record("Image/a.tif"), images=("Image/a.png",))
    assert found.planes.path.tolist() == ["m/Image/a.png"]
    assert found.notes == ("1 planes are tif files in the index and other files in the folder",)


def test_the_records_of_each_measurement_are_found_and_nothing_else(tmp_path):
    text = records(record())
    listing = folder(tmp_path, {
        "P1/MeasurementData.mlf": text, "P2/run/MEASUREMENTDATA.MLF": text, "P3/MeasurementData.mlf": "",
        "P4/MeasurementData.mlf": "<other/>", "P5/copy.mlf": text, "P6/model.mlf": "binary", "P7/MeasurementData.xml": text,
        "P1/MeasurementDetail.mrf": detail()})
    assert cellvoyager.find(listing) == ["P1/MeasurementData.mlf", "P2/run/MEASUREMENTDATA.MLF", "P3/MeasurementData.mlf",
                                         "P5/copy.mlf"]
    with pytest.raises(DataError, match="cut short or no XML"):
        cellvoyager.read(listing, "P3/MeasurementData.mlf", ReadOptions())


def test_a_measurement_of_a_cv8000_is_read_as_its_files_say(shared_data):
    found = cellvoyager.read(list_folder(shared_data / "formats/cellvoyager"), "CV8000_minimal/MeasurementData.mlf",
                             ReadOptions())
    planes = found.planes
    assert (found.format, found.notes, found.problems) == ("CellVoyager CV8000", (), ())
    expected = [(TITLE, well, str(site), channel, number, z, 1,
                 f"CV8000_minimal/{TITLE}_{well}_T0001F00{site}L01A0{number}Z0{z}C0{number}.tif")
                for well in ("D08", "E03", "F08") for site in (1, 2, 3, 4)
                for number, channel in ((1, "405"), (2, "488")) for z in (1, 2, 3, 4)]
    columns = ["plate", "well", "site", "channel", "order", "z", "time", "path"]
    found_rows = sorted(map(tuple, planes[columns].to_numpy().tolist()))
    assert found_rows == sorted(expected)
    assert set(planes.pixel_size) == {0.325}
    listed = list_folder(shared_data / "formats/cellvoyager").known
    assert set(planes.path) & listed == {path for path in listed if path.endswith(".tif")}


def test_projections_of_a_cq3k_are_read_as_their_files_say(shared_data):
    listing = list_folder(shared_data / "formats/cellvoyager")
    found = cellvoyager.read(listing, "CQ3K_mip/MeasurementData.mlf", ReadOptions())
    plate = "20251201T134840_Channel_WellTestC5F9_MIP_Only"
    columns = ["plate", "well", "site", "channel", "z", "time", "path"]
    assert found.planes[columns].to_numpy().tolist() == [
        [plate, "C05", "1", "C01", 1, 1, "CQ3K_mip/Projection/W0029F0001T0001Z000C1.tif"],
        [plate, "F09", "1", "C01", 1, 1, "CQ3K_mip/Projection/W0069F0001T0001Z000C1.tif"]]
    assert found.planes.pixel_size.tolist() == [0.32283699215257772] * 2
    assert found.notes == ("there is no MeasurementProtocol.mes, so channels have numbers and no names",)


@pytest.mark.parametrize("other", ["harmony", "imagexpress", "ome_zarr", "generic", "broad_platemap"])
def test_folders_of_other_formats_have_no_records(shared_data, other):
    assert cellvoyager.find(list_folder(shared_data / "formats" / other)) == []


def test_all_measurements_of_a_folder_are_found(shared_data):
    assert cellvoyager.find(list_folder(shared_data / "formats/cellvoyager")) == [
        "CQ3K_mip/MeasurementData.mlf", "CV8000_minimal/MeasurementData.mlf"]


@pytest.mark.parametrize("place", ["CV8000_minimal", "CQ3K_mip"])
def test_planes_are_those_of_another_reader(shared_data, place):
    openreadout = pytest.importorskip("openreadout", reason="openreadout is not installed: requirements-dev.txt")
    path = shared_data / "formats/cellvoyager" / place
    planes = cellvoyager.read(list_folder(path), "MeasurementData.mlf", ReadOptions()).planes
    with openreadout.File(path / "MeasurementData.mlf") as file:
        absent = [{channel for channel, _, _ in image["extra"].get("absent_planes", [])} for image in file.images]
        fields = [(image["extra"]["well"], str(image["extra"]["field"]), number, z, image["physical_size"]["x"])
                  for image, lost in zip(file.images, absent, strict=True) for number in range(1, image["size_c"] + 1)
                  if number - 1 not in lost for z in range(1, image["size_z"] + 1)]
    expected = pd.DataFrame(fields, columns=["well", "site", "order", "z", "pixel_size"])
    found = planes[list(expected)].sort_values(["well", "site", "order", "z"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)
