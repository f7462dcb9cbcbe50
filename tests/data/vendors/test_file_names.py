from pathlib import Path

import numpy as np
import openreadout
import pytest
import tifffile

from mscnn.core.errors import DataError, UsageError
from mscnn.data.vendors import file_names
from mscnn.data.vendors.name_patterns import PATTERNS
from mscnn.data.vendors.planes import ReadOptions, list_folder
from tests.data.vendors.test_metaseries import metaseries

GUID = "2DE5D0E6-1639-40D4-8654-9A6247B4B8CD"


def make(folder: Path, files: list[str]) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def read(folder: Path, pattern: str = ""):
    return file_names.read(list_folder(folder), "", ReadOptions(pattern=pattern))


def rows(found, *columns: str) -> list[tuple]:
    return list(found.planes[list(columns)].itertuples(index=False, name=None))


def test_names_of_metaxpress_are_read_without_an_htd(tmp_path):
    folder = make(tmp_path / "run", [f"P1_B02_s2_w1{GUID}.tif", f"P1_B02_s2_w2{GUID}.tif"])
    assert file_names.find(list_folder(folder)) == [""]
    found = read(folder)
    assert rows(found, "plate", "well", "site", "channel", "order", "z", "time", "path") == [
        ("P1", "B02", "2", "1", 0, 0, 0, f"P1_B02_s2_w1{GUID}.tif"),
        ("P1", "B02", "2", "2", 1, 0, 0, f"P1_B02_s2_w2{GUID}.tif")]
    assert (found.format, found.notes, found.problems) == ("names of files, as of MetaXpress", (), ())


def test_folders_of_time_points_and_focal_planes_count(tmp_path):
    files = [f"P/TimePoint_{time}/ZStep_{z}/P1_A01_w1.tif" for time in (1, 2) for z in (1, 2)]
    found = read(make(tmp_path, [*files, "P/TimePoint_1/P1_A01_w1.tif"]))
    assert sorted(rows(found, "time", "z")) == [(1, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert {*found.planes["plate"]} == {"P1"}
    assert found.notes == ("1 images lie beside folders of focal planes; they are projections and read as z 0",)


def test_plates_of_one_prefix_are_named_by_their_folders_as_those_of_bbbc021(tmp_path):
    names = [f"Week1_{plate}/Week1_150607_B02_s1_w{wave}{GUID}.tif" for plate in (22123, 22141) for wave in (1, 2, 4)]
    found = read(make(tmp_path, names))
    assert rows(found, "plate", "well", "site", "channel", "order") == [
        (f"Week1_{plate}", "B02", "1", wave, order) for plate in (22123, 22141) for order, wave in enumerate("124")]


def test_the_size_of_a_pixel_is_read_from_images_of_metaxpress(tmp_path):
    for name in ("P_A01_w1.tif", "P_A01_w2.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((4, 4), np.uint16), description=metaseries("0.5"), metadata=None)
    assert rows(read(tmp_path), "channel", "pixel_size") == [("1", 0.5), ("2", 0.5)]


def test_names_of_gen5_tell_read_step_channel_and_site(shared_data, tmp_path):
    names = (shared_data / "formats/gen5_cytation/all_file_names_in_repo.txt").read_text().split()
    found = read(make(tmp_path, [f"Plate_2_images/{name.rpartition('/')[2]}" for name in names]))
    assert len(found.planes) == 15
    by_channel = found.planes.groupby("channel")["order"].unique().to_dict()
    assert {channel: order.tolist() for channel, order in by_channel.items()} == {"DAPI": [0], "GFP": [1], "RFP": [2]}
    sites = [("B07", "3"), ("D06", "2"), ("D07", "1"), ("F07", "2"), ("H12", "1")]
    assert sorted(rows(found, "plate", "well", "site", "channel", "time")) == sorted(
        ("Plate_2_images", well, site, channel, 1) for well, site in sites for channel in ("DAPI", "GFP", "RFP"))


def test_channels_of_several_read_steps_of_gen5_are_told_apart(tmp_path):
    found = read(make(tmp_path, ["A1_01_1_1_DAPI_001.tif", "A1_02_1_1_DAPI_001.tif", "A1_02_2_1_GFP_001.tif"]))
    assert rows(found, "channel", "order") == [("DAPI step 1", 0), ("DAPI step 2", 1), ("GFP", 2)]


def test_what_gen5_made_of_images_is_left_out_where_there_are_images(tmp_path):
    made = ["A1_-2_1_1_Stitched[GFP 469,525]_001.tif", "A1_-1_1_1_DAPI_001.tif"]
    found = read(make(tmp_path, ["A1_01_1_1_DAPI_001.tif", *made]))
    assert rows(found, "path") == [("A1_01_1_1_DAPI_001.tif",)]
    assert found.notes == ("2 projections, stitched images and images of corrections were left out",)
    (tmp_path / "A1_01_1_1_DAPI_001.tif").unlink()
    assert rows(read(tmp_path), "path") == [("A1_-1_1_1_DAPI_001.tif",)]


@pytest.mark.parametrize(("names", "fields"), [
    (["M_260306160001_A01f00d0.TIF", "M_260306160001_A01f01d1.TIF"], [("M_260306160001", "A01", "0", "0", 0, 0, 0),
                                                                    ("M_260306160001", "A01", "1", "1", 1, 0, 0)]),
    (["p_P24_T0002F003L01A01Z04C05.tif"], [("p", "P24", "3", "5", 0, 4, 2)]),
    (["r02c13f04p05-ch6sk7fk1fl1.tiff"], [("run", "B13", "4", "6", 0, 5, 7)]),
    (["r02c13f04p05-ch06t07.tiff"], [("run", "B13", "4", "6", 0, 5, 7)]),
    (["r02c13f04p05-ch06.tiff"], [("run", "B13", "4", "6", 0, 5, 0)]),
    (["B - 02(fld 01 wv DAPI - DAPI).tif", "B - 02(fld 01 wv FITC - FITC z 2 time 3).tif"],
     [("run", "B02", "1", "DAPI - DAPI", 0, 0, 0), ("run", "B02", "1", "FITC - FITC", 1, 2, 3)]),
    (["C3--W00001--P00002--Z00003--T00004--DAPI.tif"], [("run", "C03", "2", "DAPI", 0, 3, 4)]),
    (["-B012--PO01--LO002--CO3--SL005--PX32500.tif"], [("run", "B12", "1", "3", 0, 5, 2)]),
])
def test_names_of_other_microscopes_are_read(tmp_path, names, fields):
    found = read(make(tmp_path / "run", names))
    assert rows(found, "plate", "well", "site", "channel", "order", "z", "time") == fields


def test_thumbnails_projections_corrections_and_hidden_files_are_left_out_and_counted(tmp_path):
    kept = "p_A01_T0001F001L01A01Z01C01.tif"
    found = read(make(tmp_path, [kept, f"Projection/{kept}", "DC_sCMOS #1_CAM1.tif", "SC_BP445-45_40x_M10_CH01.tif",
                                 f"._{kept}", f".trash/{kept}", "p_A01_w1_thumb.tif", "Thumbs/a.png", "notes.txt"]))
    assert rows(found, "path") == [(kept,)]
    assert set(found.notes) == {"3 projections, stitched images and images of corrections were left out",
                                "2 hidden files were left out", "2 thumbnails were left out"}


def test_processed_images_do_not_hide_that_others_were_left_out(tmp_path):
    taken = [f"A{column}_01_1_1_DAPI_001.tif" for column in range(1, 12)]
    found = read(make(tmp_path, [*taken, "A1_-1_1_1_DAPI_001.tif", "overview.tif"]))
    assert len(found.planes) == 11
    assert found.notes == ("1 projections, stitched images and images of corrections were left out",
                           "1 of 13 image files have other names and were left out: overview.tif")


def test_a_folder_called_after_its_projections_is_no_folder_of_projections(tmp_path):
    assert len(read(make(tmp_path, ["Projection-Mix/2023-02-21/1334/Projection-Mix_E07_s1_w1.tif"])).planes) == 1


def test_a_few_other_images_are_left_out_with_their_names(tmp_path):
    named = [f"P_A{column:02}_w1.tif" for column in range(1, 20)]
    found = read(make(tmp_path, [*named, "overview.tif"]))
    assert len(found.planes) == 19
    assert found.notes == ("1 of 20 image files have other names and were left out: overview.tif",)


def test_images_of_cellomics_are_found_and_refused_with_the_way_out(tmp_path):
    listing = list_folder(make(tmp_path, ["M_1_A01f00d0.C01", "M_1_A01f00d1.C01", "overview.tif"]))
    assert file_names.find(listing) == [""]
    with pytest.raises(DataError, match=r"2 images of Cellomics as M_1_A01f00d0.C01, .* export them as TIFF") as refusal:
        file_names.read(listing, "", ReadOptions())
    assert "\n" not in str(refusal.value)


def test_numbers_of_wells_are_refused_with_the_pattern_to_give_which_then_reads_them(tmp_path):
    make(tmp_path, ["W0013F0002T0003Z004C5.tif", "W0096F0001T0001Z001C1.tif"])
    assert file_names.find(list_folder(tmp_path)) == [""]
    with pytest.raises(DataError, match="give the number of wells of the plate, for 96: --pattern ") as refusal:
        read(tmp_path)
    pattern = str(refusal.value).split("--pattern '")[1].rstrip("'")
    assert rows(read(tmp_path, pattern), "well", "site", "channel", "z", "time") == [
        ("B01", "2", "5", 4, 3), ("H12", "1", "1", 1, 1)]


def test_names_of_no_microscope_or_of_two_are_refused_with_examples(tmp_path):
    make(tmp_path / "none", ["a1.tif", "b1.tif", "c1.tif", "d1.tif"])
    assert file_names.find(list_folder(tmp_path / "none")) == []
    with pytest.raises(DataError, match=r"no microscope .* names files as a1.tif, b1.tif, c1.tif, \.\.\.") as refusal:
        read(tmp_path / "none")
    assert refusal.value.details == ["a1.tif", "b1.tif", "c1.tif", "d1.tif"]
    assert "--pattern '{plate}/{well}_s{site}_w{channel}.tif'" in refusal.value.what
    make(tmp_path / "two", ["P_A01_w1.tif", "A1_01_1_1_DAPI_001.tif"])
    with pytest.raises(DataError, match="names files as"):
        read(tmp_path / "two")
    make(tmp_path / "text", ["notes.txt"])
    assert file_names.find(list_folder(tmp_path / "text")) == []
    for pattern in ("", "{well}.jpg"):
        with pytest.raises(DataError, match="holds no image files"):
            read(tmp_path / "text", pattern)


def test_a_template_reads_any_names(tmp_path):
    make(tmp_path, ["day 1/B2_s3_wDAPI.png", "day 1/R02C03_s03_wGFP.png", "day 2/B - 2_s1_wDAPI.png", "day 2/other.png"])
    found = read(tmp_path, "{plate}/{well}_s{site}_w{channel}.png")
    assert rows(found, "plate", "well", "site", "channel", "order") == [
        ("day 1", "B02", "3", "DAPI", 0), ("day 1", "B03", "3", "GFP", 1), ("day 2", "B02", "1", "DAPI", 0)]
    assert found.notes == ("1 of 4 image files have other names and were left out: day 2/other.png",)


def test_a_template_without_a_folder_fits_names_in_any_folder_and_plates_are_folders(tmp_path):
    make(tmp_path, ["x/y/A01.tif", "z/A01.tif"])
    assert rows(read(tmp_path, "{well}.tif"), "plate", "well", "site", "channel", "path") == [
        ("y", "A01", "1", "1", "x/y/A01.tif"), ("z", "A01", "1", "1", "z/A01.tif")]


def test_plates_that_a_template_tells_are_not_named_by_folders(tmp_path):
    make(tmp_path, ["P1/site 1/A01.tif", "P1/site 2/A01.tif"])
    assert rows(read(tmp_path, "{plate}/site {site}/{well}.tif"), "plate", "site") == [("P1", "1"), ("P1", "2")]


def test_random_parts_at_the_end_of_names_do_not_count_for_a_template(tmp_path):
    make(tmp_path, [f"P/B02_s1_w1{GUID}.tif"])
    for pattern in ("{plate}/{well}_s{site}_w{channel}.tif", "{plate}/{well}_s{site}_w{channel}*.tif"):
        assert rows(read(tmp_path, pattern), "plate", "well", "site", "channel") == [("P", "B02", "1", "1")]


def test_projections_are_read_where_a_template_names_them(tmp_path):
    make(tmp_path, ["Projection/A01.tif"])
    assert rows(read(tmp_path, "Projection/{well}.tif"), "path") == [("Projection/A01.tif",)]


def test_rows_and_columns_tell_a_well_as_letters_or_numbers(tmp_path):
    make(tmp_path, ["r02c13.tif", "rAFc48.tif"])
    assert rows(read(tmp_path, "r{row}c{column}.tif"), "well") == [("B13",), ("AF48",)]


def test_channels_are_ordered_as_numbers(tmp_path):
    make(tmp_path, [f"A01_{channel}.tif" for channel in (10, 2, 1)])
    assert sorted(rows(read(tmp_path, "{well}_{channel}.tif"), "channel", "order")) == [("1", 0), ("10", 2), ("2", 1)]


def test_a_channel_may_start_with_dashes(tmp_path):
    found = read(make(tmp_path, ["A01_s1_w--5.tif", "A01_s1_w-5.tif"]), "{well}_s{site}_w{channel}.tif")
    assert sorted(rows(found, "channel", "order")) == [("--5", 1), ("-5", 0)]


def test_names_with_wells_of_no_plate_are_problems_all_at_once(tmp_path):
    make(tmp_path, ["A01.tif", "A00.tif", "B49.tif", "AG1.tif"])
    found = read(tmp_path, "{well}.tif")
    assert rows(found, "well") == [("A01",)]
    assert [problem.file for problem in found.problems] == ["A00.tif", "AG1.tif", "B49.tif"]
    assert "is no well of a plate" in found.problems[0].reason
    make(tmp_path / "cq1", ["W97.tif", "W0.tif"])
    assert len(read(tmp_path / "cq1", "W{well96}.tif").problems) == 2


def test_numbers_beyond_a_table_are_problems(tmp_path):
    make(tmp_path, [f"A01_z{'9' * 30}.tif"])
    assert len(read(tmp_path, "{well}_z{z}.tif").problems) == 1


def test_a_template_that_fits_nothing_is_refused_with_all_names(tmp_path):
    make(tmp_path, ["a.tif", "b.tif"])
    with pytest.raises(DataError, match="none of 2 image files fits --pattern") as refusal:
        read(tmp_path, "{well}_x.tif")
    assert refusal.value.details == ["a.tif", "b.tif"]


def test_a_malformed_template_is_refused(tmp_path):
    make(tmp_path, ["A01.tif"])
    with pytest.raises(UsageError, match="no field"):
        read(tmp_path, "{wells}.tif")


def test_the_names_of_the_real_export_are_read_as_an_independent_library_reads_them(shared_data, tmp_path):
    folder = shared_data / "formats/imagexpress/exported/9987_Plate_3435/TimePoint_1"
    for image in folder.glob("*.TIF"):  # without the HTD
        (tmp_path / image.name).write_bytes(image.read_bytes())
    planes = read(tmp_path).planes
    oracle = openreadout.info(str(tmp_path))["images"]
    assert {(image["extra"]["well"], str(image["extra"]["field"]), image["size_c"]) for image in oracle} == {
        (well, site, len(group)) for (well, site), group in planes.groupby(["well", "site"])}
    assert {image["physical_size"]["x"] for image in oracle} == set(planes["pixel_size"]) == {1.3672}
    assert {image["extra"]["plate"] for image in oracle} == set(planes["plate"]) == {"9987"}


def test_the_list_of_a_custom_tiff_data_set_is_read_by_a_template(shared_data, tmp_path):
    lines = (shared_data / "formats/generic/fractal_uzh_custom_tiff_tiles.csv").read_text().splitlines()[1:]
    files = sorted({line.split(",")[0] for line in lines if line})
    make(tmp_path, [file.replace("data/", "A01_") for file in files])  # its names tell no well: the table does
    found = read(tmp_path, "{well}_fov{site}_z{z}.tif")
    assert len(found.planes) == len(files)
    assert {*zip(found.planes["site"], found.planes["z"], strict=True)} >= {("1", 0), ("1", 1), ("2", 0), ("2", 1)}


def test_names_that_fit_two_microscopes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(file_names, "fitting_patterns", lambda names: PATTERNS[:2])
    listing = list_folder(make(tmp_path, ["P_A01_w1.tif"]))
    assert file_names.find(listing) == []
    with pytest.raises(DataError, match=r"MetaXpress and Gen5 names files as P_A01_w1\.tif; tell where names hold"):
        file_names.read(listing, "", ReadOptions())


def test_overlays_of_cellomics_are_left_out(tmp_path):
    names = [f"MFGTMP_140206190001_B02f0{field}{kind}.TIF" for field in (0, 1) for kind in ("d0", "d1", "o1")]
    found = read(make(tmp_path, names))
    assert sorted(found.planes["path"]) == [name for name in names if "o1" not in name]
    assert found.notes == ("2 projections, stitched images and images of corrections were left out",)


def test_time_points_of_hcs_ai_are_no_plates(tmp_path):
    names = [f"my_plate_t{time}_C05_s0_w{wave}_z0.tif" for time in (0, 1) for wave in (0, 1)]
    found = read(make(tmp_path, names))
    assert found.format == "names of files, as of HCS.ai"
    assert sorted(rows(found, "plate", "well", "site", "channel", "z", "time")) == [
        ("my_plate", "C05", "0", str(wave), 0, time) for wave in (0, 1) for time in (0, 1)]


def test_folders_of_wells_are_no_plates_and_folders_called_like_wells_are(tmp_path):
    archive = [f"{plate}/hs/7f3c/images/r03c0{column}/r03c0{column}f01p01-ch0{channel}t01.tiff"
               for plate in ("BR1", "BR2") for column in (1, 2) for channel in (1, 2)]
    found = read(make(tmp_path / "archive", archive))
    assert rows(found, "plate", "path") == [(f"{path.partition('/')[0]}/hs/7f3c/images", path) for path in sorted(archive)]
    plates = [f"{plate}/A0{column}_s1_w1.tif" for plate in ("A1", "A2") for column in (1, 2)]
    found = read(make(tmp_path / "plates", plates))
    assert rows(found, "plate", "path") == [(path[:2], path) for path in plates]
