"""Where a run's words go: the console (rank 0), a file per rank, metrics.jsonl, TensorBoard, and a progress bar."""

import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from logging.handlers import MemoryHandler
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from mscnn.core.errors import printable
from mscnn.core.files import write_atomically

log = logging.getLogger("mscnn")
TRAIN, HELD_OUT = "train", "held_out"  # kinds of numbers
PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal


def open_logs(rank: int, run_dir: Path | None) -> None:
    """Send log lines to the console on rank 0 (errors on the others) and to run_dir/log/rank-<rank>.txt.

    Called first without a run directory, which is made once settings and data are known to be good; lines spoken
    until then are kept and go to the file as well.
    """
    early = [record for handler in log.handlers if isinstance(handler, MemoryHandler) for record in handler.buffer]
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers.clear()
    console = logging.StreamHandler(sys.stdout)
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
    """A table's names come into the log as they are, and may hold control characters, which a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


class _File(logging.FileHandler):
    """Lines of the log that cannot be written, on a full disk for instance, are left out; that is told once."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.told:
            print(f"NOT LOGGED: {self.baseFilename} ({sys.exc_info()[1]})", file=sys.stderr, flush=True)
        self.told = True


class Metrics:
    """Numbers over time: a line of JSON each in metrics.jsonl, and TensorBoard scalars. Rank 0 writes.

    after: the step from which a run goes on; what an earlier process wrote of later ones is taken out, to come again.
    looked_at: steps after which that one looked at the held-out side.
    """

    def __init__(self, run_dir: Path, rank: int, after: int = 0):
        self._file = self._board = None
        self.looked_at: set[int] = set()
        if rank == 0:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, so not before it is needed

            path = run_dir / "metrics.jsonl"
            if path.exists():
                kept = [line for line in path.read_text().splitlines() if _step_of(line) <= after]
                self.looked_at = {json.loads(line)["step"] for line in kept if json.loads(line).get("kind") == HELD_OUT}
                with write_atomically(path) as partial:
                    partial.write_text("".join(f"{line}\n" for line in kept))
            self._file = path.open("a")
            self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=after + 1)

    def write(self, kind: str, step: int, **numbers: float) -> None:
        """kind: TRAIN or HELD_OUT; step: optimiser steps taken so far. What is not finite is null in JSON."""
        if self._file is not None:
            finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
            with self._told(step):
                self._file.write(json.dumps({"kind": kind, "step": step, **finite}) + "\n")
                self._file.flush()
                for name, value in numbers.items():
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            for file in (self._file, self._board):
                with self._told(None):
                    file.close()

    @contextmanager
    def _told(self, step: int | None) -> Iterator[None]:
        """What cannot be written is told and left out: training is worth more than its curve."""
        try:
            yield
        except OSError as problem:
            log.error("NOT WRITTEN: the numbers of %s (%s)", "the end" if step is None else f"step {step}", problem)


class Progress:
    """A bar with ETA on a terminal; elsewhere a plain line every ten seconds; shown by rank 0."""

    def __init__(self, total: int, what: str, rank: int, unit: str, done: int = 0):
        self.total, self.what, self.unit, self.done, self.begun = total, what, unit, done, done
        self._started = self._spoken = time.monotonic()
        self._terminal = sys.stderr.isatty() and rank == 0
        self._plain = not self._terminal and rank == 0
        self.bar = tqdm(total=total, initial=done, desc=what, unit=unit, disable=not self._terminal, dynamic_ncols=True)

    def advance(self, number: int = 1, note: str = "") -> None:
        """So many units are done."""
        self.done += number
        self.bar.update(number)
        self.bar.set_postfix_str(note, refresh=False)
        now = time.monotonic()
        if self._plain and now - self._spoken >= PLAIN_INTERVAL and self.done < self.total:
            self._spoken = now
            fresh = self.done - self.begun
            left = (now - self._started) / fresh * (self.total - self.done) if fresh else float("nan")
            log.info("%s  %d/%d %ss  %s  eta %s", self.what, self.done, self.total, self.unit, note, clock(left))

    def close(self) -> None:
        """Take the bar down."""
        self.bar.close()


@contextmanager
def progress(total: int, what: str, rank: int = 0, unit: str = "step", done: int = 0) -> Iterator[Progress]:
    """A Progress whose bar stays below the log lines and is taken down at the end; done: before it began."""
    shown = Progress(total, what, rank, unit, done)
    with logging_redirect_tqdm([log], tqdm_class=tqdm) if rank == 0 else nullcontext():
        try:
            yield shown
        finally:
            shown.close()


def _step_of(line: str) -> float:
    """The step of a line of metrics.jsonl; that of a line that was cut off comes after all others."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


def clock(seconds: float) -> str:
    """95 -> 1m35s."""
    if seconds != seconds:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
