"""With --available, a screen of which some plates are not unpacked goes on with the rest, and says what is left out."""

import os
from dataclasses import replace

import numpy as np
import pytest

from mscnn.core import config
from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels.images import Header
from mscnn.data.pixels.pack import pack
from mscnn.data.pixels.packed import read_packed
from mscnn.data.read_screen import read_screen
from mscnn.data.tables.available import is_available
from mscnn.data.tables.image_source import ImageSource, Plane, pack_source
from mscnn.data.tables.splits import SplitRecord, make_split, restore, to_record
from tests.conftest import make_table

NOTE = ("5 of 12 sites are left out, as their image files are not all there (--available): 1 of 2 plates and 3 of 8 wells "
        "whole, and some sites of 1 more well")


@pytest.fixture
def two_plates(tmp_path):
    """Plate 1: wells with one site, but B02 with two and B06 with four; plate 2: three wells.  All files are there."""
    rows = ["plate,well,site,compound,filename"]
    for number, (plate, well, site, compound) in enumerate((
            ("1", "B02", 1, "a"), ("1", "B02", 2, "a"), ("1", "B03", 1, "b"), ("1", "B04", 1, "dmso"), ("1", "B05", 1, "c"),
            ("1", "B06", 1, "d"), ("1", "B06", 2, "d"), ("1", "B06", 3, "d"), ("1", "B06", 4, "d"), ("2", "B02", 1, "a"),
            ("2", "B03", 1, "b"), ("2", "B04", 1, "dmso"))):
        rows.append(f"{plate},{well},{site},{compound},{number}.tif")
        (tmp_path / f"{number}.tif").touch()
    (tmp_path / "sites.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def read(folder, **settings):
    return read_screen(config.Table(sites=str(folder / "sites.csv"), **settings))


def test_sites_wells_and_plates_that_are_left_out_are_counted(two_plates, caplog):
    assert read(two_plates, available=True).notes == ()
    for number in (1, 9, 10, 11, 8):  # a site of B02, all of plate 2, a site of B06
        (two_plates / f"{number}.tif").unlink()
    (two_plates / "8.tif").symlink_to(two_plates / "nowhere.tif")  # a link to nothing is no file
    table = read(two_plates, available=True)
    assert table.frame["well"].tolist() == ["B02", "B03", "B04", "B05", "B06", "B06", "B06"]
    assert table.frame.index.tolist() == list(range(7))
    assert table.notes == (NOTE.replace("1 more well", "2 more wells"),)
    assert NOTE[:60] in caplog.text
    assert len(read(two_plates)) == 12  # without the setting nothing is left out in silence
    assert table.select(np.arange(3)).notes == table.notes


def test_rows_keep_their_numbers_for_check(two_plates):
    (two_plates / "0.tif").unlink()
    problems = []
    table = read_screen(config.Table(sites=str(two_plates / "sites.csv"), available=True), problems)
    assert (table.frame.index[0], problems) == (3, [])


def test_no_file_at_all_is_a_wrong_folder_and_not_a_small_screen(two_plates):
    for path in two_plates.glob("*.tif"):
        path.unlink()
    with pytest.raises(DataError, match="no site has all its image files, as --available needs; name the folder"):
        read(two_plates, available=True)


def test_a_site_needs_each_file_of_each_channel_and_a_closed_folder_is_not_a_missing_one(tmp_path, monkeypatch):
    there, gone = str(tmp_path / "a.tif"), str(tmp_path / "b.tif")
    (tmp_path / "a.tif").touch()
    both = pack_source(ImageSource((Plane(there, 0), Plane(gone, 1))))
    assert is_available([(there,), (there, gone), (both,), (str(tmp_path / "a.tif" / "c.tif"),)]).tolist() == [
        True, False, False, False]

    def closed(path: str) -> None:
        raise PermissionError(13, "closed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", closed)
        found = is_available([(gone,)]).tolist()
    assert found == [True]  # its reader says what is wrong


def test_a_pack_and_a_split_tell_what_was_left_out(two_plates, monkeypatch):
    table = replace(make_table([("a", "M", "B02"), ("b", "N", "B03"), ("c", "N", "B04")], "compound mechanism well"),
                    notes=(NOTE,), unit="nM")
    split = make_split(table, split="hold-out", hold_out="c")
    record = to_record(split, table)
    assert record.summary()["notes"] == [NOTE]
    assert SplitRecord.from_json(record.summary()).notes == [NOTE]
    assert "notes" not in to_record(split, replace(table, notes=())).summary()
    monkeypatch.setattr("mscnn.data.pixels.pack.read_pixels", lambda table, site: np.full((1, 4, 4), site, np.uint16))
    pack(replace(table, channels=("DNA",)), Header(1, 4, 4, "uint16"), two_plates / "packed", screen="sites")
    again = read_packed(two_plates / "packed")
    assert (again.notes, again.unit) == ((NOTE,), "nM")


def test_a_training_does_not_change_in_silence_when_more_images_have_come():
    whole = make_table([(name, name) for name in "abcd"])
    some = replace(whole.select(np.arange(3)), notes=(NOTE,))
    record = to_record(make_split(some, split="hold-out", hold_out="a"), some)
    assert restore(record, some).side.tolist() == ["test", "train", "train"]
    with pytest.raises(DataError, match=r"images have come or gone since .*train again with a new --run-dir") as refusal:
        restore(record, whole)
    assert refusal.value.details == [f"in training: {NOTE}", "now: no site is left out"]


def test_all_fields_of_a_pack_are_there():
    with pytest.raises(UsageError, match="--available true was settled when the fields were packed"):
        config.Table(packed="p", available=True)
