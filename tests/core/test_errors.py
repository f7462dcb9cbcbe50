import os
import signal

import pytest

from mscnn.core import signals
from mscnn.core.errors import SHOWN, DataError, ImageError, Stopped, UsageError, details_to_file, print_error, run


@pytest.fixture(autouse=True)
def got():
    """The signals that this process receives and does not ignore; `run` ignores them."""
    got, numbers = [], signals.ENDING
    before = [signal.signal(number, lambda number, frame: got.append(number)) for number in numbers]
    yield got
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


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
        run(program, on_exit=ended.append)
    assert (raised.value.code, ended) == (1, [1])
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
