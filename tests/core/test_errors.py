import errno
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from mscnn.core import signals
from mscnn.core.errors import SHOWN, DataError, ImageError, Stopped, UsageError, details_to_file, print_error, refusal, run
from mscnn.core.files import write_atomically


@pytest.fixture(autouse=True)
def got():
    """The signals that this process receives and does not ignore; `run` ignores them."""
    got = []
    for number in signals.ENDING:
        signal.signal(number, lambda number, frame: got.append(number))
    return got


def test_few_details_are_printed_and_many_are_written(tmp_path):
    names = [f"file{n}" for n in range(SHOWN + 5)]
    with pytest.raises(DataError) as few, details_to_file(tmp_path):
        raise DataError("bad", names[:SHOWN])
    assert all(name in str(few.value) for name in names[:SHOWN])
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError) as many, details_to_file(tmp_path / "run"):
        raise DataError("bad", names)
    assert "and 5 more" in str(many.value)
    assert "problems.txt" in str(many.value)
    assert (tmp_path / "run" / "problems.txt").read_text().split() == names


@pytest.mark.parametrize(("problem", "code"), [(UsageError("wrong"), 2), (DataError("wrong"), 3), (ImageError("wrong"), 3)])
def test_a_users_mistake_ends_with_one_line_and_its_code(problem, code, capsys):
    def program():
        raise problem

    with pytest.raises(SystemExit) as end:
        run(program)
    assert end.value.code == code
    assert capsys.readouterr().err.endswith("error: wrong\n")


def test_an_error_that_all_ranks_know_is_reported_once(capsys):
    for problem, message in ((DataError("common"), ""), (ImageError("alone"), "alone")):
        def program(problem=problem):
            raise problem

        with pytest.raises(SystemExit):
            run(program, is_reporter=lambda: False)
        err = capsys.readouterr().err
        assert (err == "") if not message else err.endswith(f"error: {message}\n")


@pytest.mark.parametrize("reported", [False, True])
def test_internal_errors_end_with_their_traceback_unless_another_rank_has_reported_them(capsys, reported):
    ended = []

    def program():
        problem = ZeroDivisionError("ours")
        problem.reported = reported
        raise problem
    with pytest.raises(SystemExit) as raised:
        run(program, on_exit=lambda code, said: ended.append((code, said)))
    assert (raised.value.code, ended) == (1, [(1, "")])
    assert ("ZeroDivisionError: ours" in capsys.readouterr().err) is not reported


def test_an_interrupt_is_reported_in_a_line(capsys):
    def program():
        raise KeyboardInterrupt
    with pytest.raises(SystemExit) as raised:
        run(program)
    assert raised.value.code == 130
    assert capsys.readouterr().err.endswith(": interrupted\n")


def test_a_signal_while_it_ends_leaves_its_exit_code(got):
    def is_told() -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        return False

    def program():
        raise Stopped("told to stop")
    with pytest.raises(SystemExit) as raised:
        run(program, is_reporter=is_told)
    assert (raised.value.code, got) == (75, [])


def test_control_characters_are_escaped(capsys):
    print_error("plate \x1b[2J\rP1\u202e\n  of week 1")
    assert capsys.readouterr().err.endswith(": plate \\x1b[2J\\rP1\\u202e\n  of week 1\n")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGXCPU])
def test_a_signal_ends_a_command_with_one_line_and_leaves_nothing_half_written(tmp_path, capsys, number):
    for each in signals.ENDING:
        signal.signal(each, signal.SIG_DFL)

    def program():
        with write_atomically(tmp_path / "table") as partial:
            partial.write_text("half")
            os.kill(os.getpid(), number)
            time.sleep(60)
    with pytest.raises(SystemExit) as raised:
        run(program)
    assert raised.value.code == 128 + number
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.endswith("interrupted\n" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("problem", "code", "words"), [
    (OSError(errno.ENOSPC, "x", "a.csv"), 2, "a.csv: No space left on device; make room there"),
    (OSError(errno.EDQUOT, "x"), 2, "Disk quota exceeded; make room"),
    (OSError(errno.EROFS, "x", "a"), 2, "a: Read-only file system"),
    (OSError(errno.EFBIG, "x"), 2, "ulimit -f"), (OSError(errno.EMFILE, "x"), 2, "ulimit -n"),
    (OSError(errno.ENAMETOOLONG, "x", "a"), 2, "give a shorter name"),
    (PermissionError(errno.EACCES, "x", "a"), 2, "a: Permission denied; ask its owner"),
    (OSError(errno.EIO, "x", "a.tif"), 3, "a.tif: Input/output error; the disk or the network failed"),
    (OSError(errno.ESTALE, "x", "a"), 3, "the disk or the network failed"),
    (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "No space left on device"),
    (RuntimeError("PytorchStreamWriter failed writing file data/7"), 2, "No space left on device"),
    (OSError("16384 requested and 12184 written"), 2, "No space left on device"),
    (RuntimeError("can't start new thread"), 2, "ulimit -u")])
def test_what_a_disk_or_the_system_refuses_is_one_line(capsys, problem, code, words):
    def program():
        raise problem
    with pytest.raises(SystemExit) as raised:
        run(program)
    assert raised.value.code == code
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert words in line


def test_errors_of_the_program_itself_keep_their_traceback():
    for problem in (FileNotFoundError(errno.ENOENT, "x"), ConnectionRefusedError(errno.ECONNREFUSED, "x"), KeyError("x"),
                    UsageError("read [Errno 28] in a table")):
        assert refusal(problem) is None


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A limit of file sizes refuses what does not fit, as a full disk does."""
    code = ("import pathlib, sys; from mscnn.core import errors, files; "
            "errors.run(lambda: files.write_json(pathlib.Path(sys.argv[1]) / 'a.json', ['x' * 99999]))")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "a.json: File too large; raise the limit of file sizes" in done.stderr
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be_written_is_no_traceback():
    code = "from mscnn.core import errors; errors.run(lambda: print('x'))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
        silent = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=full)
    assert (done.returncode, silent.returncode) == (2, 2)
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
