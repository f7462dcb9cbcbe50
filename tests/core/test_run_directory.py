import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mscnn.core import files, machine, run_directory
from mscnn.core.errors import UsageError


def create(asked=None) -> Path:
    return run_directory.create(asked, "demo", "epochs: 3\n", machine.environment(ranks=2))


def test_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(create()) == "runs/demo-001"
    for name in ("demo-007", "demo-old", "other-009"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(create()) == "runs/demo-008"
    (tmp_path / "runs" / "demo-1000").mkdir()
    assert str(create()) == "runs/demo-1001"


def test_runs_that_start_together_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: create(), range(24)))
    assert len(set(taken)) == 24


def test_work_that_is_there_is_never_overwritten(tmp_path):
    run_directory.require_unused(None)
    run_directory.require_unused(str(tmp_path / "new"))
    run_directory.require_unused(str(tmp_path))  # empty
    (tmp_path / "problems.txt").write_text("left by a refused attempt")
    run_directory.require_unused(str(tmp_path))
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UsageError, match="exists and is not empty; name a new one with --run-dir"):
        run_directory.require_unused(str(tmp_path))


def test_folders_that_cannot_be_written_are_refused():
    with pytest.raises(UsageError, match="/proc/none"):
        create("/proc/none")
    with pytest.raises(UsageError, match="/proc/none"):
        files.make_output_folder(Path("/proc/none"))


def test_a_run_describes_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "demo", "--hold-out", "a b"])
    assert create(str(tmp_path / "run")) == tmp_path / "run"
    assert (tmp_path / "run" / "command.txt").read_text().endswith("train.py demo --hold-out 'a b'\n")
    assert (tmp_path / "run" / "config.yaml").read_text() == "epochs: 3\n"
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["ranks"] == 2
    assert environment["packages"]["torch"][0].isdigit()
    assert (tmp_path / "run" / "checkpoints").is_dir()
