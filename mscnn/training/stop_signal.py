"""A request to stop: by a signal of a terminal, a launcher or the batch system, or by the clock.  Imports no torch."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from mscnn.core import signals
from mscnn.core.logs import log
from mscnn.distributed import heartbeat, launchers

SAME_KEY = 0.1      # seconds within which a second signal is of the same Ctrl-C: some programs pass it on,
PASSED_ON = 2.0     # and launchers take so long for it


class StopRequest:
    """Remembers that this process was asked to stop, and interrupts nothing. A second Ctrl-C ends the process at once."""

    def __init__(self, hours: float = 0.0):
        """Listen for signals from here on; hours: after which the clock asks to stop, 0: never."""
        self.reason = ""  # what asked to stop; "" as long as nothing has
        self._hours, self._until = hours, time.monotonic() + 3600 * hours
        self._first: float | None = None  # time of the first signal
        self._on_signal: Callable[[str], object] = lambda reason: None
        self._lock = threading.Lock()
        self._same = SAME_KEY if launchers.detect().launcher == launchers.NONE else PASSED_ON
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signals.listen(self._set_flag)
        threading.Thread(target=self._listen, args=(read,), name="signals", daemon=True).start()

    def __call__(self) -> bool:
        """Return whether this process was asked to stop."""
        if self._hours and time.monotonic() > self._until:
            self.reason = self.reason or f"--stop-after {self._hours:g}"
        return bool(self.reason)

    def call(self, on_signal: Callable[[str], object]) -> None:
        """Call this with the signal's name once a signal asks to stop; at once where one has asked before."""
        with self._lock:
            self._on_signal = on_signal
            if self._first is not None:
                on_signal(self.reason)

    def _set_flag(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name

    def _listen(self, pipe: int) -> None:
        """Act on each signal as it comes: the main thread may compute for long before Python calls its handler."""
        while True:
            for number in os.read(pipe, 1):
                self._act(number)

    def _act(self, number: int) -> None:
        """Log the first signal; end the process at the second Ctrl-C."""
        now = time.monotonic()
        self._set_flag(number, None)
        if self._first is None:
            with self._lock:
                self._first = now
                self._on_signal(self.reason)
            again = "; Ctrl-C once more ends the run at once, without it" if number in signals.KEYS else ""
            log.warning("%s: the run ends after this step, with a checkpoint%s", self.reason, again)
        elif number in signals.KEYS and now - self._first > self._same:
            heartbeat.end_at_once(number)
