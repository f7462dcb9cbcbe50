import json
import re
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mscnn.core import logs as module
from mscnn.core.logs import Metrics, clock, log, open_logs, progress, working


def test_rank_0_prints_and_every_rank_keeps_a_file(tmp_path, capsys):
    for rank in (0, 1):
        open_logs(rank, tmp_path)
        log.info("hello from %d", rank)
    assert capsys.readouterr().out == "hello from 0\n"
    for rank in (0, 1):
        assert f"hello from {rank}" in (tmp_path / "log" / f"rank-{rank}.txt").read_text()


def test_lines_before_the_run_directory_reach_its_file_too(tmp_path):
    open_logs(0, None)
    log.info("early")
    open_logs(0, tmp_path)
    log.info("late")
    lines = (tmp_path / "log" / "rank-0.txt").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["early", "late"]


def test_control_characters_are_escaped(tmp_path, capsys):
    open_logs(0, tmp_path)
    log.info("compound %s\n  of week 1", "\x1b[2Ja\r")
    assert capsys.readouterr().out == "compound \\x1b[2Ja\\r\n  of week 1\n"
    assert "compound \\x1b[2Ja\\r\n" in (tmp_path / "log" / "rank-0.txt").read_text()


def test_metrics_are_the_same_in_json_and_tensorboard(tmp_path):
    with Metrics(tmp_path, rank=0) as metrics:
        metrics.write("train", 5, loss=0.25, lr=0.5)
        metrics.write("train", 10, loss=float("nan"), lr=0.5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"kind": "train", "step": 5, "loss": 0.25, "lr": 0.5},
                     {"kind": "train", "step": 10, "loss": None, "lr": 0.5}]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert next((event.step, event.value) for event in board.Scalars("train/loss")) == (5, 0.25)


def test_a_full_disk_is_reported_and_its_lines_are_dropped(tmp_path, capsys):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "rank-0.txt").symlink_to(full)
    open_logs(0, tmp_path)
    log.info("one")
    log.info("two")
    out, err = capsys.readouterr()
    assert out == "one\ntwo\n"
    assert re.fullmatch(r"NOT LOGGED: \S+/rank-0.txt \(.*No space left on device.*\)\n", err)
    open_logs(0, None)
    with Metrics(tmp_path, rank=0) as metrics:
        metrics._file = full.open("w")
        metrics.write("train", 3, loss=0.5)
    out, _ = capsys.readouterr()
    assert re.search(r"NOT WRITTEN: the metrics of step 3 \(.*No space left on device\)\n", out)


def test_other_ranks_write_no_metrics(tmp_path):
    with Metrics(tmp_path / "none", rank=1) as metrics:
        metrics.write("train", 1, loss=1.0)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("rank", "lines"), [(0, 2), (1, 0)])
def test_progress_is_plain_lines_without_a_terminal(capsys, monkeypatch, rank, lines):
    monkeypatch.setattr(module, "PLAIN_INTERVAL", 0.0)
    open_logs(rank, None)
    with progress(3, "training", rank) as shown:
        for _ in range(3):
            shown.advance(note="epoch 1/2")
    out = capsys.readouterr().out.splitlines()
    assert len(out) == lines  # not after the last one
    assert all("training" in line and "eta" in line and "epoch 1/2" in line for line in out)


def test_progress_is_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    open_logs(0, None)
    with progress(2, "training") as shown:
        shown.advance()
        time.sleep(0.11)  # the bar redraws at most ten times a second
        shown.advance()
    assert "100%" in capsys.readouterr().err


def test_a_caller_that_knows_better_sets_what_is_done_and_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr(module, "PLAIN_INTERVAL", 0)
    open_logs(0, None)
    with progress(3000, "folds") as shown:
        shown.show(500, "0/3 done  fold-0 {a} step 20/40", "1m15s")
    assert capsys.readouterr().out == "folds  0/3 done  fold-0 {a} step 20/40  eta 1m15s\n"
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    with progress(3000, "folds") as shown:
        shown.show(500, "0/3 done  fold-0 {a} step 20/40", "1m15s")
        assert re.fullmatch(r"folds:  17%\|.{20}\| 0/3 done  fold-0 \{a\} step 20/40  eta 1m15s", str(shown.bar).rstrip())


def test_a_work_without_a_count_says_that_it_goes_on_and_a_short_one_nothing(capsys, monkeypatch):
    """The finding: an evaluation was silent for 40 s after "predicting 100 %"."""
    open_logs(0, None)
    with working("scores"):
        time.sleep(0.01)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(module, "QUIET", 0.01)
    monkeypatch.setattr(module, "PLAIN_INTERVAL", 0.01)
    with working("scores"):
        time.sleep(0.2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert set(lines) == {"scores  0s so far"}


def test_clock():
    assert [clock(seconds) for seconds in (9.4, 95, 3_700, float("nan"))] == ["9s", "1m35s", "1h01m", "?"]


def test_metrics_are_written_where_tensorboard_fails(tmp_path, capsys, monkeypatch):
    def fail(*arguments, **options):
        raise TypeError("Descriptors cannot be created directly")
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", fail)
    open_logs(0, None)
    with Metrics(tmp_path, 0) as metrics:
        metrics.write("train", 1, loss=0.5)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"kind": "train", "step": 1, "loss": 0.5}
    said = [line for line in capsys.readouterr().out.splitlines() if "NOT WRITTEN" in line]
    assert said == ["NOT WRITTEN: metrics for TensorBoard (TypeError: Descriptors cannot be created directly); "
                    "metrics.jsonl has them"]


@pytest.mark.parametrize("line", [b'{"step": "x"}', b"\xff\xfe", b"[" * 10**5, b'{"kind": "tr', b"3"])
def test_damaged_lines_of_metrics_are_dropped_where_a_run_resumes(tmp_path, line):
    good = b'{"kind": "held_out", "step": 2}'
    (tmp_path / "metrics.jsonl").write_bytes(good + b"\n" + line + b"\n" + good)
    with Metrics(tmp_path, 0, after=2) as metrics:
        assert metrics.evaluated_steps == {2}
    assert (tmp_path / "metrics.jsonl").read_bytes() == good + b"\n" + good + b"\n"
