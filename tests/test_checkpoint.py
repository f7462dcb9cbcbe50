import os
import pickle
import re

import pytest
import torch
from torch.torch_version import TorchVersion

from mscnn import checkpoint
from mscnn.errors import DataError, UsageError

CONTENT = {key: {} for key in checkpoint.REQUIRED if key != "format"} | {"network": {"w": torch.arange(3.0)}}


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "a.pt"
    checkpoint.save(path, CONTENT)
    content = checkpoint.load(path)
    torch.testing.assert_close(content["network"]["w"], torch.arange(3.0))
    assert os.listdir(tmp_path) == ["a.pt"]


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    checkpoint.save(path, CONTENT)
    before = path.read_bytes()

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {**CONTENT, "step": 2})
    assert path.read_bytes() == before


def test_a_run_directory_or_a_file_is_found(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "last.pt"
    with pytest.raises(DataError, match="no checkpoint there"):
        checkpoint.find(tmp_path)
    checkpoint.save(path, CONTENT)
    assert checkpoint.find(tmp_path) == checkpoint.find(path) == path


@pytest.mark.parametrize(("version", "reads"), [("2.8.0+cpu", False), ("2.9.1", False), ("2.10.0", True), ("2.13.0", True)])
def test_torch_versions_that_a_file_can_trick_read_none(tmp_path, monkeypatch, version, reads):
    checkpoint.save(tmp_path / "a.pt", CONTENT)
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    if reads:
        assert checkpoint.load(tmp_path / "a.pt")["format"] == checkpoint.FORMAT
        return
    with pytest.raises(UsageError, match=rf"a\.pt is not read: torch {re.escape(version)} .*torch 2\.10 or newer.*\.venv"):
        checkpoint.load(tmp_path / "a.pt")


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-was-here",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "network": Hostile()}, "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(DataError, match=f"{name}: not a readable checkpoint"):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "hostile-was-here").exists()


def test_damaged_foreign_and_older_files_are_refused(tmp_path):
    checkpoint.save(tmp_path / "whole.pt", CONTENT)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-100])
    torch.save({"format": 99}, tmp_path / "newer.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"format": 1, "step": 3}, tmp_path / "part.pt")
    for name, reason in {"cut": "not a readable", "newer": "format 99", "list": "format 'list'", "part": "lacks"}.items():
        with pytest.raises(DataError, match=reason):
            checkpoint.load(tmp_path / f"{name}.pt")
