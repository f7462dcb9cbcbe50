import json
import math
from pathlib import Path
from typing import Any

import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors import jdce
from mscnn.data.vendors.planes import ReadOptions, list_folder

HEADER = ["Well", "Row", "Column", "Field", "Wavelength", "Timepoint", "ZIndex", "ImageSubFolderPath", "ImageFileName",
          "ExcitationEmissionFilter"]


def stack(**changes: Any) -> dict[str, Any]:
    """The object ImageStack of a plate of 2 x 3 wells with DAPI and FITC."""
    waves = [{"Index": number, "EmissionFilter": {"Name": name}} for number, name in enumerate(("DAPI", "FITC"))]
    return {"PlateId": "my plate 2026-03-02", "ImageFormat": "TIFF", "SpecimenHolder": {"Barcode": ""},
            "AutoLeadAcquisitionProtocol": {
                "Plate": {"Rows": 2, "Columns": 3}, "Wavelengths": waves,
                "ObjectiveCalibration": {"Unit": "µm", "PixelWidth": 0.65, "PixelHeight": 0.65}},
            "ImageMetadataFiles": ["image_metadata_1.csv"], **changes}


def image(well="A - 2", row=1, column=2, site=0, wave=0, time=0, z=0, folder="timepoint0", name="") -> list[Any]:
    name = name or f"p_t{time}_{well[0]}{column:02}_s{site}_w{wave}_z{z}.tif"
    return [well, row, column, site, wave, time, z, folder, name, ("DAPI", "FITC", "Cy5")[wave]]


IMAGES = [image(site=site, wave=wave) for site in (0, 1) for wave in (0, 1)]


def make(folder: Path, images: list[list[Any]] | None = None, *, header: list[str] = HEADER, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "P.jdce").write_text(json.dumps({"Version": "1.1", "ImageStack": stack(**changes)}), encoding="utf-8")
    lines = [",".join(map(str, row)) for row in (header, *(IMAGES if images is None else images))]
    (folder / "image_metadata_1.csv").write_text("\r\n".join(lines) + "\r\n")
    return folder


def read(folder: Path, index: str = "P.jdce"):
    return jdce.read(list_folder(folder), index, ReadOptions())


def rows(found, *columns: str) -> list[tuple]:
    return list(found.planes[list(columns)].itertuples(index=False, name=None))


def test_each_row_of_the_csv_is_a_plane_with_the_names_of_the_jdce(tmp_path):
    found = read(make(tmp_path, [*IMAGES, image("B - 3", 2, 3, 7, 1, 4, 5, "timepoint4")]))
    assert rows(found, "plate", "well", "site", "channel", "order", "time", "z", "path", "pixel_size") == [
        *(("my plate 2026-03-02", "A02", str(site), name, wave, 0, 0, f"timepoint0/p_t0_A02_s{site}_w{wave}_z0.tif", 0.65)
          for site in (0, 1) for wave, name in enumerate(("DAPI", "FITC"))),
        ("my plate 2026-03-02", "B03", "7", "FITC", 1, 4, 5, "timepoint4/p_t4_B03_s7_w1_z5.tif", 0.65)]
    assert (found.notes, found.problems) == ((), ())


def test_of_files_that_differ_in_case_alone_the_one_that_is_named_is_read(tmp_path):
    folder = make(tmp_path, [image(name="A.tif")])
    (folder / "timepoint0").mkdir()
    for name in ("A.tif", "a.tif"):
        (folder / "timepoint0" / name).touch()
    assert rows(read(folder), "path") == [("timepoint0/A.tif",)]


def test_a_barcode_is_the_name_of_the_plate(tmp_path):
    assert {*read(make(tmp_path, SpecimenHolder={"Barcode": " BR001 "})).planes["plate"]} == {"BR001"}


def test_files_that_differ_in_case_are_found_in_the_spelling_of_the_folder(tmp_path):
    make(tmp_path / "experiment")
    (tmp_path / "experiment/image_metadata_1.csv").rename(tmp_path / "experiment/Image_Metadata_1.CSV")
    (tmp_path / "experiment/TimePoint0").mkdir()
    (tmp_path / "experiment/TimePoint0/P_T0_A02_s0_w0_z0.TIF").touch()
    paths = [path for path, in rows(read(tmp_path, "experiment/P.jdce"), "path")]
    assert paths[:2] == ["experiment/TimePoint0/P_T0_A02_s0_w0_z0.TIF", "experiment/timepoint0/p_t0_A02_s0_w1_z0.tif"]


def test_paths_of_windows_and_images_beside_the_jdce_are_read(tmp_path):
    found = read(make(tmp_path, [image(folder="a\\b", name="x.tif"), image(folder="", name="y.tif")]))
    assert rows(found, "path") == [("a/b/x.tif",), ("y.tif",)]


def test_several_lists_of_images_are_read(tmp_path):
    make(tmp_path, ImageMetadataFiles=["image_metadata_1.csv", "image_metadata_2.csv"])
    text = (tmp_path / "image_metadata_1.csv").read_text().replace("A - 2,1,2", "A - 3,1,3")
    (tmp_path / "image_metadata_2.csv").write_text(text)
    assert {*read(tmp_path).planes["well"]} == {"A02", "A03"}


def test_channels_without_a_name_have_that_of_the_csv_else_their_number(tmp_path):
    waves = [{"Index": 0, "EmissionFilter": {}}, {"Index": 1, "EmissionFilter": {"Name": "GFP"}}]
    protocol = {**stack()["AutoLeadAcquisitionProtocol"], "Wavelengths": waves}
    images = [image(wave=0), image(wave=1), image(wave=2)]
    found = read(make(tmp_path, images, AutoLeadAcquisitionProtocol=protocol))
    assert rows(found, "channel", "order") == [("DAPI", 0), ("GFP", 1), ("Cy5", 2)]
    bare = read(make(tmp_path, [row[:-1] for row in images], header=HEADER[:-1], AutoLeadAcquisitionProtocol=protocol))
    assert rows(bare, "channel", "order") == [("0", 0), ("GFP", 1), ("2", 2)]


def test_channels_of_one_name_are_told_apart(tmp_path):
    waves = [{"Index": number, "EmissionFilter": {"Name": "GFP"}} for number in (0, 1)]
    protocol = {**stack()["AutoLeadAcquisitionProtocol"], "Wavelengths": waves}
    found = read(make(tmp_path, IMAGES[:2], AutoLeadAcquisitionProtocol=protocol))
    assert rows(found, "channel") == [("GFP (w0)",), ("GFP (w1)",)]


@pytest.mark.parametrize("optics", [{}, {"Unit": "furlong", "PixelWidth": 1}, {"Unit": "um", "PixelWidth": "a"}, None, [],
                                    {"Unit": "um", "PixelWidth": 0}, {"Unit": "um", "PixelWidth": math.inf}])
def test_a_size_of_pixels_that_is_none_is_not_known(tmp_path, optics):
    protocol = {**stack()["AutoLeadAcquisitionProtocol"], "ObjectiveCalibration": optics}
    assert read(make(tmp_path, AutoLeadAcquisitionProtocol=protocol)).planes["pixel_size"].isna().all()


def test_planes_are_preferred_to_projections_and_these_to_montages(tmp_path):
    for folder in ("experiment", "experiment_z_stack", "experiment_montage"):
        make(tmp_path / "a" / folder)
    for folder in ("experiment", "experiment_montage"):
        make(tmp_path / "b" / folder)
    make(tmp_path / "c" / "experiment_montage")
    make(tmp_path / "d")
    listing = list_folder(tmp_path)
    assert jdce.find(listing) == ["a/experiment_z_stack/P.jdce", "b/experiment/P.jdce", "c/experiment_montage/P.jdce",
                                  "d/P.jdce"]
    notes = jdce.read(listing, "a/experiment_z_stack/P.jdce", ReadOptions()).notes
    assert [note.partition(" ")[0] for note in notes] == ["a/experiment", "a/experiment_montage"]
    assert jdce.read(listing, "d/P.jdce", ReadOptions()).notes == ()


@pytest.mark.parametrize(("row", "reason"), [
    (image("C - 2", 3, 2), "row 3 column 2 is not on the plate of 2 x 3 wells"),
    (image("A - 0", 1, 0), "row 1 column 0 is not on the plate"),
    (image("B - 2", 1, 2), "well 'B - 2' is not row 1 column 2"),
    (image(folder=".."), "is not a file below the folder"), (image(folder="/etc"), "is not a file below the folder"),
    (image(name="C:\\x.tif"), "is not a file below the folder"), (image(name="../x.tif"), "is not a file below the folder"),
    (image(name=" "), "is not a file below the folder"), (image(folder="\\\\server\\a"), "is not a file below the folder"),
    ([*image()[:3], "", *image()[4:]], "Field is '', not a whole number"),
    ([*image()[:6], "-1", *image()[7:]], "ZIndex is '-1', not a whole number"),
    ([*image()[:5], "9" * 30, *image()[6:]], "not a whole number"),
])
def test_rows_that_cannot_be_used_are_problems_with_their_numbers(tmp_path, row, reason):
    found = read(make(tmp_path, [image(), row, row]))
    assert [problem.row for problem in found.problems] == [3, 4]
    assert all(reason in problem.reason for problem in found.problems)
    assert len(found.planes) == 1


@pytest.mark.parametrize("text", ["", "{", '{"ImageStack": []}', "[]", '{"Version": 1}', "\x00", "[" * 100_000,
                                  '{"ImageStack": {"ImageMetadataFiles": "a.csv"}}',
                                  '{"ImageStack": {"ImageMetadataFiles": []}}',
                                  '{"ImageStack": {"ImageMetadataFiles": ["../a.csv"]}}',
                                  '{"ImageStack": {"ImageMetadataFiles": ["/etc/passwd", 3]}}',
                                  '{"ImageStack": {"ImageMetadataFiles": ["none.csv"]}}',
                                  '{"ImageStack": {"ImageFormat": "JPEG2000"}}'])
def test_what_is_no_whole_jdce_is_refused_in_one_line(tmp_path, text):
    make(tmp_path)
    (tmp_path / "P.jdce").write_text(text)
    with pytest.raises(DataError) as refusal:
        read(tmp_path)
    assert "\n" not in refusal.value.what
    assert ".csv" in refusal.value.what or "P.jdce" in refusal.value.what


def test_every_cut_of_a_jdce_or_its_csv_is_refused(tmp_path):
    make(tmp_path)
    whole, table = (tmp_path / "P.jdce").read_bytes(), (tmp_path / "image_metadata_1.csv").read_bytes()
    for length in range(0, len(whole), 23):
        (tmp_path / "P.jdce").write_bytes(whole[:length])
        with pytest.raises(DataError):
            read(tmp_path)
    (tmp_path / "P.jdce").write_bytes(whole)
    for cut in (table[:len(table) - 30], table[:60], table[:table.index(b"\n")]):
        (tmp_path / "image_metadata_1.csv").write_bytes(cut)
        with pytest.raises(DataError):
            read(tmp_path)


def test_a_list_without_a_column_is_refused(tmp_path):
    make(tmp_path, header=[name.replace("ZIndex", "Z") for name in HEADER])
    with pytest.raises(DataError, match="has no column ZIndex"):
        read(tmp_path)


def test_the_real_acquisition_is_read_as_its_metadata_says(shared_data):
    listing = list_folder(shared_data / "formats/imagexpress/hcs_ai_jdce")
    assert jdce.find(listing) == ["1w1s1t1c1z_binning4x4.jdce"]
    found = jdce.read(listing, "1w1s1t1c1z_binning4x4.jdce", ReadOptions())
    assert rows(found, "plate", "well", "site", "channel", "order", "z", "time", "path", "frame", "pixel_size") == [
        ("1w1s1t1c1z_binning4x4 2026-03-02, 13:57:52", "C05", "0", "DAPI", 0, 0, 0,
         "timepoint0/test_data_t0_C05_s0_w0_z0.tif", -1, 1.294)]
    assert (found.notes, found.problems) == ((), ())
