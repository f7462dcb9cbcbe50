from pathlib import Path

import pytest

from mscnn.data.vendors.named_files import NamedFiles
from mscnn.data.vendors.planes import Listing


def files(*paths, folder="m", **settings) -> NamedFiles:
    return NamedFiles(Listing(Path("/data"), tuple(sorted(paths)), ()), folder, **settings)


@pytest.mark.parametrize(("name", "path"), [
    ("a.tif", "m/a.tif"), ("Sub/b.tif", "m/Sub/b.tif"), ("Sub\\b.tif", "m/Sub/b.tif"), ("./a.tif", "m/a.tif"),
    ("A.TIF", "m/a.tif"), ("SUB/B.tif", "m/Sub/b.tif"), ("with%20blank.tif", "m/with blank.tif"), (" a.tif ", "m/a.tif"),
])
def test_a_name_is_below_the_folder_of_the_index_in_the_spelling_of_the_file(name, path):
    assert files("m/a.tif", "m/Sub/b.tif", "m/with blank.tif", "a.tif").place(name) == (path, "", "")


def test_an_index_at_the_root_names_files_at_the_root():
    assert files("a.tif", "m/a.tif", folder="").place("a.TIF").path == "a.tif"


def test_a_folder_that_differs_in_case_is_of_another_index():
    assert files("M/a.tif").place("a.tif") == ("m/a.tif", "", "")


def test_a_file_that_is_not_there_keeps_the_path_where_it_should_be():
    assert files("n/a.tif").place("Sub/a.tif") == ("m/Sub/a.tif", "", "")


def test_of_two_files_that_differ_in_case_neither_is_taken_for_a_third_spelling():
    both = files("m/a.tif", "m/A.tif")
    assert [both.place(name).path for name in ("a.tif", "A.tif", "a.TIF")] == ["m/a.tif", "m/A.tif", "m/a.TIF"]


@pytest.mark.parametrize("name", ["../a.tif", "Sub/../../a.tif", "..\\a.tif", "..", "/", "."])
def test_a_name_that_leaves_the_folder_is_a_fault(name):
    place = files("a.tif", "m/a.tif").place(name)
    assert (place.path, place.fault != "") == ("", True)


@pytest.mark.parametrize("name", ["C:\\data\\a.tif", "c:a.tif", "/mnt/data/a.tif", "\\\\server\\share\\a.tif",
                                  "file:///C:/data/a.tif", "http://example.org/a.tif"])
def test_of_an_absolute_name_the_file_beside_the_index_is_taken_and_noted(name):
    if name == "c:a.tif":  # relative to a drive: the name has no folder to leave out
        assert files("m/a.tif").place(name).fault
    else:
        place = files("m/a.tif").place(name)
        assert (place.path, "absolute" in place.note, place.fault) == ("m/a.tif", True, "")
    assert "absolute" in files("a.tif", "n/a.tif").place(name).fault


def test_a_copy_with_another_suffix_is_taken_if_it_is_the_only_one():
    suffixes = (".tif", ".tiff", ".png")
    assert files("m/a.png", suffixes=suffixes).place("a.tif").path == "m/a.png"
    assert "other files" in files("m/a.png", suffixes=suffixes).place("a.tif").note
    assert files("m/a.png", "m/a.tiff", suffixes=suffixes).place("a.tif").path == "m/a.tif"
    assert files("m/a.png").place("a.tif") == ("m/a.tif", "", "")


def test_folders_below_are_searched_if_the_name_is_there_once_and_belongs_to_no_other_index():
    names = ("index.xml",)
    place = files("m/Index.xml", "m/x/Images/a.tif", index_names=names).place("a.tif")
    assert (place.path, "folders below" in place.note) == ("m/x/Images/a.tif", True)
    assert files("m/x/a.tif", "m/y/a.tif", index_names=names).place("a.tif").path == "m/a.tif"
    assert files("m/x/INDEX.xml", "m/x/deep/a.tif", index_names=names).place("a.tif").path == "m/a.tif"
    assert files("m/x/INDEX.xml", "m/x2/a.tif", index_names=names).place("a.tif").path == "m/x2/a.tif"
    assert files("m2/a.tif", index_names=names).place("a.tif").path == "m/a.tif"
    assert files("m/x/a.tif").place("a.tif").path == "m/a.tif"
