"""The errors that a user may meet, their exit codes, and how an entry point ends with one.

Exit code 0 is success, 1 an error of the program itself (with a traceback), 130 an interrupt from the keyboard.
"""

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from mscnn.core import console

Result = TypeVar("Result")

SHOWN = 20  # details printed; the rest go to a file
PROBLEMS = "problems.txt"
PAUSE = 1.0  # seconds that other ranks wait for the rank that reports: launchers kill all ranks when the first one ends


class UsageError(ValueError):
    """A setting, option or combination that cannot work. Exit code 2."""

    exit_code = 2
    this_rank_only = False  # True: no other rank knows of it, so the rank that raises it reports it


class DataError(ValueError):
    """Tables or images that do not fit. Exit code 3."""

    exit_code = 3
    this_rank_only = False  # as of UsageError

    def __init__(self, what: str, details: Sequence[str] = ()):
        self.what = what              # one line: what, the value found, the remedy
        self.details = list(details)  # every row, file or value concerned, one line each
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what, *(f"  {detail}" for detail in self.details[:SHOWN])]
        if len(self.details) > SHOWN:
            lines.append(f"  ... and {len(self.details) - SHOWN} more")
        return "\n".join(lines)


class ImageError(DataError):
    """An image that one rank could not read."""

    this_rank_only = True


class Stopped(Exception):
    """The run was asked to stop, and has saved a checkpoint to resume from. Exit code 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class RankLost(RuntimeError):
    """Another rank was lost, or this one made no progress. Exit code 4."""

    exit_code = 4
    this_rank_only = True  # False: another rank reports it


@contextmanager
def details_to_file(folder: Path, *, is_reporter: bool = True) -> Iterator[None]:
    """Write all details of a DataError raised within the block to folder/problems.txt if they are too many to print.

    is_reporter: False on all ranks but one, so that one rank writes.
    """
    try:
        yield
    except DataError as problem:
        if is_reporter and len(problem.details) > SHOWN:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / PROBLEMS).write_text("\n".join(problem.details) + "\n", "utf-8", "backslashreplace")
                problem.what += f" (all {len(problem.details)} are listed in {folder / PROBLEMS})"
            except OSError as failure:
                problem.what += f" (the list of all {len(problem.details)} cannot be written: {failure.strerror})"
        raise


def printable(text: str) -> str:
    """Return the text on one line, control characters escaped as `\\n`: a name may hold any."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def program_name() -> str:
    """Return what the user started: train.py, or "mscnn pack" for any way to start that command."""
    path = Path(sys.argv[0])
    if path.name not in ("mscnn", "__main__.py"):
        return path.name
    words = [*(["bench"] if path.parent.name == "bench" else []), *sys.argv[1:]]
    command = words[:2 if words[:1] == ["bench"] else 1]
    return " ".join(["mscnn", *(word for word in command if not word.startswith("-"))])


def print_error(message: str) -> None:
    """Print a message of one or more lines to standard error, after the name of the program."""
    try:
        text = "\n".join(map(printable, f"{program_name()}: {message}".split("\n")))
    except Exception:  # no memory for a copy
        text = message
    console.say(text)


def ignore_signals() -> None:
    """Ignore SIGTERM and SIGUSR1, to keep the exit code: launchers signal all ranks when the first one ends."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def run(program: Callable[[], Result], is_reporter: Callable[[], bool] = lambda: True,
        on_exit: Callable[[int], object] = lambda code: None) -> Result:
    """Run an entry point; an error of the user ends it with one message and its exit code.

    is_reporter: tells whether this rank reports what all ranks know; an error with this_rank_only is reported in any case.
    on_exit: called with the exit code before the process exits, for launchers that ignore exit codes.
    """
    console.open_streams()
    try:
        try:
            return program()
        finally:
            sys.stdout.flush()  # here, where a closed pipe can still be handled
    except BrokenPipeError:  # whoever read the output, such as head, has had enough
        console.discard(sys.stdout)  # so that nothing is written to it at the exit
        code = 128 + signal.SIGPIPE
    except (Exception, KeyboardInterrupt) as problem:
        ignore_signals()
        code = _report(problem, is_reporter)
        with suppress(ValueError):  # of a stream that a library has closed
            try:
                sys.stdout.flush()
            except OSError:
                console.discard(sys.stdout)
    on_exit(code)
    sys.exit(code)


def _report(problem: BaseException, is_reporter: Callable[[], bool]) -> int:
    """Print what ended the program, or wait until another rank has; return the exit code."""
    if isinstance(problem, UsageError | DataError | Stopped | RankLost):
        if getattr(problem, "this_rank_only", False) or (is_reporter() and not isinstance(problem, RankLost)):
            print_error(f"{'stopped' if isinstance(problem, Stopped) else 'error'}: {console.text_of(problem)}")
        else:
            time.sleep(PAUSE)
        return problem.exit_code
    if isinstance(problem, KeyboardInterrupt):
        if is_reporter():
            print_error("interrupted")
        return 130
    if not getattr(problem, "reported", False):
        with suppress(Exception):  # of a console that is closed or full
            traceback.print_exception(problem)
    return 1
