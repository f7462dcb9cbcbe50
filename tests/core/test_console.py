"""A refusal keeps its exit code whatever has become of the console, and leaves no traceback."""

import subprocess
import sys

import pytest

from mscnn.core import console, errors
from tests.conftest import ROOT

REFUSED = (sys.executable, "-m", "mscnn", "gather", "/nowhere", "--out", "/nowhere/else")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&- <&-", "2>/dev/full", ">/dev/full"])
def test_the_exit_code_of_a_refusal_stays_where_the_console_is_closed_or_full(redirection):
    done = subprocess.run(["bash", "-c", f'"$@" {redirection}', "bash", *REFUSED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert ("no evaluation to read" in done.stderr) == ("2>" not in redirection)


class Speechless(errors.DataError):
    """An error whose message cannot be made."""

    def __init__(self, failure: Exception):
        super().__init__("x")
        self.failure = failure

    def __str__(self) -> str:
        raise self.failure


@pytest.mark.parametrize("failure", [MemoryError(), RecursionError(), UnicodeError()])
def test_an_error_without_a_message_keeps_its_exit_code(failure, capsys):
    def program():
        raise Speechless(failure)
    with pytest.raises(SystemExit) as end:
        errors.run(program)
    assert end.value.code == 3
    assert capsys.readouterr().err.endswith(": error: Speechless: its message cannot be written\n")


@pytest.mark.parametrize("failure", [OSError(28, "full"), MemoryError(), ValueError("I/O operation on closed file")])
def test_a_stream_that_takes_nothing_is_no_failure(monkeypatch, failure):
    class Stream:
        def write(self, text):
            raise failure
    monkeypatch.setattr(sys, "stderr", Stream())
    console.say("x")


def test_details_that_cannot_be_written_leave_the_refusal(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.DataError, match="bad \\(the list of all 30 cannot be written"), \
            errors.details_to_file(tmp_path / "file"):
        raise errors.DataError("bad", ["x"] * 30)
