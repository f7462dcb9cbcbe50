"""Sheets with a row an image."""

import os

import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors import sample_sheet
from mscnn.data.vendors.planes import ReadOptions, list_folder
from tests.data.vendors.folders import read_single_index, touch

HEADER = "channel,path,source,batch,plate,well,site,col,field_id,plane_id,row\n"
ROWS = ("DNA,s3://b/P1/Images/r02c03f04p01-ch1sk1fk1fl1.tiff,source_4,Batch1,P1,B03,4,3,4,1,2\n"
        "ER,s3://b/P1/Images/r02c03f04p01-ch2sk1fk1fl1.tiff,source_4,Batch1,P1,B03,4,3,4,1,2\n")
TILES = ("file_path,row,column,fov_name,start_x,start_y,start_z,start_c,start_t,"
         "length_x,length_y,length_z,length_c,length_t,drug\n")


def write(folder, text, files=(), name="samplesheet.csv"):
    (folder / name).write_text(text)
    return touch(folder, files)


def read(folder):
    return read_single_index(sample_sheet, folder)


def test_a_sheet_of_nf_core(tmp_path):
    files = [f"P1/Images/r02c03f04p01-ch{number}sk1fk1fl1.tiff" for number in (1, 2)]
    index = read(write(tmp_path, HEADER + ROWS, files))
    assert (index.notes, index.problems) == ((), ())
    planes = index.planes
    assert planes["path"].tolist() == files
    assert planes["channel"].tolist() == ["DNA", "ER"]
    assert planes["order"].tolist() == [0, 1]
    assert planes[["plate", "well", "site", "z", "time", "frame"]].drop_duplicates().to_numpy().tolist() == [
        ["P1", "B03", "4", 1, 0, -1]]
    more = [name for name in planes if name.startswith("Metadata_")]
    assert more == ["Metadata_Source", "Metadata_Batch", "Metadata_Field_id"]
    assert planes["Metadata_Batch"].tolist() == ["Batch1", "Batch1"]


def test_the_real_sheet_of_nf_core(tmp_path, shared_data):
    source = shared_data / "formats" / "generic" / "nf-core_cellpainting_samplesheet.csv"
    index = read(write(tmp_path, source.read_text()))
    assert index.problems == ()
    planes = index.planes
    assert len(planes) == 48
    assert planes["channel"].nunique() == 8
    assert (planes.groupby(["plate", "well", "site", "z"]).size() == 8).all()
    first = planes.iloc[0]
    assert first[["plate", "well", "site", "channel", "z"]].tolist() == ["BR00117035", "A01", "1", "Brightfield_L", 1]
    assert first["path"] == "Images/r01c01f01p01-ch7sk1fk1fl1.tiff"


def test_a_list_of_tiles(tmp_path, shared_data):
    source = shared_data / "formats" / "generic" / "fractal_uzh_custom_tiff_tiles.csv"
    files = [f"data/fov{fov}_z{z}.tif" for fov in (1, 2) for z in (0, 1)]
    index = read(write(tmp_path, source.read_text(), files, "tiles.csv"))
    assert (index.notes, index.problems) == ((), ())
    assert index.planes["path"].tolist() == files
    assert index.planes["well"].tolist() == ["A01"] * 4
    assert index.planes["site"].tolist() == ["FOV_1", "FOV_1", "FOV_2", "FOV_2"]
    assert index.planes["z"].tolist() == [0, 1, 0, 1]
    assert index.planes["channel"].tolist() == ["0"] * 4
    assert [name for name in index.planes if name.startswith("Metadata_")] == ["Metadata_Drug"]
    assert index.planes["Metadata_Drug"].tolist() == ["DMSO"] * 4


def test_positions_and_numbered_channels_are_put_in_order(tmp_path):
    rows = [("a.tif", "7.5", "10", "1"), ("b.tif", "2.5", "10", "1"), ("c.tif", "2.5", "9", "1")]
    text = TILES + "".join(f"{path},B,3,F1,0,0,{z},{c},0,8,8,{length},1,1,x\n" for path, z, c, length in rows)
    index = read(write(tmp_path, text))
    assert index.planes["z"].tolist() == [1, 0, 0]
    assert index.planes["order"].tolist() == [1, 1, 0]
    [problem] = read(write(tmp_path, text.replace(",8,8,1,1,1,", ",8,8,3,1,1,"))).problems
    assert "are greater than 1" in problem.reason


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("B03,4,3,4,1,2\nER", "B04,4,3,4,1,2\nER", "contradict their rows and columns"), ("B03", "XX", "'XX' is no well"),
    ("s3://b/P1/", "s3://b/../", "leaves the folder"), ("DNA,s3", ",s3", "channel ''"),
    ("s3://b/P1/Images/r02c03f04p01-ch1sk1fk1fl1.tiff", "", "file ''")])
def test_what_cannot_be_used_is_a_problem(tmp_path, old, new, reason):
    index = read(write(tmp_path, HEADER + ROWS.replace(old, new)))
    assert any(reason in problem.reason for problem in index.problems)


def test_a_row_that_is_left_out_moves_no_other_s_metadata(tmp_path):
    index = read(write(tmp_path, HEADER + ROWS.replace("DNA,s3", ",s3").replace("Batch1", "Batch2", 1)))
    assert index.planes["channel"].tolist() == ["ER"]
    assert index.planes["Metadata_Batch"].tolist() == ["Batch1"]


def test_other_tables_are_no_index(tmp_path):
    write(tmp_path, "plate,well,compound\nP1,A01,x\n", name="platemap.csv")
    write(tmp_path, "FileName_DNA,Metadata_Well\na,A01\n", name="load_data.csv")
    (tmp_path / "broken.csv.gz").write_bytes(b"\x1f\x8b\x08")
    assert sample_sheet.find(list_folder(tmp_path)) == []
    with pytest.raises(DataError, match="is no sheet with a row an image"):
        sample_sheet.read(list_folder(tmp_path), "platemap.csv", ReadOptions())


def test_a_pipe_is_no_sheet_and_is_not_waited_for(tmp_path):
    write(tmp_path, HEADER + ROWS)
    os.mkfifo(tmp_path / "pipe.csv")
    assert sample_sheet.find(list_folder(tmp_path)) == ["samplesheet.csv"]
