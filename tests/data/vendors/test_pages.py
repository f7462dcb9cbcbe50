"""Files with several pages become planes along the axis that the user names."""

import numpy as np
import pytest
import tifffile

from mscnn.core.errors import DataError, UsageError
from mscnn.data.vendors.pages import expand_pages
from mscnn.data.vendors.planes import list_folder, planes_of


@pytest.fixture
def listing(tmp_path):
    for name, pages in (("a.tif", 3), ("b.tif", 2)):
        tifffile.imwrite(tmp_path / name, np.zeros((pages, 8, 8), np.uint16), photometric="minisblack")
    return list_folder(tmp_path)


def planes(*names: str, **values):
    return planes_of([{"plate": "P", "well": "A01", "site": name, "path": name} | values for name in names])


@pytest.mark.parametrize("axis", ["z", "time"])
def test_pages_are_counted_from_one_and_frames_from_zero(listing, axis):
    found = expand_pages(planes("a.tif", "b.tif"), listing, axis)
    assert list(zip(found["path"], found[axis], found["frame"], strict=True)) == [
        ("a.tif", 1, 0), ("a.tif", 2, 1), ("a.tif", 3, 2), ("b.tif", 1, 0), ("b.tif", 2, 1)]


def test_pages_may_be_channels(listing):
    found = expand_pages(planes("b.tif"), listing, "channel")
    assert found[["channel", "order", "frame"]].to_numpy().tolist() == [["Channel1", 1, 0], ["Channel2", 2, 1]]


def test_a_file_that_is_not_there_keeps_its_row(listing):
    assert len(expand_pages(planes("gone.tif"), listing, "z")) == 1


@pytest.mark.parametrize(("values", "axis"), [({"frame": 0}, "z"), ({"channel": "DNA"}, "channel")])
def test_what_the_index_tells_is_not_told_again(listing, values, axis):
    with pytest.raises(UsageError, match="leave the option out"):
        expand_pages(planes("a.tif", **values), listing, axis)


def test_files_that_cannot_be_read_are_listed(tmp_path, listing):
    for name in ("c.tif", "d.tif"):
        (tmp_path / name).write_bytes(b"II*\0broken")
    with pytest.raises(DataError, match="2 files cannot be read") as refused:
        expand_pages(planes("a.tif", "c.tif", "d.tif"), list_folder(tmp_path), "z")
    assert [line.partition(": ")[0] for line in refused.value.details] == [str(tmp_path / "c.tif"), str(tmp_path / "d.tif")]


def test_one_channel_that_only_has_a_number_is_not_told_by_the_names(listing):
    found = expand_pages(planes("b.tif", channel="1"), listing, "channel")
    assert found["channel"].tolist() == ["Channel1", "Channel2"]


def test_pages_along_two_axes_are_not_taken_for_one(tmp_path):
    """A maximum over them would mix the channels."""
    tifffile.imwrite(tmp_path / "hyperstack.tif", np.zeros((3, 2, 8, 8), np.uint16), imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(DataError, match="1 files cannot be read") as caught:
        expand_pages(planes("hyperstack.tif"), list_folder(tmp_path), "z")
    assert "axes ZCYX" in caught.value.details[0]
    assert "Frame_<Channel>" in caught.value.details[0]
