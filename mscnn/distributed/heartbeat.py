"""Notice a rank that hangs or is lost, end the job, and report once which rank, where and why.  Imports no torch.

Every thread that may hang names its activity (core/activity.py).  Once a second a rank writes the activities to
RUN/log/rank-N.json, its heartbeat.  An activity that exceeds the time limit ends its rank.  Ranks that lose another one
read the heartbeats to find out which (diagnosis.py).
"""

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NoReturn

from mscnn.core import activity, signals
from mscnn.core.activity import EXCHANGE
from mscnn.core.errors import PAUSE, DataError, RankLost, Result, Stopped, UsageError, print_error, refusal
from mscnn.distributed import diagnosis, launchers
from mscnn.distributed.diagnosis import FAILED, LEFT, NOTHING, REPORTED, RUNNING, Heartbeat

BEAT = 1.0      # seconds between two checks of the threads, and between two heartbeats
GRACE = 5.0     # seconds by which a rank that waits for others is more patient than they are
SILENT = 3.5    # seconds without a heartbeat, after which a rank is lost
STOPPED = 4.0   # seconds by which a check is late when this process was stopped, or the machine asleep
# Seconds that backends may wait: their clocks run on while a job is suspended, so the heartbeat must come first.
BACKEND_TIMEOUT = 86400.0
INTERRUPTED = "interrupted from the keyboard"
ALONE = launchers.RankInfo(launchers.NONE)


def set_time_limit(seconds: float, setting: str) -> None:
    """Limit every activity to so many seconds from now on; setting: the option that set the limit, for the report."""
    _this_rank.seconds, _this_rank.setting, _this_rank.not_before = seconds, setting, time.monotonic()
    _this_rank.schedule_stack_dump()


def record_step(step: int) -> None:
    """Set the number of steps taken so far, which the heartbeat shows."""
    _this_rank.step = step


def remove_stale(folder: Path) -> None:
    """Remove the files of ranks that failed or were killed before; one rank does so, before others write."""
    for stale in [*folder.glob("rank-*.json"), folder / REPORTED]:
        stale.unlink(missing_ok=True)


def write_to(folder: Path, on_failure: Callable[..., None] = lambda **facts: None) -> None:
    """Write heartbeats and stacks to this folder, which all ranks share.

    on_failure: takes status, reason, step and exit_code of what ended the job; the one rank that reports it calls this.
    """
    with contextlib.suppress(OSError):
        _this_rank.stacks = (folder / f"rank-{_this_rank.rank}.txt").open("a")
    _this_rank.folder, _this_rank.on_failure = folder, on_failure
    _this_rank.write_heartbeat()


def end_at_once(number: int) -> NoReturn:
    """End this rank for a signal from the keyboard, whatever its threads do, with exit code 128 + its number."""
    _this_rank.end_at_once(number)


def watch(program: Callable[[], Result], seconds: float) -> Result:
    """Run a program under a watch, as one rank of a job.

    seconds: limit of every activity (--start-timeout), until set_time_limit.
    Raises what the program raises, except for two: a RankLost names the lost rank and the reason, and a lack of memory
    becomes a UsageError.
    """
    global _this_rank
    _this_rank = _Watch(launchers.detect(), seconds)
    faulthandler.enable()  # a crash in compiled code prints its stack
    for work in (_this_rank.check_threads, _this_rank.write_heartbeats):
        threading.Thread(target=work, name="watchdog", daemon=True).start()
    activity.set_activity("starting")
    try:
        return program()
    except Stopped:
        raise
    except BaseException as problem:
        signals.ignore()
        _this_rank.ending.acquire()  # unless the watchdog already ends the process for the same reason
        if (replacement := _this_rank.report_failure(problem)) is problem:
            raise
        raise replacement from None
    finally:
        _this_rank.close()


class _Watch:
    """The watch over this process; there is one."""

    def __init__(self, info: launchers.RankInfo = ALONE, seconds: float = 1e9):
        self.rank, self.size = info.rank, info.size
        self.host, self.step = socket.gethostname(), 0
        self.seconds, self.setting = seconds, "--start-timeout"  # limit of an activity, and the option that set it
        self.not_before = 0.0  # time.monotonic() from which activities are timed
        self.folder: Path | None = None  # None: no heartbeats are written yet, or any more
        self.on_failure: Callable[..., None] = lambda **facts: None
        self.state, self.reason = RUNNING, ""
        self.number = 0  # heartbeats written so far
        self.closed, self.writes = threading.Event(), threading.Lock()
        self.ending = threading.Lock()  # held by the thread that ends this process
        self.stacks: IO[str] | None = None

    def name(self) -> str:
        return f"rank {self.rank} on {self.host}" if self.size > 1 else f"the process on {self.host}"

    def main_activity(self) -> str:
        """Return the activity of the main thread."""
        main = threading.main_thread().ident
        return next((name for thread, (name, _) in activity.current().items() if thread == main), NOTHING)

    def check_threads(self) -> None:
        """Until closed: end the rank if a thread is late; stop it in order if the process that started it has ended."""
        before, starters, parent = time.monotonic(), launchers.starters(), os.getppid()
        while not self.closed.wait(BEAT):
            now = time.monotonic()
            if now - before > BEAT + STOPPED:  # no thread of this process ran in that time
                self.not_before = now
            before = now
            if any(launchers.has_ended(starter, parent) for starter in starters):
                starters = []
                os.kill(os.getpid(), signal.SIGTERM)
            late = [(since, name) for name, since in activity.current().values()
                    if now - max(since, self.not_before) > self.seconds + (GRACE if name == EXCHANGE else 0)]
            late_alone = [each for each in late if each[1] != EXCHANGE]
            if late_alone or (late and not diagnosis.another_rank_works(self.read_heartbeats, self.rank, self.host,
                                                                        silent=SILENT, beat=BEAT)):
                self.abort_rank(min(late_alone or late)[1])

    def abort_rank(self, name: str) -> NoReturn:
        """End this rank, one of whose activities, `name`, exceeds the limit; the launcher then ends the job."""
        limit = f"longer than {self.setting} {self.seconds:g} s"
        threading.Timer(2 * GRACE, os._exit, (RankLost.exit_code,)).start()  # whatever else hangs, such as a file system
        self.ending.acquire()
        if name == EXCHANGE:
            problem = self.rank_lost(f"{self.name()} waited {limit} for the other ranks")
            message, is_reporter = str(problem), problem.this_rank_only
        else:
            message, is_reporter = f"{self.name()} made no progress: {name} took {limit}", self.is_first_to_report()
        if is_reporter:
            print_error(f"error: {message}")
        if name != EXCHANGE:
            if is_reporter:
                faulthandler.dump_traceback(sys.stderr)
            self.publish_end(FAILED, message, RankLost.exit_code, is_reporter=is_reporter)
        if self.stacks:
            faulthandler.dump_traceback(self.stacks)
        if not is_reporter:
            time.sleep(PAUSE)
        os._exit(RankLost.exit_code)

    def end_at_once(self, number: int) -> NoReturn:
        """End this rank for a signal from the keyboard."""
        code = 128 + number
        threading.Timer(PAUSE, os._exit, (code,)).start()  # whatever else hangs, such as a file system
        self.publish_end(FAILED, INTERRUPTED, code, is_reporter=self.rank == 0)
        if self.rank == 0:
            print_error(INTERRUPTED)
        os._exit(code)

    def rank_lost(self, event: str) -> RankLost:
        """Return the error of a rank that lost others; only the first rank to find out reports it."""
        message, is_reporter = self.diagnose(event)
        problem = RankLost(message)
        problem.this_rank_only = is_reporter
        self.publish_end(LEFT, message, RankLost.exit_code, is_reporter=is_reporter)
        return problem

    def diagnose(self, event: str) -> tuple[str, bool]:
        """Find the rank at fault after this event. Returns the message, and whether this rank reports it."""
        failure, lost = diagnosis.find_fault(self.read_heartbeats, self.rank, self.host, silent=SILENT, beat=BEAT)
        if failure:
            return failure, False
        if not self.folder:  # while starting: rank 0 or rank 1 is there to report, even if the other one is lost
            return f"{event}; see the output of the other ranks", self.rank in (0, 1)
        if not lost:
            return (f"{event}; see the output of the other ranks, and the stacks in {self.folder}",
                    self.is_first_to_report())
        for heartbeat in lost.values():
            heartbeat.kill(self.host)
        return diagnosis.describe_lost(lost), self.is_first_to_report()

    def is_first_to_report(self) -> bool:
        """Tell whether this rank is the first with an error to report; errors of later ranks follow from it."""
        return diagnosis.claim_report(self.folder, self.rank)

    def read_heartbeats(self) -> dict[int, Heartbeat]:
        """Return the newest heartbeat of each rank; empty before write_to."""
        return diagnosis.read_heartbeats(self.folder, self.size) if self.folder else {}

    def report_failure(self, problem: BaseException) -> BaseException:
        """Publish the end of this rank, and return the exception to raise in place of `problem`, or `problem`."""
        problem = refusal(problem) or problem
        if isinstance(problem, RankLost):
            return self.rank_lost(str(problem))
        if isinstance(problem, KeyboardInterrupt):
            self.publish_end(FAILED, str(problem) or INTERRUPTED, getattr(problem, "exit_code", 130),
                             is_reporter=self.rank == 0)
            return problem
        if isinstance(problem, UsageError | DataError):
            self.publish_end(FAILED, str(problem), problem.exit_code,
                             is_reporter=self.rank == 0 or problem.this_rank_only)
            return problem
        return self.report_internal_error(problem)

    def report_internal_error(self, problem: BaseException) -> BaseException:
        """Do the same for an error of the program itself: the first rank reports it, as errors of others may follow."""
        message = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
        if isinstance(problem, MemoryError) or ("allocate" in message and "memory" in message):
            message = (f"{self.name()} ran out of memory while {self.main_activity()} ({message}); lower --microbatch, or "
                       "start fewer ranks on a host")
            problem = UsageError(message)
            problem.this_rank_only = True
        is_reporter = self.is_first_to_report()
        problem.reported = not is_reporter  # pyright: ignore[reportAttributeAccessIssue]  (read by errors.run)
        self.publish_end(FAILED, message, getattr(problem, "exit_code", 1), is_reporter=is_reporter)
        return problem

    def publish_end(self, state: str, reason: str, exit_code: int, *, is_reporter: bool) -> None:
        """Write why this rank ends to its heartbeat, and to the status of the run if this rank reports it."""
        self.state, self.reason = state, reason
        self.write_heartbeat()
        if is_reporter:
            with contextlib.suppress(OSError):
                self.on_failure(status="failed", reason=reason, step=self.step, exit_code=exit_code)

    def write_heartbeats(self) -> None:
        """Write a heartbeat every second until closed. It has a thread of its own: the file system may hang."""
        while not self.closed.wait(BEAT):
            self.write_heartbeat()
            self.schedule_stack_dump()

    def schedule_stack_dump(self) -> None:
        """Have all stacks written unless this is called again within the limit: no thread gets to run Python."""
        if self.stacks:
            faulthandler.dump_traceback_later(self.seconds + GRACE / 2, file=self.stacks)

    def write_heartbeat(self) -> None:
        """Write the heartbeat of this rank, where the folder is known and can be written."""
        with self.writes, contextlib.suppress(OSError):
            if self.folder is None:
                return
            self.number += 1
            diagnosis.write_heartbeat(self.folder, Heartbeat(
                rank=self.rank, host=self.host, pid=os.getpid(), number=self.number, state=self.state, reason=self.reason,
                step=self.step, process_start=(diagnosis.process(os.getpid()) or ("",))[0], main=self.main_activity(),
                threads=[f"{name}, {time.monotonic() - since:.0f} s" for name, since in activity.current().values()]))

    def close(self) -> None:
        """Stop watching; after a good end remove the heartbeat."""
        self.closed.set()
        faulthandler.cancel_dump_traceback_later()
        if self.folder and self.state == RUNNING:
            with self.writes, contextlib.suppress(OSError):
                diagnosis.heartbeat_file(self.folder, self.rank).unlink(missing_ok=True)
                if (stacks := self.folder / f"rank-{self.rank}.txt").stat().st_size == 0:
                    stacks.unlink()
                    self.folder.rmdir()
                self.folder = None


_this_rank = _Watch()
