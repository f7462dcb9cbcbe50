import os
import tracemalloc

import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors import xml_records
from mscnn.data.vendors.xml_records import TEXT, Record, read_records, root_name

REMEDY = "copy it again"


@pytest.fixture
def read(tmp_path):
    """Read records of a text or bytes."""
    def read_text(content, wanted, root="Top"):
        path = tmp_path / "index.xml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_records(path, root, wanted, REMEDY))

    return read_text


def test_a_record_has_the_children_asked_for_without_namespaces(read):
    text = ('<Top xmlns="urn:a" xmlns:b="urn:b"><List><Item b:n="7"><Size Unit="m"> 1.5 </Size><Other>x</Other></Item>'
            '<Item><Size/></Item></List></Top>')
    assert read(text, {("List", "Item"): ("Size", "Absent")}) == [
        Record("Item", "urn:a", {"n": "7"}, {"Size": "1.5"}, {"Size": {"Unit": "m"}}),
        Record("Item", "urn:a", {}, {"Size": ""}, {})]


def test_an_element_is_wanted_below_its_parent_only(read):
    text = "<Top><Item><v>no</v></Item><List><Item><v>yes</v></Item></List></Top>"
    assert [record.values for record in read(text, {("List", "Item"): ("v",)})] == [{"v": "yes"}]


def test_a_grandchild_is_no_child(read):
    text = "<Top><Item><a><v>deep</v></a><v>own</v><b><v>deep again</v></b></Item></Top>"
    assert [record.values for record in read(text, {("Top", "Item"): ("v",)})] == [{"v": "own"}]


def test_the_text_of_the_record_itself_is_read_and_the_first_element_is_a_record_too(read):
    text = '<Top id="1"><Item k="2"> a.tif\n</Item><Item/></Top>'
    found = read(text, {("", "Top"): (), ("Top", "Item"): (TEXT,)})
    assert [(record.name, record.attributes, record.values) for record in found] == [
        ("Item", {"k": "2"}, {TEXT: "a.tif"}), ("Item", {}, {TEXT: ""}), ("Top", {"id": "1"}, {})]


def test_records_within_a_record_come_first(read):
    text = '<Top><Plate><Name>P</Name><Well id="1"/><Rows>8</Rows></Plate></Top>'
    found = read(text, {("Top", "Plate"): ("Name", "Rows"), ("Plate", "Well"): ()})
    assert [(record.name, record.values) for record in found] == [("Well", {}), ("Plate", {"Name": "P", "Rows": "8"})]


def test_text_is_whole_wherever_a_file_is_cut_into_chunks(read, monkeypatch):
    text = '<Top><Item><v>r01c01 µm &amp; "x"</v></Item></Top>'
    for size in (1, 2, 3, 7):
        monkeypatch.setattr(xml_records, "CHUNK", size)
        assert read(text, {("Top", "Item"): ("v",)})[0].values == {"v": 'r01c01 µm & "x"'}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_unicode_are_read_with_and_without_a_mark(read, tmp_path, encoding):
    assert read("<Top><i>µ</i></Top>".encode(encoding), {("Top", "i"): (TEXT,)})[0].values == {TEXT: "µ"}
    assert root_name(tmp_path / "index.xml") == "Top"


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "cut short or no XML"),
    (b"<Top><Item>", "cut short or no XML"),
    (b"<Top><Item></Top>", "cut short or no XML"),
    (b"II*\0\x08\0\0\0", "cut short or no XML"),
    (b"<Top>\xff</Top>", "cut short or no XML"),
    (b"<Other/>", "starts with Other, not with Top"),
    (b'<?xml version="1.0" encoding="shift_jis"?><Top/>', "cannot be read"),
    (b'<?xml version="1.0" encoding="no-such"?><Top/>', "unknown encoding"),
    (b"<Top>" + b"<a>" * 100, "more than 64 levels"),
    (b'<!DOCTYPE Top SYSTEM "http://example.org/a.dtd"><Top/>', "holds a DTD"),
    (b'<!DOCTYPE Top [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><Top>&c;</Top>', "holds a DTD"),
    (b'<!DOCTYPE Top [<!ENTITY a SYSTEM "file:///etc/passwd">]><Top>&a;</Top>', "holds a DTD"),
    (b"<Top>&undefined;</Top>", "cut short or no XML"),
])
def test_what_is_no_safe_and_whole_xml_is_refused_in_one_line(read, content, reason):
    with pytest.raises(DataError, match=reason) as refusal:
        read(content, {})
    assert str(refusal.value).endswith(REMEDY)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_too_large_or_no_file_is_refused(read, tmp_path, monkeypatch):
    monkeypatch.setattr(xml_records, "LARGEST", 10)
    with pytest.raises(DataError, match="more than 10 bytes"):
        read("<Top>0123456789</Top>", {})
    with pytest.raises(DataError, match="is no file"):
        list(read_records(tmp_path, "Top", {}, REMEDY))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is no file"):
        list(read_records(tmp_path / "pipe", "Top", {}, REMEDY))


def test_a_large_file_takes_little_memory(tmp_path):
    path = tmp_path / "index.xml"
    path.write_text("<Top>" + f"<Item><v>1</v><other>{'x' * 1000}</other></Item>" * 20_000 + "</Top>")
    tracemalloc.start()
    count = sum(1 for _ in read_records(path, "Top", {("Top", "Item"): ("v",)}, REMEDY))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 2**20 < path.stat().st_size  # a file of 20 MB, of which 64 kB are in memory at a time


@pytest.mark.parametrize(("content", "name"), [
    ("<a/>", "a"), ("<!-- <b/> -->\n<?x y?><a>", "a"), ('<n:a xmlns:n="u"/>', "a"), ("", ""), ("text", ""),
    ("<!-- <b>", ""),
    ("<?xml version='1.0'?>", "")])
def test_the_first_element_is_told_by_the_start_of_a_file(tmp_path, content, name):
    (tmp_path / "x").write_text(content)
    assert root_name(tmp_path / "x") == name


def test_what_cannot_be_opened_has_no_first_element(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert [root_name(tmp_path / name) for name in ("absent", "pipe", ".")] == ["", "", ""]
