import os
import pickle  # noqa: TID251  # to make what must be refused
import re
import shutil
import zipfile

import pytest
import torch
from torch.torch_version import TorchVersion

from mscnn import checkpoint
from mscnn.errors import DataError, UsageError

CONTENT = {key: {} for key in checkpoint.REQUIRED if key not in ("format", "sha256")} | {
    "step": 1, "steps": 9, "network": {"w": torch.arange(3.0)}, "classes": ["a", "b"]}


def save(folder, step: int = 1, **options):
    return checkpoint.save(folder, CONTENT | {"step": step}, **{"keep": 2, **options})


def test_what_is_saved_is_loaded(tmp_path):
    path = save(tmp_path)
    content = checkpoint.load(path)
    torch.testing.assert_close(content["network"]["w"], torch.arange(3.0))
    assert content["classes"] == ["a", "b"]
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "step-00000001.pt"]
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 1


def test_the_newest_stay_and_those_that_have_a_name(tmp_path):
    for step in range(1, 8):
        save(tmp_path, step, is_best=step == 2)
    assert [path.name for path in checkpoint.steps(tmp_path)] == [f"step-{n:08d}.pt" for n in (7, 6, 2)]
    assert {name: os.readlink(tmp_path / name) for name in ("last.pt", "best.pt", "good.pt")} == {
        "last.pt": "step-00000007.pt", "best.pt": "step-00000002.pt", "good.pt": "step-00000006.pt"}
    for step in (8, 9):
        save(tmp_path, step, keep=1)
    assert [path.name for path in checkpoint.steps(tmp_path)] == [f"step-{n:08d}.pt" for n in (9, 8, 2)]  # good: the 8th


def test_a_process_that_was_killed_between_a_checkpoint_and_its_links_loses_none(tmp_path):
    for step in (1, 2):
        save(tmp_path, step, is_best=step == 1)
    checkpoint.go_on_from(tmp_path, tmp_path / "step-00000001.pt", is_best=False)  # as if the links of 2 had not been made
    checkpoint.go_on_from(tmp_path, save(tmp_path, 2), is_best=True)
    assert {os.readlink(tmp_path / name) for name in ("last.pt", "best.pt")} == {"step-00000002.pt"}
    checkpoint.go_on_from(tmp_path, save(tmp_path, 3), is_best=False)
    assert os.readlink(tmp_path / "best.pt") == "step-00000002.pt"


def test_a_save_that_fails_leaves_the_old_checkpoints(tmp_path, monkeypatch):
    before = save(tmp_path).read_bytes()

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path, 2)
    assert (tmp_path / "last.pt").read_bytes() == before
    monkeypatch.undo()
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["step-00000001.pt"]
    save(tmp_path, 3)
    assert not list(tmp_path.glob("*.partial"))  # what was left behind is gone


def test_nothing_is_written_where_room_is_short(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 12))
    with pytest.raises(OSError, match="1 MiB are needed and 0 free"):
        save(tmp_path)
    assert not os.listdir(tmp_path)


def test_a_run_directory_or_a_file_is_found(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(DataError, match="no checkpoint there"):
        checkpoint.read(tmp_path)
    save(folder)
    path = save(folder, 2)
    assert checkpoint.read(tmp_path)[0] == path
    assert checkpoint.read(folder / "step-00000001.pt")[1]["step"] == 1


def test_the_newest_whole_one_is_taken(tmp_path, caplog):
    paths = [save(tmp_path, step, keep=9) for step in (1, 2, 3)]
    paths[2].write_bytes(paths[2].read_bytes()[:-50])
    changed = torch.load(paths[1], weights_only=True)
    changed["network"]["w"][1] = 7.0
    torch.save(changed, paths[1])
    assert checkpoint.newest(tmp_path)[1]["step"] == 1
    paths[0].write_bytes(b"")
    with pytest.raises(DataError, match="none of its 3 checkpoints is whole") as raised:
        checkpoint.newest(tmp_path)
    assert [re.search(r"not (a readable|what was written)", text)[1] for text in raised.value.offenders] == [
        "a readable", "what was written", "a readable"]


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """In what is read of it: every byte of the weights, and of the numbers beside them."""
    path = save(tmp_path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        stored = [entry for entry in archive.infolist() if "/data" in entry.filename]
        places = [archive.read(entry) and whole.find(archive.read(entry)) + offset for entry in stored
                  for offset in range(0, entry.file_size, 7)]
    assert len(places) > 20
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1:])
        try:
            content = checkpoint.load(path)
        except DataError:
            continue
        assert checkpoint.digest({key: content[key] for key in CONTENT}) == checkpoint.digest(CONTENT)  # never used


def test_the_digest_tells_all_that_differs():
    tensor = torch.arange(4.0)
    others = [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None}, {"b": 1}, {"a": [1]}, {"a": [[1]]}, {"a": tensor},
              {"a": tensor.reshape(2, 2)}, {"a": tensor.double()}, {"a": tensor, "b": 1}, {"b": 1, "a": tensor}]
    assert len({checkpoint.digest(content) for content in others}) == len(others)
    square = torch.randn(2, 3, 4, 5)
    assert checkpoint.digest(square) == checkpoint.digest(square.contiguous(memory_format=torch.channels_last))
    with pytest.raises(TypeError, match="not TorchVersion"):
        checkpoint.digest({"torch": torch.__version__})


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    content = CONTENT | {"network": {"w": torch.tensor([1.0, float("nan")])}}
    path = checkpoint.save(tmp_path, content, keep=1)
    with pytest.raises(DataError, match="not finite"):
        checkpoint.load(path)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10**7))
    with pytest.raises(DataError, match=r"bytes that hold 10000000"):
        checkpoint.load(tmp_path / "bomb.pt")


@pytest.mark.parametrize(("version", "reads"), [("2.8.0+cpu", False), ("2.9.1", False), ("2.10.0", True), ("2.13.0", True)])
def test_torch_versions_that_a_file_can_trick_read_none(tmp_path, monkeypatch, version, reads):
    path = save(tmp_path)
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    if reads:
        assert checkpoint.load(path)["format"] == checkpoint.FORMAT
        return
    with pytest.raises(UsageError, match=rf"\.pt is not read: torch {re.escape(version)} .*torch 2\.10 or newer.*\.venv"):
        checkpoint.load(path)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-was-here",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": checkpoint.FORMAT, "network": Hostile()}, "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(DataError, match=f"{name}: not a readable checkpoint"):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "hostile-was-here").exists()


def test_foreign_and_older_files_are_refused(tmp_path):
    torch.save({"format": 99}, tmp_path / "newer.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"format": checkpoint.FORMAT, "step": 3}, tmp_path / "part.pt")
    for name, reason in {"newer": "format 99", "list": "format 'list'", "part": "lacks"}.items():
        with pytest.raises(DataError, match=reason):
            checkpoint.load(tmp_path / f"{name}.pt")
