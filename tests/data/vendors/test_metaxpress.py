import math
from pathlib import Path

import numpy as np
import openreadout
import pandas as pd
import pytest
import tifffile

from mscnn.core.errors import DataError
from mscnn.data.vendors import metaxpress
from mscnn.data.vendors.planes import ReadOptions, list_folder
from tests.data.vendors.test_htd import htd_text
from tests.data.vendors.test_metaseries import metaseries

GUID = "2DE5D0E6-1639-40D4-8654-9A6247B4B8CD"
WELLS, SITES, WAVES = ("A02", "B01"), (1, 2), (1, 2)  # of htd_text
NAMES = [f"P1_{well}_s{site}_w{wave}.TIF" for well in WELLS for site in SITES for wave in WAVES]


def make(folder: Path, files: list[str], htd: str | None = None, name: str = "P1.HTD") -> Path:
    """A folder with an HTD and empty files."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(htd or htd_text())
    return folder


def read(folder: Path, index: str = "P1.HTD"):
    return metaxpress.read(list_folder(folder), index, ReadOptions())


def rows(planes: pd.DataFrame, *columns: str) -> list[tuple]:
    return sorted(planes[list(columns)].itertuples(index=False, name=None))


def test_a_plate_has_a_row_for_each_image_with_the_names_of_the_htd(tmp_path):
    folder = make(tmp_path / "run 7", [f"TimePoint_1/{name}" for name in NAMES])
    found = read(folder)
    assert rows(found.planes, "well", "site", "channel", "order", "path") == sorted(
        (well, str(site), {1: "DAPI", 2: "GFP"}[wave], wave - 1, f"TimePoint_1/P1_{well}_s{site}_w{wave}.TIF")
        for well in WELLS for site in SITES for wave in WAVES)
    assert {*found.planes["plate"]} == {"P1"}
    assert {*found.planes["time"]} == {1}
    assert {*found.planes["z"]} == {0}
    assert {*found.planes["frame"]} == {-1}
    assert (found.notes, found.problems) == ((), ())


def test_copies_of_the_htd_below_a_plate_are_one_plate(tmp_path):
    folder = make(tmp_path, [f"TimePoint_1/ZStep_2/{name}" for name in NAMES])
    for copy in ("TimePoint_1", "TimePoint_1/ZStep_2"):
        (folder / copy / "P1.HTD").write_text(htd_text())
    assert metaxpress.find(list_folder(folder)) == ["P1.HTD"]


def test_an_htd_in_the_folder_of_a_time_point_stands_for_the_plate_above(tmp_path):
    folder = make(tmp_path / "plate", [f"TimePoint_{time}/{NAMES[0]}" for time in (1, 2)])
    (folder / "P1.HTD").rename(folder / "TimePoint_1/P1.HTD")
    assert metaxpress.find(list_folder(tmp_path)) == ["plate/TimePoint_1/P1.HTD"]
    found = read(tmp_path, "plate/TimePoint_1/P1.HTD").planes
    assert rows(found[found["path"].str.endswith(NAMES[0])], "time", "path") == [
        (1, f"plate/TimePoint_1/{NAMES[0]}"), (2, f"plate/TimePoint_2/{NAMES[0]}")]
    alone = read(folder / "TimePoint_1").planes  # named as an index of its own
    assert rows(alone[alone["path"] == NAMES[0]], "plate", "time") == [("P1", 1)]


def test_folders_tell_time_and_focal_plane_and_projections_are_z_0(tmp_path):
    files = [f"TimePoint_{time}/ZStep_{z}/{name}" for time in (1, 2) for z in (0, 1, 2) for name in NAMES]
    found = read(make(tmp_path, files))
    assert rows(found.planes, "time", "z", "path") == sorted(
        (time, z, f"TimePoint_{time}/ZStep_{z}/{name}") for time in (1, 2) for z in (0, 1, 2) for name in NAMES)
    assert found.notes == ("16 images are projections; they are read as z 0",)


@pytest.mark.parametrize(("names", "num_projections"), [
    ([name.replace(".TIF", f"_z{z}.TIF") for name in NAMES for z in (1, 2, 3)] + NAMES[:2], 2),
    ([name.replace(".TIF", f"_z{z}.TIF") for name in NAMES for z in (0, 1, 2)], 0)])
def test_images_without_a_focal_plane_in_their_name_where_others_have_one_are_projections(tmp_path, names, num_projections):
    found = read(make(tmp_path, names))
    assert len(found.planes) == len(names)
    assert (found.z0_projected, len(found.notes)) == (num_projections > 0, int(num_projections > 0))
    assert all(note == f"{num_projections} images are projections; they are read as z 0" for note in found.notes)


def test_images_beside_folders_of_focal_planes_are_projections(tmp_path):
    files = [*(f"ZStep_{z}/{name}" for z in (1, 2) for name in NAMES), *NAMES[:3]]
    found = read(make(tmp_path, files))
    assert rows(found.planes[found.planes["z"] == 0], "path") == sorted((name,) for name in NAMES[:3])
    assert found.notes == ("3 images are projections; they are read as z 0",)


def test_one_site_and_one_wavelength_are_1_and_the_first_name(tmp_path):
    htd = htd_text(Sites="FALSE", Waves="FALSE", NWavelengths="1")
    found = read(make(tmp_path, ["TimePoint_1/P1_A02.TIF", "TimePoint_1/P1_B01.tif"], htd)).planes
    assert rows(found, "well", "site", "channel", "path") == [
        ("A02", "1", "DAPI", "TimePoint_1/P1_A02.TIF"), ("B01", "1", "DAPI", "TimePoint_1/P1_B01.tif")]


def test_random_parts_of_names_are_no_part_of_the_wavelength(tmp_path):
    names = [f"P1_A02_s1_w1{GUID}.tif", f"P1_A02_s1_w2_[{GUID}].tif", f"P1_A02_s2_w1{{{GUID.lower()}}}.tif"]
    found = read(make(tmp_path, names)).planes
    assert rows(found[found["path"].isin(names)], "site", "channel", "path") == [
        ("1", "DAPI", names[0]), ("1", "GFP", names[1]), ("2", "DAPI", names[2])]


def test_thumbnails_hidden_files_and_others_are_left_out_and_counted(tmp_path):
    names = [f"P1_A02_s1_w1_thumb{GUID}.tif", "P1_A02_s1_w2_thumb.tif", "._P1_A02_s1_w1.TIF", "P2_A02_s1_w1.tif",
             "notes.tif"]
    found = read(make(tmp_path, [*NAMES, *names]))
    assert len(found.planes) == len(NAMES)
    assert set(found.notes) == {
        "2 thumbnails were left out", "1 hidden files were left out", "1 images of another name than the HTD were left out",
        "1 images whose names tell no well were left out"}


def test_wells_that_are_declared_and_have_no_image_keep_a_row_with_the_path_expected(tmp_path):
    present = [name for name in NAMES if name not in ("P1_B01_s2_w1.TIF", "P1_B01_s2_w2.TIF")]
    listing = list_folder(make(tmp_path, [f"TimePoint_1/{name}" for name in present]))
    found = metaxpress.read(listing, "P1.HTD", ReadOptions()).planes
    missing = found[~found["path"].isin(listing.known)]
    assert rows(missing, "plate", "well", "site", "channel", "time", "path") == [
        ("P1", "B01", "2", "DAPI", 1, "TimePoint_1/P1_B01_s2_w1.TIF"),
        ("P1", "B01", "2", "GFP", 1, "TimePoint_1/P1_B01_s2_w2.TIF")]


def test_sites_with_the_numbers_of_their_grid_are_all_that_is_expected(tmp_path):
    names = [name.replace("_s2_", "_s6_") for name in NAMES if "B01_s2_w1" not in name]
    found = read(make(tmp_path, names))
    assert rows(found.planes, "path") == sorted((name.replace("_s2_", "_s6_"),) for name in NAMES)


def test_a_wavelength_that_is_not_imaged_is_not_expected(tmp_path):
    found = read(make(tmp_path, [name for name in NAMES if "_w1" in name], htd_text(WaveCollect2="0"))).planes
    assert {*found["channel"]} == {"DAPI"}
    assert len(found) == 4


def test_plates_whose_htd_files_have_one_name_are_named_by_their_folders(tmp_path):
    for folder in ("9987_a", "9987_b"):
        make(tmp_path / folder, [f"TimePoint_1/{name}" for name in NAMES])
    make(tmp_path / "c", [], name="P2.HTD")
    listing = list_folder(tmp_path)
    indexes = metaxpress.find(listing)
    assert indexes == ["9987_a/P1.HTD", "9987_b/P1.HTD", "c/P2.HTD"]
    names = [{*metaxpress.read(listing, index, ReadOptions()).planes["plate"]} for index in indexes]
    assert names == [{"9987_a"}, {"9987_b"}, {"P2"}]


def test_several_plates_in_one_folder_take_the_files_of_their_names(tmp_path):
    make(tmp_path, [*NAMES, "P1_x_A02_s1_w1.tif"])
    make(tmp_path, [], name="P1_x.HTD")
    first, second = read(tmp_path).planes, read(tmp_path, "P1_x.HTD").planes
    assert {*first["path"]} == set(NAMES)
    assert rows(second[second["path"] == "P1_x_A02_s1_w1.tif"], "plate", "well") == [("P1_x", "A02")]
    assert not set(second["path"]) & set(NAMES)


def test_an_htd_with_another_name_than_the_files_is_read_where_it_is_alone(tmp_path):
    folder = make(tmp_path, NAMES, name="renamed.HTD")
    assert set(read(folder, "renamed.HTD").planes["path"]) == set(NAMES)


def test_images_beyond_the_plate_are_problems_all_at_once(tmp_path):
    found = read(make(tmp_path, [*NAMES, "P1_A04_s1_w1.TIF", "P1_C01_s1_w1.TIF"]))
    assert [problem.file for problem in found.problems] == ["P1_A04_s1_w1.TIF", "P1_C01_s1_w1.TIF"]
    assert "not on the plate of 2 x 3 wells" in found.problems[0].reason
    assert len(found.planes) == len(NAMES)


def test_a_wavelength_beyond_the_htd_has_its_number_and_a_note(tmp_path):
    found = read(make(tmp_path, [*NAMES, "P1_A02_s1_w10.TIF"]))
    assert rows(found.planes[found.planes["order"] == 9], "channel") == [("10",)]
    assert found.notes == ("the HTD does not declare wavelength 10; its number is its name",)


def test_the_size_of_a_pixel_is_read_for_each_wavelength(tmp_path):
    folder = make(tmp_path, NAMES)
    pixels = np.zeros((4, 4), np.uint16)
    tifffile.imwrite(folder / "P1_A02_s1_w1.TIF", pixels, description=metaseries("0.65"), metadata=None)
    found = read(folder).planes
    assert {*found.loc[found["channel"] == "DAPI", "pixel_size"]} == {0.65}
    assert found.loc[found["channel"] == "GFP", "pixel_size"].isna().all()


def test_other_files_called_htd_are_not_found_and_damaged_ones_are_refused(tmp_path):
    make(tmp_path, [], "hypertext data", name="a.htd")
    make(tmp_path, [], htd_text(), name="._P1.HTD")
    make(tmp_path, [], htd_text()[:200], name="P1.HTD")
    assert metaxpress.find(list_folder(tmp_path)) == ["P1.HTD"]
    with pytest.raises(DataError, match="ends without EndFile"):
        read(tmp_path)


def test_the_real_exports_are_read_as_the_viewer_shows_them(shared_data):
    listing = list_folder(shared_data / "formats/imagexpress/exported")
    indexes = metaxpress.find(listing)
    assert indexes == [f"9987_Plate_{number}/9987.HTD" for number in (3420, 3434, 3435)]
    single, stack, series = (metaxpress.read(listing, index, ReadOptions()).planes for index in indexes)
    assert rows(single, "plate", "well", "site", "channel", "path", "pixel_size") == [
        ("9987_Plate_3420", "B02", "1", "DAPI", "9987_Plate_3420/TimePoint_1/9987_B02.TIF", 1.3672)]
    assert {*stack["path"]}.isdisjoint(listing.known)  # the images of this plate were not copied
    assert rows(stack, "well", "site", "channel") == [(well, site, channel) for well in ("B02", "B03") for site in "12"
                                                      for channel in ("Cy5", "DAPI", "FITC", "Texas Red")]
    there = series[series["path"].isin(listing.known)]
    assert rows(there, "well", "site", "channel", "time") == [("B02", site, channel, 1) for site in "12"
                                                              for channel in ("DAPI", "FITC")]
    assert len(series) == 2 * 2 * 4


@pytest.mark.parametrize("number", [3420, 3435])
def test_the_real_exports_are_read_as_an_independent_library_reads_them(shared_data, number):
    folder = shared_data / f"formats/imagexpress/exported/9987_Plate_{number}"
    listing = list_folder(folder)
    planes = metaxpress.read(listing, "9987.HTD", ReadOptions()).planes
    oracle = openreadout.info(str(folder / "9987.HTD"))["images"]
    sites = {(image["extra"]["well"], str(image["extra"]["field"])) for image in oracle}
    assert set(rows(planes, "well", "site")) == sites
    for image in oracle:
        of_site = planes[(planes["well"] == image["extra"]["well"]) & (planes["site"] == str(image["extra"]["field"]))]
        names = dict(zip(of_site["order"], of_site["channel"], strict=True))
        assert names == {channel["index"]: channel["name"] for channel in image["channels"]}
        missing = image["extra"].get("planes_missing", 0)
        assert of_site["path"].isin(listing.known).sum() == image["plane_count"] - missing
        if image["physical_size"].get("x"):
            assert {size for size in of_site["pixel_size"] if not math.isnan(size)} <= {image["physical_size"]["x"]}


def test_notes_called_as_the_htd_do_not_keep_images_of_another_name_out(tmp_path):
    folder = make(tmp_path, [*NAMES, "renamed_notes.txt"], name="renamed.HTD")
    assert set(read(folder, "renamed.HTD").planes["path"]) == set(NAMES)


def test_a_second_htd_without_files_does_not_take_those_of_the_first(tmp_path):
    make(tmp_path, NAMES)
    make(tmp_path, [], name="empty.HTD")
    assert not set(read(tmp_path, "empty.HTD").planes["path"]) & set(NAMES)


def test_a_time_point_0_is_0(tmp_path):
    found = read(make(tmp_path, [f"TimePoint_0/{name}" for name in NAMES])).planes
    assert {*found["time"]} == {0}
