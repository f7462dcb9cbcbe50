"""Told to stop: by a signal of the batch system, or by the clock."""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Remembers that this process was told to stop; nothing is interrupted, and being told twice changes nothing.

    hours: after which it counts as told, from now; 0: never.  reason: what told it, "" as long as nothing did.
    """

    def __init__(self, hours: float = 0.0):
        self.reason = ""
        self._hours, self._until = hours, time.monotonic() + 3600 * hours
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def __call__(self) -> bool:
        """Whether it was told."""
        if self._hours and time.monotonic() > self._until:
            self.reason = self.reason or f"--stop-after {self._hours:g}"
        return bool(self.reason)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name
