"""Paths that cannot be what a user meant."""

import os
from pathlib import Path

import pytest

from mscnn.core import config, paths
from mscnn.core.errors import UsageError


@pytest.mark.parametrize(("value", "words"), [
    ("", "is empty"), (" \t", "is empty"), ("a\0b", "zero byte"), ("$RUN/x", "a variable that no shell has expanded"),
    ("${RUN}", "a variable"), ("$(pwd)/x", "a variable"), ("`pwd`", "a variable"), ("~/runs", "~, which no shell"),
    ("~", "~, which"), ("%(dir)s/x", "placeholder"), ("%RUN%", "placeholder"), ("{run}/x", "placeholder"),
    ("<DIR>", "placeholder"), ("'runs'", "quotes"), ("s3://bucket/x", "an address"),
    ("file:///x", "an address"), ("runs/x ", "a blank"), ("\nruns", "a blank"), ("a\rb", "a control character"),
    ("x" * 300, "File name too long"), ("file/below", "a part of it is a file"), ("file", "is a file; name a folder"),
    ("link", "is a link to nowhere"), ("loop", "symbolic links")])
def test_a_folder_to_write_that_cannot_be_meant_is_refused(tmp_path, monkeypatch, value, words):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("link").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    with pytest.raises(UsageError) as refusal:
        paths.check("--out", value, "DIR", written=True)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", ["new", "new/below", ".", "a b", "50%", "$real", "données", "../x", "C:x"])
def test_other_names_are_free(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    Path("$real").mkdir()  # whoever has such a folder means it
    paths.check("--out", value, "DIR", written=True)


def test_kinds_are_told_apart(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for value, kind, words in (("", "FILE", "is a folder; name a file"), ("", "CSV", "is a folder; name a file"),
                               ("file", "DIR", "is a file; name a folder"), ("pipe", "FILE", "is no regular file")):
        with pytest.raises(UsageError, match=words):
            paths.check("--x", str(tmp_path / value), kind, written=True)
    paths.check("--x", str(tmp_path), "PATH")
    paths.check("--x", str(tmp_path / "pipe"), "CSV")  # a table may come through a pipe


def test_a_folder_that_cannot_be_written_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # as root, all permissions are there
    for value, kind in (("new/below", "DIR"), ("", "DIR"), ("table.json", "FILE")):
        with pytest.raises(UsageError, match=f"cannot be written .{tmp_path} is read-only for this user"):
            paths.check("--out", str(tmp_path / value), kind, written=True)
    paths.check("--sites", str(tmp_path / "table.csv"), "CSV")


def test_files_of_others_are_not_written_over(tmp_path):
    def is_own(folder: Path) -> bool:
        return paths.has_keys(folder / "mark.json", "notes")
    paths.require_own(tmp_path / "absent", ["a.csv"], is_own)
    (tmp_path / "other.txt").touch()
    paths.require_own(tmp_path, ["a.csv", "mark.json"], is_own)
    (tmp_path / "a.csv").touch()
    for foreign in (None, "{}", "[]", "no JSON", '{"other": 1}'):
        if foreign is not None:
            (tmp_path / "mark.json").write_text(foreign)
        with pytest.raises(UsageError, match=r"holds (a\.csv|mark\.json), which this command would write over"):
            paths.require_own(tmp_path, ["a.csv", "mark.json"], is_own)
    (tmp_path / "mark.json").write_text('{"notes": []}')
    paths.require_own(tmp_path, ["a.csv", "mark.json"], is_own)


def test_a_record_refuses_a_path_that_is_empty():
    for values in ({"sites": ""}, {"packed": " "}, {"sites": "a.csv", "image_root": ""}):
        with pytest.raises(UsageError, match="is empty; give a path, or leave it out"):
            config.Table(**values)
