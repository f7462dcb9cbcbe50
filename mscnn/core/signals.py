"""The signals by which a terminal, a launcher or a batch system ends a process.  Imports no torch."""

import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

# A terminal that closes; Ctrl-C; Ctrl-\; batch systems and launchers; warnings before their limits; a limit of CPU time.
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
KEYS = (signal.SIGINT, signal.SIGQUIT)            # from the keyboard
OF_TERMINAL = (signal.SIGHUP, *KEYS)              # which a terminal sends to all processes of a job


class Ended(KeyboardInterrupt):
    """A signal ended this process. Exit code 128 + its number."""

    def __init__(self, number: int):
        self.exit_code = 128 + number
        super().__init__("interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}")


def listen(handler: Callable[[int, FrameType | None], Any]) -> dict[int, Any]:
    """Set the handler of all signals that end a process; return the handlers before.

    A signal that is ignored stays so: nohup starts a process that ignores SIGHUP, and `&` in a script one that ignores
    SIGINT and SIGQUIT.
    """
    return {number: signal.signal(number, handler) for number in ENDING if signal.getsignal(number) != signal.SIG_IGN}


def raise_ended(number: int, frame: FrameType | None) -> None:
    """Raise Ended: a handler of signals, under which `finally` clauses remove what is half written."""
    raise Ended(number)


def restore(handlers: dict[int, Any]) -> None:
    """Set these handlers again."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


def ignore(numbers: Iterable[int] = ENDING) -> None:
    """Ignore these signals from here on."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
