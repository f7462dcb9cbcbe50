"""Progress of trainings that run in processes of their own, side by side: their steps, read from their run directories."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from mscnn.core import run_directory
from mscnn.core.errors import DataError
from mscnn.core.logs import Progress, clock, progress, watched
from mscnn.core.record_files import read_json
from mscnn.distributed import diagnosis

SAMPLE = 1.0          # seconds between two looks at the run directories
SCALE = 1000          # units of the bar for a training
TRAINED = 0.8         # share of the time of a training and its evaluation that the steps take, until it is measured
ETA, TAIL = "eta ", 4096  # what a line of a log has that says how far an evaluation is; bytes that are read for it


class FoldProgress:
    """How far the trainings of a cross-validation are, and when they will have ended."""

    def __init__(self, total: int, what: str):
        """Begin. total: trainings that are left, each with its evaluation; what: what they are called together."""
        self.total, self.what, self.finished = total, what, 0
        self.trained = TRAINED                            # as measured on those that have finished
        self._running: dict[str, tuple[Path, Path]] = {}  # run directory and log of each training
        self._stepped: dict[str, float] = {}              # time at which the last step of each was seen
        self._lock = threading.Lock()
        self._credit = 0.0                                # shares that were done before, of trainings that are resumed
        self._first: tuple[float, float] | None = None    # time, and trainings done by then, when a step was first seen

    @contextmanager
    def training(self, name: str, run_dir: Path, log_file: Path) -> Iterator[None]:
        """Count a training and its evaluation, which run in the block, as finished after it."""
        before, begun = share_done(run_dir)[0], time.monotonic()
        with self._lock:
            self._credit += before * self.trained
            self._running[name] = run_dir, log_file
        try:
            yield
        finally:
            with self._lock:
                del self._running[name]
                self.finished += 1
                if before == 0 and name in self._stepped:
                    self.trained = (self._stepped[name] - begun) / (time.monotonic() - begun)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the progress while the block runs: a bar on a terminal, elsewhere a line every ten seconds."""
        with progress(self.total * SCALE, self.what) as bar, watched(partial(self._watch, bar)):
            yield

    def done(self) -> tuple[float, list[str]]:
        """Return how many trainings are done, and what each of those that run does, as "fold-2 step 120/450"."""
        with self._lock:
            running, finished = dict(self._running), self.finished
        shares = {name: share_done(run_dir) for name, (run_dir, _) in running.items()}
        for name, (share, _, _) in shares.items():
            if share == 1:
                self._stepped.setdefault(name, time.monotonic())
        notes = [f"{name} step {step}/{steps}" if 0 < share < 1 else
                 f"{name} {evaluating(running[name][1]) if share else 'starting'}"
                 for name, (share, step, steps) in shares.items()]
        return finished + self.trained * sum(share for share, _, _ in shares.values()), notes

    def seconds_left(self, now: float, done: float) -> float:
        """Return the seconds that are left, by the speed since a step was first seen; NaN before that.

        now: of a clock, in seconds; done: trainings that are done by then.
        """
        earned = done - self._credit
        if self._first is None and earned > 0:
            self._first = now, earned
        since, first = self._first or (now, earned)
        return (now - since) / (earned - first) * (self.total - done) if earned > first else float("nan")

    def _watch(self, bar: Progress, ended: threading.Event) -> None:
        while not ended.wait(SAMPLE):
            done, notes = self.done()
            left = clock(self.seconds_left(time.monotonic(), done))
            bar.show(round(done * SCALE), f"{self.finished}/{self.total} done  {', '.join(notes)}", left)


def share_done(run_dir: Path) -> tuple[float, int, int]:
    """Return which share of its steps a training has taken, how many, and of how many; 0 of 0 before its first step."""
    status = run_directory.read_status(run_dir)
    steps, step = status.get("steps", 0), status.get("step", status.get("begun_at", 0))
    if (run_dir / run_directory.SUMMARY).exists():
        return 1.0, steps, steps or 1
    if status.get("status") in ("running", "stopping"):
        with suppress(DataError):  # not written yet
            step = read_json(diagnosis.heartbeat_file(run_dir / "log", 0), dict, "").get("step", step)
    counts = type(step) is type(steps) is int and 0 <= step <= steps
    return (step / steps, step, steps) if counts and steps else (0.0, 0, 0)


def evaluating(log_file: Path) -> str:
    """Return how far an evaluation is, by the last line of its log that says so, as "predicting  24/72 fields  eta 9s"."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            last = file.read().decode(errors="replace").splitlines()[-1:]
    except OSError:
        last = []
    return last[0] if last and ETA in last[0] else "evaluating"
