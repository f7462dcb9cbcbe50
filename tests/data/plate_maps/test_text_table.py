"""Text files of any program become rows of cells."""

import gzip
from pathlib import Path

import pytest

from mscnn.core.errors import DataError
from mscnn.data.plate_maps.text_table import read_content, read_text, separator_of, stem

PATH = Path("map.csv")
TEXT = "well,drug\nA01,µ-drug\nA02,é\n"
ROWS = ((1, ("well", "drug")), (2, ("A01", "µ-drug")), (3, ("A02", "é")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_are_told_by_their_mark_or_their_zeros(encoding):
    sheet = read_text(TEXT.encode(encoding), PATH)
    assert (sheet.rows, sheet.notes) == (ROWS, ())


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_latin_letters_of_one_byte_are_read_with_a_note(encoding):
    sheet = read_text(TEXT.encode(encoding), PATH)
    assert sheet.rows == ROWS
    assert "Windows-1252" in sheet.notes[0]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_line_ends(separator, ends):
    text = TEXT.replace(",", separator).replace("\n", ends)
    assert read_text(text.encode(), PATH).rows == ROWS


@pytest.mark.parametrize(("first", "separator"), [("sep=;", ";"), ("SEP=,", ","), ("sep=\t", "\t"), ("sep=", ",")])
def test_a_line_that_declares_the_separator_is_counted_and_not_read(first, separator):
    rows = read_text(f"{first}\n{TEXT.replace(',', separator)}".encode(), PATH).rows
    assert rows == tuple((number + 1, cells) for number, cells in ROWS)


def test_blank_lines_keep_the_numbers_of_rows_and_blanks_around_cells_are_left_out():
    assert read_text(b"\nwell , drug\n,\n A01,b \n", PATH).rows == ((2, ("well", "drug")), (4, ("A01", "b")))


@pytest.mark.parametrize(("text", "separator"), [
    ("well;dose\nA01;0,3\nA02;0,1\n", ";"),                          # decimal commas
    ("well,drug,target\nA01,a,X;Y;Z;Q\nA02,b,X;W\n", ","),           # lists within cells
    ("Compound\n\t1\t2\nA\ta, b\tc\n", "\t"), ("well\nA01\n", ","), ('well;drug\nA01;"b;c"\n', ";")])
def test_the_separator_is_the_one_by_which_rows_are_equally_wide(text, separator):
    assert separator_of(text) == separator


@pytest.mark.parametrize(("raw", "reason"), [
    (b"well,drug\nA01,a\0b\n", "line 2 holds a NUL"),
    (b"well,drug\nA01,\x02\n", r"line 2 holds the control character '\\x02'"),
    (b"\x7fELF\x02\x01\xff\x00\x00", "line 1 holds"),
    (b"\xff\xfew\x00e\x00l", "cut short or no text in utf-16"), (b"\n , \n", "holds no values"),
    (b'well,drug\nA01,"' + b"a" * 200_000 + b'"\n', "is no table")])
def test_what_is_no_text_is_refused(raw, reason):
    with pytest.raises(DataError, match=reason):
        read_text(raw, PATH)


def test_a_packed_file_is_unpacked_whatever_its_name(tmp_path):
    (tmp_path / "map.csv").write_bytes(gzip.compress(TEXT.encode()))
    assert read_content(tmp_path / "map.csv") == TEXT.encode()


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_content(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_bytes(b" \n")
    with pytest.raises(DataError, match="the file is empty"):
        read_content(tmp_path / "empty.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(TEXT.encode() * 50)[:-12])
    with pytest.raises(DataError, match="cut short"):
        read_content(tmp_path / "cut.csv.gz")
    (tmp_path / "bad.csv.gz").write_bytes(b"\x1f\x8b" + b"x" * 40)
    with pytest.raises(DataError, match="cannot be read"):
        read_content(tmp_path / "bad.csv.gz")


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mscnn.data.plate_maps.text_table.LARGEST", 1000)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a" * 5000))
    with pytest.raises(DataError, match="more than 1,000 bytes when unpacked"):
        read_content(tmp_path / "bomb.csv.gz")


@pytest.mark.parametrize("name", ["map.csv", "map.csv.gz", "map.TXT", "map.xlsx", "map"])
def test_the_name_without_suffixes(name):
    assert stem(Path("a") / name) == "map"
