"""The listing of a folder."""

import os

import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors.planes import list_folder


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def test_all_files_are_listed_and_a_group_of_zarr_is_one_entry(tmp_path):
    write(tmp_path, "b.TIF", "a/Index.xml", "p.zarr/.zgroup", "p.zarr/A/1/0/.zarray", "q.zarr/zarr.json", "q.zarr/c/0")
    listing = list_folder(tmp_path)
    assert listing.files == ("a/Index.xml", "b.TIF")
    assert listing.zarr_groups == ("p.zarr", "q.zarr")
    assert listing.named("*.tif", "index.*") == ["a/Index.xml", "b.TIF"]
    assert listing.by_folder == {"": ["b.TIF"], "a": ["Index.xml"]}


def test_links_to_folders_are_followed_where_allowed_and_never_in_a_circle(tmp_path):
    write(tmp_path, "elsewhere/plate/a.tif", "screen/x.tif")
    (tmp_path / "screen/linked").symlink_to(tmp_path / "elsewhere/plate")
    (tmp_path / "elsewhere/plate/up").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "screen/round").symlink_to(tmp_path / "screen")
    assert list_folder(tmp_path / "screen").files == ("x.tif",)
    assert list_folder(tmp_path / "screen").not_followed == ("linked", "round")
    followed = list_folder(tmp_path / "screen", [tmp_path / "elsewhere"])
    assert followed.files == ("linked/a.tif", "x.tif")
    assert followed.not_followed == ("linked/up", "round")


def test_a_link_to_a_file_is_a_file_and_one_that_leads_nowhere_too(tmp_path):
    write(tmp_path, "a.tif")
    os.symlink("a.tif", tmp_path / "b.tif")
    os.symlink("gone.tif", tmp_path / "c.tif")
    assert list_folder(tmp_path).files == ("a.tif", "b.tif", "c.tif")


def test_an_empty_folder_and_one_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no files; name the folder"):
        list_folder(tmp_path)
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        list_folder(tmp_path / "gone")
