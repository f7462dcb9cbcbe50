"""The door: what a file is, told by its content."""

import contextlib
import gzip

import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.data.plate_maps.read_map import read_plate_map
from tests.data.plate_maps.maps import read_text_map, treatments

TEXT = "well,drug\nA1,a\n"


def test_the_content_counts_and_not_the_name(tmp_path):
    (tmp_path / "map.bin").write_bytes(gzip.compress(TEXT.encode()))
    assert list(treatments(read_plate_map(tmp_path / "map.bin"))) == ["A01"]
    (tmp_path / "map.txt").write_bytes(TEXT.encode("utf-16"))
    assert list(treatments(read_plate_map(tmp_path / "map.txt"))) == ["A01"]


@pytest.mark.parametrize(("raw", "reason"), [
    (b"\xd0\xcf\x11\xe0" + b"\0" * 100, "is an old .xls workbook"), (b"%PDF-1.7\n", "is a PDF"),
    (b"PAR1" + b"\0" * 20, "is parquet"), (b"II*\0" + b"\0" * 20, "is a TIFF image"), (b"", "the file is empty")])
def test_other_files_are_refused_by_their_kind(tmp_path, raw, reason):
    (tmp_path / "map.csv").write_bytes(raw)
    with pytest.raises(DataError, match=reason):
        read_plate_map(tmp_path / "map.csv")


def test_roles_that_are_not_known_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"moa=x: no such roles; roles are plate, well"):
        read_text_map(tmp_path, TEXT, columns={"moa": "x"})


def test_folders_without_a_map_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no barcode_platemap\.csv and no tables"):
        read_plate_map(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_plate_map(tmp_path / "absent")


def test_every_file_that_is_cut_short_ends_in_a_refusal_or_a_map(tmp_path):
    """No cut raises another error."""
    whole = "\ufeffplate;well;drug;conc\nP1;A1;\"a;b\";0,3 µM\n".encode()
    for place in range(len(whole)):
        (tmp_path / "cut.csv").write_bytes(whole[:place])
        with contextlib.suppress(DataError):
            assert len(read_plate_map(tmp_path / "cut.csv").wells) == 1


def test_a_real_table_that_is_no_map_is_refused(shared_data):
    for name in ("jump_metadata/plate.csv.gz", "../bbbc021_csv/BBBC021_v1_moa.csv"):
        with pytest.raises(DataError, match="no column for the well"):
            read_plate_map(shared_data / "formats" / name)
