import json

import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.report import curves
from tests.conftest import run_python


def run(folder, name, precision, losses):
    (folder / name).mkdir()
    lines = [{"kind": "train", "step": step + 1, "loss": loss} for step, loss in enumerate(losses)]
    lines.insert(1, {"kind": "held_out", "step": 1, "correct": 3, "total": 4})
    (folder / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / name / "config.yaml").write_text(f"preset: demo\nprecision: {precision}\n")
    return folder / name


def test_distances_by_hand():
    """Window 2: a 2, 3, 5; b 4, 5, 7 (2 from a); c 2, 3, 8 (0, 0, 3 from a; 2, 2, 1 from b)."""
    table = pd.DataFrame({("x", "a"): [2, 4, 6], ("x", "b"): [4, 6, 8], ("y", "c"): [2, 4, 12]})
    assert curves.distances(table, window=2) == {"within": 2.0, "between": pytest.approx((1 + 5 / 3) / 2)}


def test_the_command_draws_runs_and_keeps_their_numbers(tmp_path):
    runs = [run(tmp_path, "a", "float32", [2, 1]), run(tmp_path, "b", "bfloat16", [2, 1.5]),
            run(tmp_path, "c", "float32", [2, 2])]
    done = run_python("-m", "mscnn.bench", "curves", "--runs", ",".join(map(str, runs)), "--window", "1",
                      "--out", tmp_path / "curves.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "mean distance of two curves: 0.5000 within a precision, 0.2500 between"
    assert (tmp_path / "curves.png").stat().st_size > 5000
    table = pd.read_csv(tmp_path / "curves.csv", header=[0, 1], index_col=0)
    assert table["float32"][str(runs[2])].tolist() == [2, 2]
    assert table["bfloat16"][str(runs[1])].tolist() == [2, 1.5]


def test_refusals(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no training step"):
        curves.losses(tmp_path / "empty")
    with pytest.raises(DataError, match="name a run directory"):
        curves.losses(tmp_path / "nowhere")
    done = run_python("-m", "mscnn.bench", "curves", "--runs", tmp_path, "--out", "x.png", "--by", "colour")
    assert done.returncode == 2
    assert "setting of train.py, got 'colour'" in done.stderr
