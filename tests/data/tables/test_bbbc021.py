import gzip

import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.data.tables.bbbc021 import find_csvs, is_taxol_control, read_bbbc021
from mscnn.data.tables.site_table import SiteTable

IMAGE_HEADER = ("TableNumber,ImageNumber,Image_FileName_DAPI,Image_PathName_DAPI,Image_FileName_Tubulin,"
                "Image_PathName_Tubulin,Image_FileName_Actin,Image_PathName_Actin,Image_Metadata_Plate_DAPI,"
                "Image_Metadata_Well_DAPI,Replicate,Image_Metadata_Compound,Image_Metadata_Concentration")


@pytest.fixture(scope="module")
def official(shared_data) -> SiteTable:
    return read_bbbc021(*find_csvs(shared_data / "bbbc021_csv"), taxol_controls="keep")


def test_counts_of_the_official_tables(official):
    frame = official.frame
    assert (len(frame), frame["files"].map(len).sum(), official.channels) == (13_200, 39_600, ("DNA", "Tubulin", "Actin"))
    assert frame["files"].explode().nunique() == 39_600
    assert (frame["plate"].nunique(), frame["week"].nunique(), frame["compound"].nunique()) == (55, 10, 113)
    assert {"DMSO", "UNKNOWN", "ICI-182,780", "3,3'-diaminobenzidine", "mevinolin/lovastatin"} <= set(frame["compound"])
    assert (frame.groupby("plate")["well"].nunique() == 60).all()
    assert (frame.groupby(["plate", "well"])["site"].agg(lambda sites: "".join(sorted(sites))) == "1234").all()
    assert (frame.groupby("week")["plate"].nunique()).sum() == 55  # no plate is in two weeks


def test_counts_of_the_join(official):
    labelled = official.labelled()
    treated = labelled.frame[labelled.frame["mechanism"] != "DMSO"]
    assert (len(labelled), len(treated)) == (3_848, 2_528)
    assert is_taxol_control(labelled.frame).sum() == 1_320
    assert len(treated.groupby(["compound", "concentration"])) == 103
    assert (treated["compound"].nunique(), treated["mechanism"].nunique(), len(labelled.mechanisms())) == (38, 12, 13)
    weeks = treated.groupby("compound")["week"].nunique()
    assert weeks[weeks > 1].index.tolist() == ["taxol"]
    by_mechanism = treated[treated["compound"] != "taxol"].groupby("mechanism")["week"].nunique()
    assert set(by_mechanism[by_mechanism == 1].index) == {"Cholesterol-lowering", "Kinase inhibitors"}


def test_dropping_taxol_controls_leaves_taxols_own_dose_series(shared_data):
    dropped = read_bbbc021(*find_csvs(shared_data / "bbbc021_csv"), taxol_controls="drop").labelled()
    treated = dropped.frame[dropped.frame["mechanism"] != "DMSO"]
    assert (len(dropped), len(treated)) == (2_528, 1_208)
    assert len(treated.groupby(["compound", "concentration"])) == 103
    taxol = treated[treated["compound"] == "taxol"]
    assert sorted(taxol["concentration"].unique()) == [0.3, 1.0, 3.0]
    assert set(taxol["week"]) == {"Week1"}


def test_both_variants_that_circulate_read_the_same(official, shared_data):
    variants = shared_data / "bbbc021_csv" / "variants"
    again = read_bbbc021(variants / "BBBC021_v1_image.unquoted.csv.gz", variants / "BBBC021_v1_moa.cr-only.csv",
                         taxol_controls="keep")
    metadata = [name for name in official.frame if name != "files"]
    pd.testing.assert_frame_equal(again.frame[metadata], official.frame[metadata])


def test_agrees_with_the_independent_annotation(official, shared_data):
    """IDR's annotation of the same wells (idr0035) was made by other people from other files."""
    idr = pd.read_csv(shared_data / "bbbc021_csv" / "idr0035" / "idr0035-screenA-annotation.csv", dtype=str,
                      keep_default_na=False)
    names = {"Plate": "plate", "Well": "well"}
    compound = next(name for name in idr if "Compound Name" in name or name == "Compound")
    wells = official.frame.drop_duplicates(["plate", "well"])[["plate", "well", "compound"]]
    idr["Well"] = idr["Well"].str.replace(r"^([A-P])(\d)$", r"\g<1>0\2", regex=True)
    joined = wells.merge(idr.rename(columns=names), on=["plate", "well"], how="left")
    assert len(joined) == 3_300
    assert (joined["compound"] == joined[compound]).sum() == 3_300


def write_screen(folder, images: str, moa: str = '"compound",concentration,"moa"\n"x",0.3,"M"\n"DMSO",0,"DMSO"\n'):
    (folder / "BBBC021_v1_image.csv").write_text(IMAGE_HEADER + "\n" + images)
    (folder / "BBBC021_v1_moa.csv").write_text(moa)
    return find_csvs(folder)


def image_row(well="B02", site=1, compound="x", dose="0.300000", plate="Week4_1") -> str:
    files = ",".join(f"{well}_s{site}_w{n}GUID{n}.tif,Week4/{plate}" for n in (1, 2, 4))
    return f"4,1,{files},{plate},{well},1,{compound},{dose}\n"


def test_concentrations_join_as_numbers(tmp_path):
    table = read_bbbc021(*write_screen(tmp_path, image_row(dose="0.300000") + image_row("B03", dose="0.30001")))
    assert table.frame["mechanism"].tolist() == ["M", ""]


def test_published_archives_unpack_without_the_week_folder(tmp_path):
    (tmp_path / "Week4_1").mkdir()
    table = read_bbbc021(*write_screen(tmp_path, image_row()))
    assert table.frame["files"][0][2] == str(tmp_path / "Week4_1" / "B02_s1_w4GUID4.tif")


def test_gzipped_tables_are_found(tmp_path):
    image_csv, _ = write_screen(tmp_path, image_row())
    (tmp_path / "BBBC021_v1_image.csv.gz").write_bytes(gzip.compress(image_csv.read_bytes()))
    image_csv.unlink()
    assert len(read_bbbc021(*find_csvs(tmp_path))) == 1


def test_bad_tables_are_refused_naming_every_offender(tmp_path):
    with pytest.raises(DataError, match=r"no BBBC021_v1_image\.csv"):
        find_csvs(tmp_path)
    for images, moa, what in [
        (image_row() + image_row(), None, "row 3: Week4_1 B02 site 1"),
        (image_row(dose="high"), None, "row 2: 'high'"),
        (image_row().replace("_s1_", "_"), None, "row 2: B02_w1GUID1.tif"),
        (image_row(), "compound,concentration,moa\nx,0.3,M\nx,0.30,N\n", "x 0.3"),
        (image_row(), "compound,dose,moa\nx,0.3,M\n", "concentration"),
    ]:
        csvs = write_screen(tmp_path, images, *([moa] if moa else []))
        with pytest.raises(DataError) as refusal:
            read_bbbc021(*csvs)
        assert what in str(refusal.value)
