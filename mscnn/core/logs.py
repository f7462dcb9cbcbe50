"""Write the log to the console (rank 0) and a file per rank, metrics to metrics.jsonl and TensorBoard; show progress."""

import json
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mscnn.core.errors import printable
from mscnn.core.files import write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger("mscnn")
TRAIN, HELD_OUT = "train", "held_out"  # kinds of metrics
PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal
QUIET = 5.0  # seconds that a work without a count may be silent


def open_logs(rank: int, run_dir: Path | None) -> None:
    """Send log lines to the console on rank 0 (errors on the others) and to run_dir/log/rank-<rank>.txt.

    The first call has no run directory, which is made only after settings and data have been checked.  Lines until the
    second call are kept, and go to the file as well.
    """
    early = [record for handler in log.handlers if isinstance(handler, MemoryHandler) for record in handler.buffer]
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers.clear()
    console = _Console(sys.stdout)
    console.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    console.setFormatter(_Lines("%(message)s"))
    log.addHandler(console)
    if run_dir is None:
        log.addHandler(MemoryHandler(capacity=sys.maxsize, flushLevel=sys.maxsize))
    else:
        (run_dir / "log").mkdir(parents=True, exist_ok=True)
        lines = _File(run_dir / "log" / f"rank-{rank}.txt")
        lines.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(lines)
        for record in early:
            lines.handle(record)


class _Lines(logging.Formatter):
    """Escapes control characters, which a terminal would obey: names from tables may hold them."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


class _Console(logging.StreamHandler):
    """The console, which drops lines that it cannot take; at the exit errors.run finds out, and decides on the code."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError | MemoryError):
            super().handleError(record)


class _File(logging.FileHandler):
    """A log file that drops lines it cannot write, on a full disk for instance, and reports the first of them."""

    has_reported = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.has_reported:
            print(f"NOT LOGGED: {self.baseFilename} ({sys.exc_info()[1]})", file=sys.stderr, flush=True)
        self.has_reported = True


class Metrics:
    """Metrics of a run: lines of JSON in metrics.jsonl, and TensorBoard scalars. Rank 0 writes."""

    def __init__(self, run_dir: Path, rank: int, after: int = 0):
        """Open the files. after: the step from which the run resumes; lines of later steps are removed."""
        self._file: IO[str] | None = None
        self._board: SummaryWriter | None = None
        self.evaluated_steps: set[int] = set()  # at which held-out fields were evaluated; rank 0 knows
        if rank == 0:
            path = run_dir / "metrics.jsonl"
            if path.exists():
                kept = [line for line in path.read_text("utf-8", "replace").split("\n") if _step_of(line) <= after]
                records = [json.loads(line) for line in kept]
                self.evaluated_steps = {record["step"] for record in records if record.get("kind") == HELD_OUT}
                with write_atomically(path) as partial:
                    partial.write_text("".join(f"{line}\n" for line in kept))
            self._file = path.open("a")
            self._board = _open_board(run_dir / "tensorboard", after + 1)

    def write(self, kind: str, step: int, **numbers: float) -> None:
        """Write metrics at a step. kind: TRAIN or HELD_OUT; step: optimiser steps so far. JSON has null for NaN."""
        if self._file:
            finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
            with self._reporting(f"step {step}"):
                self._file.write(json.dumps({"kind": kind, "step": step, **finite}) + "\n")
                self._file.flush()
        if self._board:
            with self._reporting(f"step {step} for TensorBoard"):
                for name, value in numbers.items():
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._file, self._board):
            if file:
                with self._reporting("the end"):
                    file.close()

    @contextmanager
    def _reporting(self, when: str) -> Iterator[None]:
        """Report metrics that cannot be written, and go on: training is worth more than its curve."""
        try:
            yield
        except Exception as problem:  # of the disk, or of TensorBoard
            log.error("NOT WRITTEN: the metrics of %s (%s)", when, problem)


def _open_board(folder: Path, purge_step: int) -> "SummaryWriter | None":
    """Open the event file of TensorBoard; None, and a line in the log, where that fails for any reason."""
    try:
        from torch.utils import tensorboard  # slow to import, so not before it is needed

        return tensorboard.SummaryWriter(str(folder), purge_step=purge_step)
    except Exception as problem:  # of its packages, or of the disk
        log.error("NOT WRITTEN: metrics for TensorBoard (%s: %s); metrics.jsonl has them", type(problem).__name__, problem)
        return None


class Progress:
    """A progress bar with ETA on a terminal; elsewhere a log line every ten seconds; shown by rank 0."""

    def __init__(self, total: int, what: str, rank: int, unit: str, done: int = 0):
        """Show `done` of `total` units; what: the activity, for the log."""
        self.total, self.what, self.unit, self.done = total, what, unit, done
        self._done_before = done
        self._started = self._last_line = time.monotonic()
        self._terminal = sys.stderr.isatty() and rank == 0
        self._plain = not self._terminal and rank == 0
        from tqdm import tqdm  # here and below, so that --help comes at once

        self.bar = tqdm(total=total, initial=done, desc=what, unit=unit, disable=not self._terminal, dynamic_ncols=True)

    def advance(self, number: int = 1, note: str = "") -> None:
        """Add so many units. note: shown beside the numbers."""
        self.done += number
        self.bar.update(number)
        self.bar.set_postfix_str(note, refresh=False)
        now = time.monotonic()
        if self._plain and now - self._last_line >= PLAIN_INTERVAL and self.done < self.total:
            self._last_line = now
            done_here = self.done - self._done_before
            left = (now - self._started) / done_here * (self.total - self.done) if done_here else float("nan")
            log.info("%s  %d/%d %ss  %s  eta %s", self.what, self.done, self.total, self.unit, note, clock(left))

    def of_ranks(self, size: int) -> Callable[[int], object]:
        """Return what rank 0 calls with the units that it has just finished, of which the other ranks finish as many."""
        return lambda number: self.advance(min(number * size, self.total - self.done))

    def show(self, done: int, note: str, left: str) -> None:
        """Set the units that are done, for a caller that knows better than their number when all will be.

        left: the time that is left, as clock returns it.
        """
        self.done = done
        text = f"{note}  eta {left}".replace("{", "{{").replace("}", "}}")
        self.bar.bar_format = f"{{desc}}: {{percentage:3.0f}}%|{{bar:20}}| {text}"
        self.bar.n = done
        self.bar.refresh()
        now = time.monotonic()
        if self._plain and now - self._last_line >= PLAIN_INTERVAL:
            self._last_line = now
            log.info("%s  %s  eta %s", self.what, note, left)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()


@contextmanager
def progress(total: int, what: str, rank: int = 0, unit: str = "step", done: int = 0) -> Iterator[Progress]:
    """Yield a Progress whose bar stays below the log lines and is removed at the end; done: units done before."""
    shown = Progress(total, what, rank, unit, done)
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm([log], tqdm_class=tqdm) if rank == 0 else nullcontext():
        try:
            yield shown
        finally:
            shown.close()


@contextmanager
def working(what: str) -> Iterator[None]:
    """Log every ten seconds that the block is still at work, from the fifth on, where no count says how far it is."""
    started = time.monotonic()

    def watch(ended: threading.Event) -> None:
        pause = QUIET
        while not ended.wait(pause):
            log.info("%s  %s so far", what, clock(time.monotonic() - started))
            pause = PLAIN_INTERVAL

    with watched(watch):
        yield


@contextmanager
def watched(watch: Callable[[threading.Event], object]) -> Iterator[None]:
    """Call a function in a thread of its own while the block runs; its event is set when the block has ended."""
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(ended,), name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _step_of(line: str) -> float:
    """Return the step of a line of metrics.jsonl; infinity for a line that was cut off or damaged."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
    return step if isinstance(step, int) else math.inf


def clock(seconds: float) -> str:
    """Format seconds: 95 -> 1m35s."""
    if seconds != seconds:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
