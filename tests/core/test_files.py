"""Locks of folders and files: one writer at a time, and none that outlives its process."""

import subprocess
import sys

import pytest

from mscnn.core.errors import UsageError
from mscnn.core.files import LOCK, locked_folder, write_atomically
from tests.conftest import ROOT

HOLD = """
import pathlib, sys, time
from mscnn.core.files import hold_folder
hold_folder(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def test_one_process_at_a_time_writes_in_a_folder(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], cwd=ROOT, stdout=subprocess.PIPE,
                              text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="out: another process writes there; wait until it ends, or name another folder"), \
            locked_folder(tmp_path / "out"):
        pass
    holder.kill()
    holder.wait()
    assert (tmp_path / "out" / LOCK).exists()  # what a killed process leaves holds nobody up
    with locked_folder(tmp_path / "out"), pytest.raises(UsageError, match="another process writes there"), \
            locked_folder(tmp_path / "out"):
        pass
    with locked_folder(tmp_path / "out"):
        pass
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_is_free_again_after_a_failure(tmp_path):
    with pytest.raises(ZeroDivisionError), locked_folder(tmp_path / "out"):
        raise ZeroDivisionError
    with locked_folder(tmp_path / "out"):
        pass


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "report.html"
    with write_atomically(path, alone=True) as partial:
        with pytest.raises(UsageError, match=r"report\.html: another process writes it"), \
                write_atomically(path, alone=True):
            pass
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]
