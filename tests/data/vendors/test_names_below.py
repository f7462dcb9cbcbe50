"""Names of an index as files below a folder."""

from pathlib import Path

import pytest

from mscnn.data.vendors.names_below import Finder, pieces_of, pieces_of_place
from mscnn.data.vendors.planes import Listing


def finder(*files):
    return Finder(Listing(Path("/nowhere"), files, ()))


@pytest.mark.parametrize(("name", "pieces"), [
    ("a.tif", ["a.tif"]), ("a/b.tif", ["a", "b.tif"]), ("a\\b.tif", ["a", "b.tif"]), ("./a//b.tif", ["a", "b.tif"]),
    ("a..b", ["a..b"]), ("", None), (" ", None), (".", None), ("..", None), ("a/../b", None), ("/a", None),
    ("\\\\host\\a", None), ("C:\\a", None), ("c:a", None), ("a\nb", None), ("a\0b", None), ("./", None)])
def test_a_relative_name_stays_in_its_folder(name, pieces):
    assert pieces_of(name) == pieces


@pytest.mark.parametrize(("place", "pieces"), [
    ("/data/P1/", ["data", "P1"]), ("C:\\data\\P1", ["data", "P1"]), ("\\\\host\\share\\P1", ["host", "share", "P1"]),
    ("s3://bucket/P1/a b.tif", ["bucket", "P1", "a b.tif"]), ("s3://bucket/P%201/a.tif", ["bucket", "P%201", "a.tif"]),
    ("file:///data/P%201/a.tif", ["data", "P 1", "a.tif"]), ("file:/data/a.tif", ["data", "a.tif"]),
    ("file:///C:/data/a.tif", ["data", "a.tif"]), ("https://host/P1/a.tif?x=1#y", ["host", "P1", "a.tif"]), ("", []),
    ("gs://b/a.tif", ["b", "a.tif"]), ("/a/../b", None), ("s3://b/../c", None), ("file:///a/%2e%2e/b", None),
    ("http://[x/a", None), ("a\nb", None)])
def test_a_place_of_another_machine_gives_its_parts(place, pieces):
    assert pieces_of_place(place) == pieces


def test_the_longest_tail_below_the_root_or_the_index_is_found():
    find = finder("P1/Images/a.tif", "Images/a.tif", "meta/P1/Images/b.tif", "c.tif")
    assert find.tail("", ["data", "P1", "Images", "a.tif"]) == "P1/Images/a.tif"
    assert find.tail("", ["data", "P2", "Images", "a.tif"]) == "Images/a.tif"
    assert find.tail("meta", ["other", "P1", "Images", "b.tif"]) == "meta/P1/Images/b.tif"
    assert find.tail("", ["s3", "x", "C.TIF"]) == "c.tif"


def test_a_missing_file_is_not_taken_from_another_folder():
    find = finder("P2/a.tif", "b.tif", "P2/z.tif")
    assert find.tail("", ["data", "P2", "a.tif"]) == "P2/a.tif"
    assert find.tail("", ["data", "P2", "b.tif"]) == "P2/b.tif"


def test_a_file_that_is_nowhere_is_expected_in_the_folder_that_fits():
    find = finder("P1/Images/a.tif")
    assert find.tail("", ["data", "P1", "Images", "x.tif"]) == "P1/Images/x.tif"
    assert find.tail("", ["data", "P9", "Pictures", "x.tif"]) == "Pictures/x.tif"
    assert find.tail("", ["x.tif"]) == "x.tif"


def test_names_below_are_spelled_as_the_file_is():
    find = finder("P/Img/A.tif", "P/img/b.tif")
    assert find.below("P", "img/a.TIF") == "P/Img/A.tif"
    assert find.below("P", "img\\b.tif") == "P/img/b.tif"
    assert find.below("", "p/img/c.tif") == "p/img/c.tif"
    assert find.below("P", "../a.tif") is None


def test_of_files_that_differ_in_case_alone_none_is_taken_for_another():
    find = finder("P/A.tif", "P/a.TIF", "P/b.tif")
    assert find.below("P", "A.tif") == "P/A.tif"
    assert find.below("P", "a.tif") == "P/a.tif"  # not there: which of the two is meant is not known
