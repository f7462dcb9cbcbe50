"""The activity of each thread of this process, and since when: the heartbeat reports it, and ends a rank that hangs.

A thread names its activity when it begins something that must end.  The name has an effect only while
`distributed.heartbeat.watch` runs the program.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXCHANGE = "waiting for the other ranks"
_activities: dict[int, tuple[str, float]] = {}  # by thread: its activity, and time.monotonic() when that began


def set_activity(name: str) -> None:
    """Set the activity of this thread."""
    _activities[threading.get_ident()] = name, time.monotonic()


def clear() -> None:
    """Remove the activity of this thread: it does nothing that could hang."""
    _activities.pop(threading.get_ident(), None)


@contextmanager
def during(name: str) -> Iterator[None]:
    """Set the activity of this thread within the block; afterwards restore the one before, timed from then."""
    before, _ = _activities.get(threading.get_ident(), ("", 0.0))
    set_activity(name)
    try:
        yield
    finally:
        set_activity(before) if before else clear()


def current() -> dict[int, tuple[str, float]]:
    """Return a copy of all activities and their starts (time.monotonic()), by thread identifier."""
    return dict(_activities)
