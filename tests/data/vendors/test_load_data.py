"""LoadData tables as pe2loaddata, JUMP and CellProfiler write them."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors import load_data
from mscnn.data.vendors.planes import ReadOptions, list_folder
from tests.data.vendors.folders import read_single_index, touch

S3 = "s3://cellpainting-gallery/cpg0016-jump/source_4/images/Batch1/images/BR00117035__2021/Images"
JUMP = pd.DataFrame({  # two sites of one well, as in cpg0016
    "Metadata_Source": "source_4", "Metadata_Batch": "Batch1", "Metadata_Plate": "BR00117035", "Metadata_Well": "A01",
    "Metadata_Site": ["1", "2"],
    "FileName_OrigAGP": ["r01c01f01p01-ch2sk1fk1fl1.tiff", "r01c01f02p01-ch2sk1fk1fl1.tiff"],
    "FileName_OrigDNA": ["r01c01f01p01-ch5sk1fk1fl1.tiff", "r01c01f02p01-ch5sk1fk1fl1.tiff"],
    "PathName_OrigAGP": f"{S3}/", "PathName_OrigDNA": f"{S3}/"})
IMAGES = [name for column in ("FileName_OrigAGP", "FileName_OrigDNA") for name in JUMP[column]]


def write(folder, table, files=(), name="load_data.csv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        table.to_parquet(path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(table.to_csv(index=False).encode()))
    else:
        table.to_csv(path, index=False)
    return touch(folder, files)


def read(folder):
    return read_single_index(load_data, folder)


@pytest.mark.parametrize("name", ["load_data.csv", "load_data.csv.gz", "load_data.parquet", "meta/Load_Data_P1.CSV"])
@pytest.mark.parametrize("place", ["", "BR00117035__2021/Images/", "images/BR00117035__2021/Images/"])
def test_jump_s_table_finds_images_by_the_tail_of_their_address(tmp_path, name, place):
    index = read(write(tmp_path, JUMP, [place + file for file in IMAGES], name))
    assert (index.notes, index.problems) == ((), ())
    assert index.planes["path"].tolist() == [place + file for file in IMAGES]
    assert index.planes["channel"].tolist() == ["AGP", "AGP", "DNA", "DNA"]
    assert index.planes["order"].tolist() == [0, 0, 1, 1]
    assert index.planes["site"].tolist() == ["1", "2", "1", "2"]
    assert set(index.planes["frame"]) == {-1}
    assert set(index.planes["Metadata_Source"]) == {"source_4"}
    assert set(index.planes["Metadata_Batch"]) == {"Batch1"}
    assert not {"Metadata_Plate", "Metadata_Well", "Metadata_Site"} & set(index.planes)
    assert set(zip(index.planes["plate"], index.planes["well"], strict=True)) == {("BR00117035", "A01")}


def test_addresses_stand_for_folder_and_name(tmp_path):
    table = pd.DataFrame({"Metadata_Plate": ["P1"], "Metadata_Well": ["b3"], "Metadata_Site": ["4"],
                          "URL_OrigDNA": [f"{S3}/a b.tiff"], "URL_OrigER": ["file:///data/P1/a%20c.tiff"],
                          "URL_RNA": ["https://host/x/P1/d.tiff?token=1"]})
    files = ["Images/a b.tiff", "P1/a c.tiff", "P1/d.tiff"]
    index = read(write(tmp_path, table, files))
    assert index.planes["path"].tolist() == files
    assert index.planes["channel"].tolist() == ["DNA", "ER", "RNA"]
    assert index.planes["well"].tolist() == ["B03"] * 3


@pytest.mark.parametrize(("version", "names", "plate"), [
    (1, {"RNA": 3, "ER": 4, "AGP": 2, "Mito": 1, "Brightfield": 6, "DNA": 5}, "BR00121482"),
    (5, {"RNA": 3, "ER": 4, "AGP": 5, "Mito": 6, "Brightfield": 2, "DPC": 1}, "BR00122249")])
def test_the_tables_of_pe2loaddata(tmp_path, shared_data, version, names, plate):
    source = shared_data / "formats" / "harmony" / f"pe2loaddata_V{version}" / f"load_data_version{version}.csv"
    (tmp_path / source.name).write_bytes(source.read_bytes())
    files = [f"images/r01c01f01p01-ch{number}sk1fk1fl1.tiff" for number in names.values()]
    (tmp_path / "images").mkdir()
    for file in files[1:]:
        (tmp_path / file).touch()
    index = read(tmp_path)
    assert (index.notes, index.problems) == ((), ())
    planes = index.planes
    assert planes["channel"].tolist() == list(names)
    assert planes["path"].tolist() == files  # the first is not there, and expected beside the others
    for name, value in {"plate": plate, "well": "A01", "site": "1", "z": 1, "time": 0}.items():
        assert set(planes[name]) == {value}
    np.testing.assert_allclose(planes["pixel_size"], 0.5979760809567617, rtol=1e-12)  # of metres as text
    assert set(planes["Metadata_ObjectiveMagnification"]) == {"20"}


def test_a_table_with_illumination_counts_once_and_without_it(tmp_path):
    illum = JUMP.assign(FileName_IllumDNA="DNA.npy", PathName_IllumDNA=f"{S3}/illum", FileName_IllumAGP="AGP.npy")
    write(tmp_path, illum, IMAGES, "load_data_with_illum.csv")
    index = read(tmp_path)
    assert index.planes["channel"].unique().tolist() == ["AGP", "DNA"]
    assert index.notes == ("2 columns of illumination functions were left out (IllumDNA, IllumAGP)",)
    write(tmp_path, JUMP)
    write(tmp_path, illum, name="load_data_with_illum.parquet")
    assert load_data.find(list_folder(tmp_path)) == ["load_data.csv"]


def test_frames_are_passed_on_and_series_refused(tmp_path):
    table = pd.DataFrame({"Metadata_Well": ["A01"] * 4, "FileName_DNA": ["a.tif"] * 4, "Frame_DNA": ["0", "2", "x", "-1"],
                          "Series_DNA": ["0", "", "0", "0"]})
    index = read(write(tmp_path, table, ["a.tif"]))
    assert index.planes["frame"].tolist() == [0, 2]
    assert [problem.row for problem in index.problems] == [4, 5]
    index = read(write(tmp_path, table.assign(Frame_DNA="1", Series_DNA=["0", "1", "0", "0"])))
    assert [problem.row for problem in index.problems] == [3]


@pytest.mark.parametrize(("change", "reason"), [
    ({"Metadata_Well": "Z99"}, "'Z99' is no well"),
    ({"FileName_OrigAGP": ["../x.tiff", "r01c01f02p01-ch2sk1fk1fl1.tiff"]}, "leaves the folder"),
    ({"PathName_OrigAGP": ["/data/../..", f"{S3}/"]}, "leaves the folder"),
    ({"Metadata_Row": "1", "Metadata_Col": "2"}, "contradict their rows and columns, all shifted alike: A01 is at row 1"),
    ({"Metadata_Well": "A02"}, "contradict the names of their files, all shifted alike: A02 is at row 1 column 1"),
    ({"PathName_OrigAGP": [f"{S3}/", "/other/place"], "FileName_OrigAGP": IMAGES[0]}, "are both r01c01f01")])
def test_what_cannot_be_used_is_a_problem(tmp_path, change, reason):
    index = read(write(tmp_path, JUMP.assign(**change), IMAGES))
    [problem] = index.problems
    assert reason in problem.reason


def test_rows_and_columns_stand_for_wells(tmp_path):
    table = JUMP.drop(columns="Metadata_Well").assign(Metadata_Row=["1", "2"], Metadata_Col=["1", "12"],
                                                      FileName_OrigAGP=["a.tif", "b.tif"])
    assert read(write(tmp_path, table)).planes["well"].tolist() == ["A01", "B12"] * 2


def test_images_that_are_missing_in_the_table_are_counted(tmp_path):
    table = JUMP.assign(FileName_OrigDNA=["", IMAGES[3]], PathName_OrigDNA=["", f"{S3}/"])
    index = read(write(tmp_path, table, IMAGES))
    assert index.planes["path"].tolist() == [*IMAGES[:2], IMAGES[3]]
    assert index.planes["Metadata_Batch"].tolist() == ["Batch1"] * 3
    assert index.notes == ("1 images have no file name in the table",)


def test_orig_stays_where_the_bare_name_is_another_image(tmp_path):
    index = read(write(tmp_path, JUMP.assign(FileName_DNA=["x.tif", "y.tif"])))
    assert index.planes["channel"].unique().tolist() == ["AGP", "OrigDNA", "DNA"]


def test_positions_in_z_become_places_and_texts_are_told(tmp_path):
    table = pd.concat([JUMP] * 3).assign(Metadata_Site="1", Metadata_Z=["99.5", "-1.5", "8", "3.5", "8.25", "0.5"],
                                         Metadata_Time="noon", FileName_OrigAGP="a.tif")
    index = read(write(tmp_path, table))
    assert index.planes["z"].tolist() == [5, 0, 3, 2, 4, 1] * 2
    assert set(index.planes["time"]) == {0}
    assert index.notes == ("column Metadata_Time holds texts and is not used as time",)
    assert set(index.planes["Metadata_Time"]) == {"noon"}


def test_names_of_image_csv_are_read_alike(tmp_path):
    table = JUMP.rename(columns=lambda name: f"Image_{name}")
    planes = read(write(tmp_path, table, IMAGES)).planes
    assert planes["path"].tolist() == IMAGES
    assert planes["Metadata_Source"].tolist() == ["source_4"] * 4


@pytest.mark.parametrize(("name", "content"), [
    ("load_data.csv", b"plate,well\nP1,A01\n"), ("load_data.csv", b""), ("load_data.csv.gz", b"FileName_DNA"),
    ("load_data.parquet", b"FileName_DNA"), ("load_data.txt", b"FileName_DNA\na.tif\n"),
    ("sites.csv", b"FileName_DNA\na.tif\n"), ("load_data.csv", b"\xff\xfe\0\0")])
def test_other_files_are_no_index(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert load_data.find(list_folder(tmp_path)) == []


@pytest.mark.parametrize(("name", "content"), [
    ("load_data.csv", b"FileName_DNA\n"), ("load_data.csv", b"FileName_DNA,Metadata_Well\na.tif\n"),
    ("load_data.csv.gz", gzip.compress(b"FileName_DNA\na.tif\n" * 99, mtime=0)[:-9]), ("load_data.csv", b"a,b\n1,2\n"),
    ("load_data.parquet", b"PAR1....PAR1"), ("load_data.csv", b"FileName_DNA\n\xff\n")])
def test_a_damaged_table_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_data.read(list_folder(tmp_path), name, ReadOptions())
    assert caught.value.what.startswith(str(Path(tmp_path, name)))
    assert "\n" not in caught.value.what


def test_parquet_keeps_whole_numbers_whole(tmp_path):
    table = JUMP.assign(Metadata_Site=[1, 2], Metadata_Count=[1.0, np.nan], Metadata_Row=1, Metadata_Col=1)
    planes = read(write(tmp_path, table, IMAGES, "load_data.parquet")).planes
    assert planes["site"].tolist() == ["1", "2"] * 2
    assert planes["Metadata_Count"].tolist() == ["1", ""] * 2


@pytest.mark.parametrize("prefix", ["", "Image_"])
def test_images_that_cellprofiler_saved_are_left_out_of_its_own_table(tmp_path, prefix):
    table = JUMP.assign(Height_OrigAGP="8", Height_OrigDNA="8", FileName_Outlines="x.png", PathName_Outlines="/out",
                        URL_Overlay="file:/out/y.png")
    table = table.rename(columns={name: prefix + name for name in table if not name.startswith("Metadata_")})
    index = read(write(tmp_path, table, IMAGES))
    assert index.planes["channel"].tolist() == ["AGP", "AGP", "DNA", "DNA"]
    assert index.notes == ("2 images that CellProfiler saved were left out (Outlines, Overlay)",)


@pytest.mark.parametrize(("columns", "wells"), [
    ({"Metadata_CPD_WELL_POSITION": ["A01", "B02"]}, ["A01", "B02"]),
    ({"Metadata_CPD_WELL_POSITION": ["H11", "H12"], "Metadata_ASSAY_WELL_POSITION": ["A01", "B02"]}, ["A01", "B02"]),
    ({"Metadata_Somewhere": ["A01", "B02"]}, ["", ""])])
def test_other_names_of_wells_are_known_and_a_table_without_wells_is_told(tmp_path, columns, wells):
    table = pd.DataFrame({"FileName_DNA": ["a.tif", "b.tif"], "Metadata_Plate": "P1", **columns})
    index = read(write(tmp_path, table, ["a.tif", "b.tif"]))
    assert index.planes["well"].tolist() == wells
    told = ("no column tells wells; name one Metadata_Well, or two Metadata_Row and Metadata_Col",)
    assert index.notes == (() if wells[0] else told)
