import gzip
from pathlib import Path

import numpy as np
import pytest

from mscnn.core.errors import DataError
from mscnn.data.tables import text_csv
from mscnn.data.tables.site_table import natural, parse_columns, read_sites
from mscnn.data.tables.text_csv import read_csv


def write(tmp_path, text: str, name: str = "sites.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_loaddata_style_with_and_without_the_image_prefix(tmp_path):
    (tmp_path / "p1").mkdir()
    for prefix in ("", "Image_"):
        text = (f"{prefix}FileName_DNA,{prefix}PathName_DNA,{prefix}FileName_RNA,{prefix}PathName_RNA,"
                "Metadata_Plate,Metadata_Well,Metadata_Compound,Metadata_MOA\n"
                "a.tif,/data/screen/p1,b.tif,C:\\screen\\p1,P,B02,x,M\n")
        table = read_sites(write(tmp_path, text))
        assert table.channels == ("DNA", "RNA")
        assert table.frame["files"][0] == (str(tmp_path / "p1" / "a.tif"), str(tmp_path / "p1" / "b.tif"))
        chosen = read_sites(write(tmp_path, text), channels=("RNA",))
        assert chosen.frame["files"][0] == (str(tmp_path / "p1" / "b.tif"),)


def test_values_stay_the_text_they_are(tmp_path):
    table = read_sites(write(tmp_path, "filename,plate,well,compound,concentration,moa\n"
                                       "1.png,00123,B02,NA,1e-2,True\n2.png,00123,B03,inf,,\n"))
    frame = table.frame
    assert frame["plate"].tolist() == ["00123", "00123"]
    assert frame["compound"].tolist() == ["NA", "inf"]
    assert frame["mechanism"].tolist() == ["True", ""]
    assert frame["concentration"][0] == 0.01
    assert np.isnan(frame["concentration"][1])
    assert len(table.labelled()) == 1


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "N/A", "n/a", "NA", "None", "null", "<NA>", "unknown", "-"])
def test_what_stands_for_a_missing_value_is_not_known(tmp_path, caplog, text):
    caplog.set_level("INFO")
    frame = read_sites(write(tmp_path, "filename,plate,well,compound,concentration,moa,week\n"
                                       f"1.png,P,B02,x,{text},{text},{text}\n2.png,P,B03,y,{text},M,{text}\n")).frame
    assert (frame["mechanism"].tolist(), frame["week"].tolist()) == (["", "M"], ["", ""])
    assert frame["concentration"].isna().all()
    told = [line for line in caplog.messages if "not known" in line]
    assert told == ([f"mechanisms that are not known: {text!r} (1 rows)"] if text.strip() else [])


@pytest.mark.parametrize("text", [
    "filename;plate;well;compound;concentration\n1.png;P;B02;x, y;0,3\n2.png;P;B03;z;10\n",
    "filename\tplate\twell\tcompound\tconcentration\n1.png\tP\tB02\tx, y\t0.3\n2.png\tP\tB03\tz\t10\n",
    "sep=;\nfilename;plate;well;compound;concentration\n1.png;P;B02;x, y;0,3\n2.png;P;B03;z;10\n",
    "filename,plate,well,compound,concentration,,\n1.png,P,B02,\"x, y\",0.3,,\n,,,,,,\n2.png,P,B03,z,10,,\n",
    "filename,plate,well,compound,concentration\n1.png,P,B02,\"x, y\",0.3,\n2.png,P,B03,z,10,,\n",
    "\ufefffilename;plate;well;compound;concentration\r\n1.png;P;B02;x, y;0,30\r\n2.png;P;B03;z;10,0\r\n"])
def test_separators_and_decimal_commas_of_spreadsheets_are_read(tmp_path, text):
    frame = read_sites(write(tmp_path, text)).frame
    assert (frame["compound"].tolist(), frame["concentration"].tolist()) == (["x, y", "z"], [0.3, 10.0])


@pytest.mark.parametrize(("first", "second"), [("1,000", "3,000"), ("0,3", "0.1"), ("1,000.5", "2"), ("1.000,5", "2")])
def test_commas_that_may_part_thousands_are_refused(tmp_path, first, second):
    path = write(tmp_path, "filename;plate;well;compound;concentration\n"
                           f"1.png;P;B02;x;{first}\n2.png;P;B03;y;{second}\n")
    with pytest.raises(DataError, match=r"row 2: '.*' is no concentration"):
        read_sites(path)


def test_a_compound_that_is_missing_is_refused_unless_it_is_the_control(tmp_path):
    path = write(tmp_path, "filename,plate,well,compound,moa\n1.png,P,B02,nan,M\n")
    with pytest.raises(DataError, match="row 2: no compound"):
        read_sites(path)
    assert read_sites(path, control="NaN").is_control().all()


def test_columns_are_mapped_where_names_are_unusual(tmp_path):
    path = write(tmp_path, "img,Barcode,Metadata_Well,BroadSample,uM,Target\n1.png,7,B02,x,3,M\n")
    columns = parse_columns("file=img, plate=Barcode,compound=BroadSample,concentration=uM,mechanism=Target")
    row = read_sites(path, columns=columns).frame.iloc[0]
    assert (row["plate"], row["compound"], row["concentration"], row["mechanism"]) == ("7", "x", 3.0, "M")


@pytest.mark.parametrize(("text", "options", "named"), [
    ("plate,well,compound,moa\nP,B02,x,M\n", {}, ["no image files", "--columns file="]),
    ("filename,well,moa\n1.png,B02,M\n", {}, ["plate, compound", "filename, well, moa"]),
    ("filename,plate,well,compound\n1.png,P,B02,x\n", {"columns": {"mechanism": "MOA2"}}, ["mechanism=MOA2"]),
    ("filename,plate,Plate_ID,well,compound\n1.png,P,P,B02,x\n", {}, ["plate: plate, Plate_ID"]),
    ("FileName_DNA,plate,well,compound\n1.png,P,B02,x\n", {"channels": ("RNA",)}, ["RNA", "it has DNA"]),
    ("filename,plate,well,compound,dose\n1.png,P,B02,x,low\n2.png,P,B03,x,-1\n3.png,P,B04,x,inf\n", {},
     ["concentrations are not numbers of 0 or more: 3", "row 2: 'low'", "row 3: '-1'", "row 4: 'inf'"]),
    ("filename,plate,well,compound\n../1.png,P,B02,x\n,P,B03,x\n", {}, ["row 2: '' '../1.png'", "row 3"]),
    ("filename,plate,well,site,compound\n1.png,P,B02,1,x\n2.png,P,B02,1,x\n", {}, ["row 2: P B02 site 1", "row 3"]),
    ("filename,plate,well,compound\n1.png,,B02,x\n2.png,P,B02,\n", {}, ["row 2: no plate", "row 3: no compound"]),
    ("filename,plate,well,compound\n1.png,P,B02,Taxol\n2.png,P,B03,taxol\n", {}, ["Taxol", "taxol", "one spelling"]),
    ("filename,plate,well,compound\n1.png,P,B02\n", {}, ["row 2: 3 values"]),
    ("filename,plate,plate,well,compound\n1.png,P,P,B02,x\n", {}, ["column plate appears twice"]),
    ("filename,plate,well,compound\n", {}, ["no rows"]),
])
def test_bad_tables_are_refused_naming_every_offender(tmp_path, text, options, named):
    with pytest.raises(DataError) as refusal:
        read_sites(write(tmp_path, text), **options)
    for part in named:
        assert part in str(refusal.value)


def test_line_ends_byte_order_mark_and_quotes(tmp_path):
    for ends in ("\n", "\r\n", "\r"):
        table = read_csv(write(tmp_path, "\ufeffa,b" + ends + '"x, ""y""",2' + ends))
        assert (table.columns.tolist(), table.iloc[0].tolist(), table.index[0]) == (["a", "b"], ['x, "y"', "2"], 2)


def test_absolute_names_stay_below_the_image_root(tmp_path):
    table = read_sites(write(tmp_path, "filename,plate,well,compound\n/etc/x.png,P,B02,x\nC:\\y\\z.png,P,B03,x\n"))
    assert table.frame["files"].tolist() == [(str(tmp_path / "etc" / "x.png"),), (str(tmp_path / "y" / "z.png"),)]


def test_absolute_names_below_the_image_root_are_taken_as_they_are(tmp_path):
    """As in the CSV of a table of mscnn.read_screen; by a link to the root too, and never out of it."""
    images, link = tmp_path / "images", tmp_path / "link"
    images.mkdir()
    link.symlink_to(images)
    path = write(tmp_path, "filename,plate,well,compound\n" + "".join(
        f"{name},P,B0{n},x\n" for n, name in enumerate((images / "a.tif", link / "b.tif", f"{images}2/c.tif"), 1)))
    assert read_sites(path, image_root=link).frame["files"].tolist() == [
        (str(link / "a.tif"),), (str(link / "b.tif"),), (f"{link}{images}2/c.tif",)]
    write(tmp_path, f"filename,plate,well,compound\n{images}/../secret.tif,P,B02,x\n")
    with pytest.raises(DataError, match="leave the image root"):
        read_sites(path, image_root=images)


def test_channels_of_a_multi_channel_file_are_named_as_given(tmp_path):
    path = write(tmp_path, "filename,plate,well,compound\n1.png,P,B02,x\n")
    assert read_sites(path, channels=("Actin", "DNA")).channels == ("Actin", "DNA")
    assert read_sites(path).channels == ()


def test_a_file_column_that_is_given_wins_over_filename_columns(tmp_path):
    path = write(tmp_path, "FileName_DNA,stack,plate,well,compound\n1.tif,all.tif,P,B02,x\n")
    assert read_sites(path, columns={"file": "stack"}).frame["files"][0] == (str(tmp_path / "all.tif"),)


def test_units_in_a_name_do_not_hide_a_column(tmp_path):
    table = read_sites(write(tmp_path, "filename,plate,well,compound,Concentration (µM),Batch_ID\n1.png,P,B02,x,3,W1\n"))
    assert (table.frame["concentration"][0], table.frame["week"][0]) == (3.0, "W1")


def test_what_was_found_and_what_was_not_is_said(tmp_path, caplog):
    caplog.set_level("INFO", logger="mscnn")
    read_sites(write(tmp_path, "filename,plate,well,compound\n1.png,P,B02,x\n"))
    assert "not there: week, site, replicate, concentration, mechanism" in caplog.text
    assert "all doses of a compound count as one treatment" in caplog.text


def test_the_control_is_known_in_any_case(tmp_path):
    table = read_sites(write(tmp_path, "filename,plate,well,compound\n1.png,P,B02,dmso\n2.png,P,B03,water\n"))
    assert table.is_control().tolist() == [True, False]
    water = read_sites(write(tmp_path, "filename,plate,well,compound\n1.png,P,B02,dmso\n2.png,P,B03,water\n"),
                       control="Water")
    assert water.is_control().tolist() == [False, True]


def test_rows_are_numbered_as_in_the_file_and_damage_is_refused(tmp_path):
    assert read_csv(write(tmp_path, "a\n\n\n1\n")).index.tolist() == [4]
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"a\n" * 1000)[:-12])
    (tmp_path / "bad.csv.gz").write_bytes(gzip.compress(b"a\n")[:10] + b"\xff" * 20)
    (tmp_path / "wide.csv").write_text("a\n" + "x" * 200_000)
    for name in ("cut.csv.gz", "bad.csv.gz", "wide.csv"):
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            read_csv(tmp_path / name)


def test_other_encodings_and_missing_files_are_refused(tmp_path):
    (tmp_path / "latin.csv").write_bytes("a\nµM\n".encode("latin-1"))
    for name, reason in (("latin.csv", "cannot be read"), ("absent.csv", "there is no such file")):
        with pytest.raises(DataError, match=f"{name}: {reason}"):
            read_csv(tmp_path / name)


def test_a_role_or_pair_that_is_not_known_is_refused():
    with pytest.raises(DataError, match="plat=Barcode"):
        parse_columns("plat=Barcode,well")


def test_a_site_is_named_on_one_line_and_its_values_stay_as_they_are(tmp_path):
    table = read_sites(write(tmp_path, 'filename,plate,well,site,compound\n1.png,"P\n\x1b[31mµ",B02,1,x\n'))
    assert table.name(0) == "P\\n\\x1b[31mµ B02 1"
    assert table.frame["plate"][0] == "P\n\x1b[31mµ"


def test_natural_order():
    assert sorted(["Week10", "Week2", "Week1"], key=natural) == ["Week1", "Week2", "Week10"]


def test_the_shared_fields_work_as_they_are(shared_data):
    table = read_sites(shared_data / "bbbc021_fields_256" / "labels.csv")
    treatments = table.frame.groupby(["compound", "concentration"])
    assert (len(table), len(treatments), table.frame["compound"].nunique(), len(table.mechanisms())) == (540, 45, 14, 6)
    assert "mevinolin/lovastatin" in set(table.frame["compound"])


def test_a_table_without_an_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(text_csv, "LARGEST", 2**20)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"\n" * (2**20 + 1)))
    for path in (tmp_path / "bomb.csv.gz", Path("/dev/zero")):
        with pytest.raises(DataError, match="more than 1,048,576 bytes"):
            read_csv(path)
