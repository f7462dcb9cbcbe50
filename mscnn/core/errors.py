"""What can go wrong for a user, and the exit code it ends with.  0 is success, 1 a fault of ours (with a traceback), 130
an interrupt from the keyboard.
"""

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

SHOWN = 20  # offenders printed; the rest go to a file
PROBLEMS = "problems.txt"
PAUSE = 1.0  # seconds by which silent ranks end later: launchers kill all with the first, and one has to speak


class UsageError(ValueError):
    """A setting, option or combination that cannot work. Exit code 2."""

    exit_code = 2
    this_rank_only = False  # True: no other rank knows of it, so the rank that raises it reports it


class DataError(ValueError):
    """Tables or images that do not fit. Exit code 3.

    what: one line with the remedy; offenders: every row, file or value concerned, one line each.
    """

    exit_code = 3
    this_rank_only = False  # True: other ranks do not know of it, so the rank that raises it must speak

    def __init__(self, what: str, offenders: Sequence[str] = ()):
        self.what, self.details = what, list(offenders)
        super().__init__(what)

    def __str__(self) -> str:
        lines = [self.what, *(f"  {offender}" for offender in self.details[:SHOWN])]
        if len(self.details) > SHOWN:
            lines.append(f"  ... and {len(self.details) - SHOWN} more")
        return "\n".join(lines)


class ImageError(DataError):
    """One image that turned out unreadable while it was being read, by one rank alone."""

    this_rank_only = True


class Stopped(Exception):
    """The run was told to stop, and has saved what it needs to go on. Exit code 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class RankLost(RuntimeError):
    """Other ranks were not met, or this one got no further. Exit code 4.

    alone: False where another rank says so.
    """

    exit_code = 4
    this_rank_only = True


@contextmanager
def details_to_file(folder: Path, *, is_reporter: bool = True) -> Iterator[None]:
    """Where a DataError within names more offenders than are printed, write them all to folder/problems.txt.

    speak: only one rank of several writes.
    """
    try:
        yield
    except DataError as problem:
        if is_reporter and len(problem.details) > SHOWN:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / PROBLEMS).write_text("\n".join(problem.details) + "\n")
            problem.what += f" (all {len(problem.details)} are listed in {folder / PROBLEMS})"
        raise


def printable(text: str) -> str:
    """The text on one line, with control characters written as `\\n`: a name may hold any."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def print_error(what: str) -> None:
    """A line, or several, on the error output, as of the entry point."""
    lines = map(printable, f"{Path(sys.argv[0]).name}: {what}".split("\n"))
    print("\n".join(lines), file=sys.stderr, flush=True)


def ignore_signals() -> None:
    """From here on this process ends by itself, with its own exit code: launchers signal all ranks when the first ends."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def run(program: Callable[[], Result], is_reporter: Callable[[], bool] = lambda: True,
        on_exit: Callable[[int], object] = lambda code: None) -> Result:
    """Run an entry point; a user's mistake ends it with a plain message and its exit code.

    speaks: whether this rank says what all of them know; what it alone knows (`alone`) it says in any case.
    fails: told the exit code, for a launcher that does not look at it.
    """
    try:
        return program()
    except (Exception, KeyboardInterrupt) as problem:
        ignore_signals()
        code = _report(problem, is_reporter)
    on_exit(code)
    sys.exit(code)


def _report(problem: BaseException, speaks: Callable[[], bool]) -> int:
    """Say what ended the program, or leave that to the rank that does; returns the exit code."""
    if isinstance(problem, UsageError | DataError | Stopped | RankLost):
        if getattr(problem, "this_rank_only", False) or (speaks() and not isinstance(problem, RankLost)):
            print_error(f"{'stopped' if isinstance(problem, Stopped) else 'error'}: {problem}")
        else:
            time.sleep(PAUSE)
        return problem.exit_code
    if isinstance(problem, KeyboardInterrupt):
        if speaks():
            print_error("interrupted")
        return 130
    if not getattr(problem, "reported", False):
        traceback.print_exception(problem)
    return 1
