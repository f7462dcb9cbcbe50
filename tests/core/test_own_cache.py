"""A cache and its files are used where their user alone can write them."""

import os

import pytest

from mscnn.core.own_cache import own_folder, read_own, write_own


def test_a_file_is_read_as_it_was_written_and_is_its_users_alone(tmp_path):
    folder, problem = own_folder(tmp_path / "new" / "cache")
    assert (folder, problem) == (tmp_path / "new" / "cache", "")
    before = os.umask(0)
    try:
        write_own(folder / "file", b"first")
        write_own(folder / "file", b"second")
    finally:
        os.umask(before)
    assert read_own(folder / "file", largest=6) == b"second"
    assert [(path.name, path.stat().st_mode & 0o777) for path in folder.iterdir()] == [("file", 0o600)]


@pytest.mark.parametrize(("kind", "reason"), [("link", "Too many levels"), ("folder", "it is no file"),
                                              ("pipe", "it is no file"), ("writable", "others can write it"),
                                              ("large", "it has 5 bytes"), ("missing", "No such file")])
def test_what_is_no_file_of_its_own_is_not_read(tmp_path, kind, reason):
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_bytes(b"other")
    make = {"link": lambda: path.symlink_to(other), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path),
            "writable": lambda: (path.write_bytes(b"ours"), path.chmod(0o602)), "large": lambda: path.write_bytes(b"large"),
            "missing": lambda: None}
    make[kind]()
    with pytest.raises(OSError, match=reason):
        read_own(path, largest=4)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    other, path = tmp_path / "other", tmp_path / "file"
    other.write_bytes(b"other")
    path.symlink_to(other)
    write_own(path, b"own")
    assert (path.is_symlink(), path.read_bytes(), other.read_bytes()) == (False, b"own", b"other")


def test_a_folder_that_others_can_write_or_that_is_none_is_not_used(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert own_folder(tmp_path / "file") == (None, f"{tmp_path / 'file'} cannot be used (File exists)")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o770)
    assert own_folder(tmp_path / "shared") == (
        None, f"others can write {tmp_path / 'shared'}; change that with chmod 700")
