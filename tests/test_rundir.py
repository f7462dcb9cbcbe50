import json

import pytest

from mscnn import rundir
from mscnn.errors import UsageError


def test_runs_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(rundir.choose(None, "demo")) == "runs/demo-001"
    for name in ("demo-001", "demo-007", "demo-old", "other-009"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert str(rundir.choose(None, "demo")) == "runs/demo-008"


def test_work_that_is_there_is_never_overwritten(tmp_path):
    assert rundir.choose(str(tmp_path / "new"), "demo") == tmp_path / "new"
    assert rundir.choose(str(tmp_path), "demo") == tmp_path  # empty
    (tmp_path / "problems.txt").write_text("left by a refused attempt")
    assert rundir.choose(str(tmp_path), "demo") == tmp_path
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UsageError, match="exists and is not empty; name a new one with --run-dir"):
        rundir.choose(str(tmp_path), "demo")


def test_a_run_describes_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "demo", "--hold-out", "a b"])
    rundir.create(tmp_path / "run", "epochs: 3\n", rundir.environment(ranks=2))
    assert (tmp_path / "run" / "command.txt").read_text().endswith("train.py demo --hold-out 'a b'\n")
    assert (tmp_path / "run" / "config.yaml").read_text() == "epochs: 3\n"
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["ranks"] == 2
    assert environment["packages"]["torch"][0].isdigit()
    assert (tmp_path / "run" / "checkpoints").is_dir()
