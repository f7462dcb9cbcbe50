"""How signals end a program that listens as a training does, in a process of its own."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mscnn.core import run_directory
from tests.conftest import ROOT

PROGRAM = """
import functools, pathlib, sys, time
from mscnn.core import errors, files, logs, run_directory
from mscnn.distributed import heartbeat
from mscnn.training.stop_signal import StopRequest

def program():
    stop, folder = StopRequest(), pathlib.Path(sys.argv[1])
    logs.open_logs(0, folder)
    heartbeat.write_to(folder / "log", on_failure=functools.partial(run_directory.update_status, folder))
    files.write_json(folder / run_directory.STATUS, {"status": "running"})
    stop.call(functools.partial(run_directory.mark_stopping, folder))
    (folder / "ready").touch()
    while not stop() or sys.argv[2] == "hangs":
        time.sleep(0.02)
        logs.log.info("a line")
    run_directory.update_status(folder, status="stopped", reason=stop.reason)
    raise errors.Stopped(stop.reason)

errors.run(lambda: heartbeat.watch(program, 60))
"""


def start(folder: Path, what: str = "stops", *, ignored: int = 0) -> subprocess.Popen:
    """Start the program; return it once it listens."""
    command = [sys.executable, "-c", PROGRAM, str(folder), what]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: ignored and signal.signal(ignored, signal.SIG_IGN))
    wait_until((folder / "ready").exists)
    return process


def wait_until(happened) -> None:
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def status(folder: Path) -> dict:
    return run_directory.read_status(folder)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_each_signal_that_ends_a_job_stops_the_run(tmp_path, name):
    process = start(tmp_path)
    process.send_signal(signal.Signals[name])
    assert process.wait(60) == 75
    assert process.stderr.read() == f"-c: stopped: {name}\n"
    assert status(tmp_path) == {"status": "stopped", "reason": name}


@pytest.mark.parametrize(("first", "second"), [("SIGINT", "SIGINT"), ("SIGHUP", "SIGINT"), ("SIGQUIT", "SIGQUIT")])
def test_a_second_key_ends_a_run_that_hangs_at_once(tmp_path, first, second):
    process = start(tmp_path, "hangs")
    process.send_signal(signal.Signals[first])
    wait_until(lambda: status(tmp_path).get("status") == "stopping")
    time.sleep(0.3)
    process.send_signal(signal.Signals[second])
    code = 128 + signal.Signals[second]
    assert process.wait(60) == code
    assert process.stderr.read().endswith("interrupted from the keyboard\n")
    assert (status(tmp_path)["status"], status(tmp_path)["exit_code"]) == ("failed", code)


def test_a_key_that_a_launcher_passes_on_is_no_second_one(tmp_path):
    process = start(tmp_path, "hangs")
    for _ in range(5):
        process.send_signal(signal.SIGINT)
    wait_until(lambda: status(tmp_path).get("status") == "stopping")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()


def test_nohup_keeps_its_promise(tmp_path):
    process = start(tmp_path, ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 75
    assert status(tmp_path)["reason"] == "SIGTERM"


def test_a_terminal_that_closes_stops_the_run_in_order(tmp_path):
    """The lines that the run prints after that cannot be written."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, str(tmp_path), "stops"])
    wait_until((tmp_path / "ready").exists)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 75
    assert status(tmp_path)["reason"] == "SIGHUP"


def test_the_end_of_a_run_is_not_written_over(tmp_path):
    (tmp_path / run_directory.STATUS).write_text(json.dumps({"status": "finished"}))
    run_directory.mark_stopping(tmp_path, "SIGINT")
    assert status(tmp_path) == {"status": "finished"}
