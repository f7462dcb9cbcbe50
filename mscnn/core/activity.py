"""What each thread of this process is doing, and since when: the heartbeat reports it, and ends a rank that hangs.

A thread names an activity when it begins something that must come to an end.  Nothing follows from it unless
`distributed.heartbeat.watch` runs the program.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXCHANGE = "waiting for the other ranks"
_activities: dict[int, tuple[str, float]] = {}  # by thread: what it does, and time.monotonic() when it began


def set_activity(what: str) -> None:
    """Name what this thread does from now on."""
    _activities[threading.get_ident()] = what, time.monotonic()


def clear() -> None:
    """State that this thread does nothing that could hang."""
    _activities.pop(threading.get_ident(), None)


@contextmanager
def during(what: str) -> Iterator[None]:
    """Name what this thread does within the block; afterwards it does what it did before, timed anew."""
    before, _ = _activities.get(threading.get_ident(), ("", 0.0))
    set_activity(what)
    try:
        yield
    finally:
        set_activity(before) if before else clear()


def current() -> dict[int, tuple[str, float]]:
    """Return what each thread does and since when (time.monotonic()), by thread identifier: a copy."""
    return dict(_activities)
