"""A request to stop: by a signal of the batch system, or by the clock.  Imports no torch."""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Remembers that this process was asked to stop; it interrupts nothing, and a second request changes nothing."""

    def __init__(self, hours: float = 0.0):
        """Listen for signals from here on; hours: after which the clock asks to stop, 0: never."""
        self.reason = ""  # what asked to stop; "" as long as nothing has
        self._hours, self._until = hours, time.monotonic() + 3600 * hours
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def __call__(self) -> bool:
        """Return whether this process was asked to stop."""
        if self._hours and time.monotonic() > self._until:
            self.reason = self.reason or f"--stop-after {self._hours:g}"
        return bool(self.reason)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name
