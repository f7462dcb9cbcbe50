import math

import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors import harmony
from mscnn.data.vendors.planes import COLUMNS, PlaneIndex, ReadOptions, list_folder
from tests.data.vendors.harmony_folder import FACTS, PLATE, V7, folder, image, index_text

EXAMPLES = ("pe2loaddata_V1/images", "pe2loaddata_V5/images", "operetta-compose/Images")


@pytest.fixture
def read(tmp_path):
    """Write an index and empty images, and read the index."""
    def read_text(text, images=(), name="Images/Index.idx.xml") -> PlaneIndex:
        listing = folder(tmp_path, {name: text}, images)
        return harmony.read(listing, name, ReadOptions())

    return read_text


def reasons(found: PlaneIndex) -> list[str]:
    return [problem.reason for problem in found.problems]


def test_an_image_becomes_a_plane(read):
    found = read(index_text(image("r02c03.tiff", PlaneID=7, TimepointID=5, ChannelID=6)), ["Images/R02C03.tiff"])
    plane, = found.planes.to_dict("records")
    assert plane == {"plate": "BR9", "well": "B03", "site": "4", "channel": "DNA", "order": 6, "z": 7, "time": 5,
                     "path": "Images/R02C03.tiff", "frame": -1, "pixel_size": pytest.approx(0.65, rel=1e-12)}
    assert (found.format, found.notes, found.problems) == ("Harmony V5", (), ())
    assert list(found.planes.columns) == list(COLUMNS)


def test_v7_has_the_facts_of_channels_in_maps(read):
    maps = f'<Map><Entry ChannelID="1">{FACTS}</Entry></Map>'
    found = read(index_text(image(facts=""), image(facts="", ChannelID=2), maps=maps, namespace=V7))
    assert found.format == "Harmony V7"
    assert found.planes.channel.tolist() == ["DNA", "2"]  # a channel without a name has its number
    assert found.planes.pixel_size[0] == pytest.approx(0.65, rel=1e-12)
    assert math.isnan(found.planes.pixel_size[1])


def test_what_was_not_recorded_is_counted_and_left_out(read):
    found = read(index_text(image("a"), image(""), image(" "), image("b", State="Failed"), image("c", State="ok"),
                            image("d", State=None)))
    assert found.planes.path.tolist() == ["Images/a", "Images/c", "Images/d"]
    assert found.notes == ("2 planes were not recorded: the index names no file for them",
                           "1 planes are left out: their state is Failed, not Ok")


def test_an_index_of_which_nothing_was_recorded_has_no_planes(read):
    found = read(index_text(image(""), image("")))
    assert len(found.planes) == 0
    assert found.planes.dtypes.tolist() == read(index_text(image())).planes.dtypes.tolist()


@pytest.mark.parametrize("place", [{"Row": 9}, {"Col": 13}, {"Row": 0}, {"Col": -1}])
def test_a_well_outside_of_the_plate_is_a_problem(read, place):
    found = read(index_text(image("a"), image("b", **place)))
    assert found.planes.path.tolist() == ["Images/a"]
    assert "of a plate of 8 x 12 wells" in reasons(found)[0]


@pytest.mark.parametrize("name", ["Row", "Col", "FieldID", "PlaneID", "TimepointID", "ChannelID"])
@pytest.mark.parametrize("value", ["x", "", "1.5", 10**20])
def test_a_place_that_is_no_number_is_a_problem(read, name, value):
    found = read(index_text(image("a"), image("b", **{name: value})))
    assert found.planes.path.tolist() == ["Images/a"]
    assert reasons(found) == ["image b lacks a number for one of Row, Col, FieldID, PlaneID, TimepointID, ChannelID"]


def test_old_indexes_leave_plane_and_time_out(read):
    found = read(index_text(image(PlaneID=None, TimepointID=None)))
    assert found.planes[["z", "time"]].to_numpy().tolist() == [[1, 0]]
    assert reasons(read(index_text(image(FieldID=None))))[0].startswith("image a.tiff lacks a number")


def test_a_name_that_leaves_the_folder_is_a_problem_and_a_moved_one_is_noted(read):
    found = read(index_text(image("../a.tiff"), image("C:\\gone\\b.tiff"), image("file:///D:/old/c.tiff")),
                 ["a.tiff", "Images/c.tiff"])
    assert found.planes.path.tolist() == ["Images/c.tiff"]
    assert reasons(found) == ["image ../a.tiff: ../a.tiff leaves the folder of the index",
                              "image C:\\gone\\b.tiff: C:\\gone\\b.tiff is an absolute name, and no file of that name is "
                              "beside the index"]
    assert found.notes == ("1 planes have absolute names in the index; the files of these names beside it are taken",)


def test_an_index_above_its_images_finds_them(read):
    found = read(index_text(image("a.tiff")), ["Images/a.tiff"], name="Index.xml")
    assert found.planes.path.tolist() == ["Images/a.tiff"]


def test_columbus_names_the_page_of_a_file(read):
    text = index_text(image("w.tif", url_attribute=' BufferNo="0"'), image("w.tif", url_attribute=' BufferNo="5"'),
                      namespace="http://www.perkinelmer.com/Columbus")
    found = read(text, name="ImageIndex.ColumbusIDX.xml")
    assert (found.format, found.planes.frame.tolist()) == ("Columbus", [0, 5])


def test_channels_of_one_name_get_their_numbers(read):
    found = read(index_text(image(ChannelID=1), image(ChannelID=2), image(ChannelID=3, facts=FACTS.replace("DNA", "RNA"))))
    assert found.planes.channel.tolist() == ["DNA ch1", "DNA ch2", "RNA"]
    assert found.notes == ("several channels have one name, so their numbers are added: DNA ch1, DNA ch2",)


def test_plates_of_one_index_are_told_apart_by_their_wells(read):
    plates = PLATE + PLATE.replace("BR9", "BR10").replace("0203", "0405")
    found = read(index_text(image(), image(Row=4, Col=5), plates=plates))
    assert found.planes[["plate", "well"]].to_numpy().tolist() == [["BR9", "B03"], ["BR10", "D05"]]
    assert found.problems == ()
    assert reasons(read(index_text(image(Row=1), plates=plates))) == [
        "image a.tiff is in row 1 and column 3, a well of no plate of the index"]


@pytest.mark.parametrize("second", [PLATE.replace("BR9", "BR10"), PLATE.replace("BR9", "BR10").replace(
    '<Well id="0203"/>', "")])
def test_plates_of_one_index_that_cannot_be_told_apart_are_a_problem(read, second):
    assert reasons(read(index_text(image(), plates=PLATE + second))) == [
        "lists the plates BR9, BR10 and images whose plate it does not tell"]


def test_an_index_without_plates_names_none(read):
    found = read(index_text(image(Row=32, Col=48), plates=""))
    assert found.planes[["plate", "well"]].to_numpy().tolist() == [["", "AF48"]]


def test_sequences_and_gates_of_one_place_are_a_problem(read):
    flim = [image(f"{gate}.tiff", FlimID=gate, SequenceID=1) for gate in (1, 2, 3)]
    assert reasons(read(index_text(*flim))) == [
        "channel DNA has several images of one place and time, which differ in FlimID (1, 2, 3)"]
    sequence = [image(f"{number}.tiff", SequenceID=number) for number in (1, 2)]
    assert reasons(read(index_text(*sequence))) == [
        "channel DNA has several images of one place and time, which differ in SequenceID (1, 2)"]


def test_a_sequence_for_each_channel_or_time_is_no_problem(read):
    assert read(index_text(image(SequenceID=1), image(SequenceID=2, ChannelID=2))).problems == ()
    assert read(index_text(image(SequenceID=1), image(SequenceID=2, TimepointID=1))).problems == ()


def test_a_plane_that_is_listed_twice_stays_twice(read):
    assert len(read(index_text(image(), image())).planes) == 2


def test_the_index_of_each_folder_is_found_and_nothing_else(tmp_path):
    text = index_text(image())
    listing = folder(tmp_path, {
        "P1/Images/Index.idx.xml": text, "P1/Images/Index.ref.xml": text, "P2/images/INDEX.XML": text,
        "P3/Index.xml": "<Settings/>", "P3/Index.ref.xml": text, "P4/Index.xml": "<html>", "P5/Index.idx.xml": "",
        "P6/index.xml": "", "P7/Unnamed.xml": text, "P8/ImageIndex.ColumbusIDX.xml": text, "Index.xml": text,
        "P9/Index.idx.xml": "<AssayLayout/>", "P1/Assaylayout/layout.xml": "<AssayLayout/>"})
    assert harmony.find(listing) == ["Index.xml", "P1/Images/Index.idx.xml", "P2/images/INDEX.XML", "P3/Index.ref.xml",
                                     "P5/Index.idx.xml", "P8/ImageIndex.ColumbusIDX.xml"]
    with pytest.raises(DataError, match=r"Index.idx.xml: is cut short or no XML .*copy it again$"):
        harmony.read(listing, "P5/Index.idx.xml", ReadOptions())


def test_a_whole_plate_has_a_row_for_each_image(read):
    places = [(row, column, field, channel) for row in range(1, 17) for column in range(1, 25) for field in (1, 2)
              for channel in (1, 2)]
    images = [image(f"r{row:02}c{column:02}f{field:02}p01-ch{channel}sk1fk1fl1.tiff", Row=row, Col=column, FieldID=field,
                    ChannelID=channel, facts=FACTS.replace("DNA", f"stain {channel}"))
              for row, column, field, channel in places]
    plates = PLATE.replace(">8<", ">16<").replace(">12<", ">24<")
    planes = read(index_text(*images, plates=plates)).planes
    assert planes.path.tolist() == [f"Images/r{row:02}c{column:02}f{field:02}p01-ch{channel}sk1fk1fl1.tiff"
                                    for row, column, field, channel in places]
    counted = planes.groupby("well").size()
    assert (len(counted), set(counted), planes.well.iloc[0], planes.well.iloc[-1]) == (384, {4}, "A01", "P24")
    assert planes.groupby("channel").order.unique().map(list).to_dict() == {"stain 1": [1], "stain 2": [2]}


@pytest.mark.parametrize(("place", "well", "sites", "channels", "size"), [
    ("pe2loaddata_V1/images", "BR00121482 A01", ["1"],
     ["Alexa 647", "Alexa 568", "488 long", "Alexa 488", "HOECHST 33342", "Brightfield"], 0.5979760809567617),
    ("pe2loaddata_V5/images", "BR00122249 A01", ["1"],
     ["Digital Phase Contrast", "Brightfield high", "488 650", "Alexa 488", "Alexa 568", "Alexa 647"], 0.5979760809567617),
    ("operetta-compose/Images", "Test_Sample_BALL C03", ["1", "2"], ["Fluorescein (FITC)"], 1.1959521619135234)])
def test_exports_of_phenix_and_sonata_are_read_as_their_files_say(shared_data, place, well, sites, channels, size):
    found = harmony.read(list_folder(shared_data / "formats/harmony"), f"{place}/Index.idx.xml", ReadOptions())
    planes = found.planes
    assert (found.format, found.notes, found.problems) == ("Harmony V5", (), ())
    assert set(planes.plate + " " + planes.well) == {well}
    assert planes[["site", "channel", "order"]].to_numpy().tolist() == [
        [site, channel, number] for site in sites for number, channel in enumerate(channels, 1)]
    row, column = (3, 3) if "C03" in well else (1, 1)
    assert planes.path.tolist() == [f"{place}/r{row:02}c{column:02}f{int(site):02}p01-ch{number}sk1fk1fl1.tiff"
                                    for site in sites for number in range(1, len(channels) + 1)]
    assert planes.pixel_size.tolist() == pytest.approx([size] * len(planes), rel=1e-12)
    assert planes[["z", "time", "frame"]].drop_duplicates().to_numpy().tolist() == [[1, 0, -1]]


def test_all_indexes_of_a_folder_of_exports_are_found(shared_data):
    assert harmony.find(list_folder(shared_data / "formats/harmony")) == [
        f"{place}/Index.idx.xml" for place in sorted(EXAMPLES)]


@pytest.mark.parametrize("other", ["cellvoyager", "imagexpress", "ome_zarr", "generic", "broad_platemap"])
def test_folders_of_other_formats_have_no_index_of_harmony(shared_data, other):
    assert harmony.find(list_folder(shared_data / "formats" / other)) == []


@pytest.mark.parametrize("place", EXAMPLES)
def test_planes_are_those_of_another_reader(shared_data, place):
    openreadout = pytest.importorskip("openreadout", reason="openreadout is not installed: requirements-dev.txt")
    path = shared_data / "formats/harmony" / place
    planes = harmony.read(list_folder(path), "Index.idx.xml", ReadOptions()).planes
    with openreadout.File(path / "Index.idx.xml") as file:
        fields = [(file.plate["id"], image["extra"]["well"], str(image["extra"]["field"]), channel["name"],
                   image["physical_size"]["x"]) for image in file.images for channel in image["channels"]]
    expected = pd.DataFrame(fields, columns=["plate", "well", "site", "channel", "pixel_size"])
    pd.testing.assert_frame_equal(planes[list(expected)], expected, check_dtype=False, rtol=1e-9)


def test_planes_of_v7_with_stacks_and_times_are_those_of_another_reader(tmp_path):
    openreadout = pytest.importorskip("openreadout", reason="openreadout is not installed: requirements-dev.txt")
    maps = "<Map>" + "".join(
        f'<Entry ChannelID="{channel}"><ChannelName>stain {channel}</ChannelName><ImageResolutionX Unit="m">3E-07'
        '</ImageResolutionX><ImageResolutionY Unit="m">3E-07</ImageResolutionY><ImageSizeX>8</ImageSizeX><ImageSizeY>6'
        "</ImageSizeY></Entry>" for channel in (1, 2)) + "</Map>"
    images = [image(f"c{column}f{field}p{z}t{time}ch{channel}.tiff", facts="", Col=column, FieldID=field, PlaneID=z,
                    TimepointID=time, ChannelID=channel)
              for column in (3, 12) for field in (1, 2) for z in (1, 2, 3) for time in (1, 2) for channel in (1, 2)]
    listing = folder(tmp_path, {"Images/Index.xml": index_text(*images, maps=maps, namespace=V7)})
    planes = harmony.read(listing, harmony.find(listing)[0], ReadOptions()).planes
    with openreadout.File(tmp_path / "Images/Index.xml") as file:
        fields = [(one["extra"]["well"], str(one["extra"]["field"]), channel["name"], z, time, one["physical_size"]["x"])
                  for one in file.images for channel in one["channels"] for z in range(1, one["size_z"] + 1)
                  for time in range(1, one["size_t"] + 1)]
    expected = pd.DataFrame(fields, columns=["well", "site", "channel", "z", "time", "pixel_size"])
    found = planes[list(expected)].sort_values(["well", "site", "channel", "z", "time"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)


def test_planes_are_those_that_pe2loaddata_lists(shared_data):
    for version in (1, 5):
        path = shared_data / f"formats/harmony/pe2loaddata_V{version}"
        planes = harmony.read(list_folder(path), "images/Index.idx.xml", ReadOptions()).planes
        row = pd.read_csv(path / f"load_data_version{version}.csv").iloc[0]
        stains = [name.removeprefix("FileName_") for name in row.index if name.startswith("FileName_")]
        by_order = planes.set_index("order")
        assert set(planes.plate) == {row["Metadata_Plate"]}
        assert set(planes.well) == {row["Metadata_Well"]}
        for stain in stains:
            plane = by_order.loc[row[f"Metadata_ChannelID_{stain}"]]
            assert plane.path == f"images/{row[f'FileName_{stain}']}"
            assert plane.channel == row[f"Metadata_ChannelName_{stain}"]
