"""Notices a rank that gets no further or has gone; ends the job, and says once which rank, where and why.

Every thread that may hang says what it does (core/activity.py).  Once a second a rank writes that to
RUN/log/rank-N.json, its beat: whoever looks there sees what each rank does.  A thread that is at one thing for longer than
allowed ends its rank; ranks that lose one look at the beats for whose fault it is.
"""

import contextlib
import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

from mscnn.core import activity
from mscnn.core.activity import EXCHANGE
from mscnn.core.errors import PAUSE, DataError, RankLost, Result, Stopped, UsageError, ignore_signals, print_error
from mscnn.distributed import launchers

NOTHING = "nothing"  # what a thread does that has named no activity
BEAT = 1.0      # seconds between two looks, and between two beats
GRACE = 5.0     # seconds by which a rank that waits for others is more patient than they are
SILENT = 3.5    # seconds without a beat, after which a rank has gone
STOPPED = 4.0   # seconds by which a look comes late when this process itself was stopped, or the machine asleep
# Seconds that backends may wait: their clocks go on while a job is suspended, so the heartbeat must come first.
BACKEND_TIMEOUT = 86400.0
REPORTED = "said"   # the file of the rank that says what ended the job
ALONE = launchers.RankInfo(launchers.NONE)
RUNNING, FAILED, LEFT = "running", "failed", "left"  # left: for the fault of another rank, which says so itself


def set_time_limit(seconds: float, setting: str) -> None:
    """From now on nothing may take longer; setting: the one that says so."""
    _own.seconds, _own.setting, _own.not_before = seconds, setting, time.monotonic()
    _own.arm()


def record_step(step: int) -> None:
    """Steps taken so far, for whoever looks."""
    _own.step = step


def remove_stale(folder: Path) -> None:
    """Remove what ranks that failed or were killed have left there; one rank does so, before others write."""
    for stale in [*folder.glob("rank-*.json"), folder / REPORTED]:
        stale.unlink(missing_ok=True)


def write_to(folder: Path, on_failure: Callable[..., None] = lambda **facts: None) -> None:
    """Write beats and stacks to this folder, which all ranks share; tell: takes what ended the job, by one rank alone."""
    with contextlib.suppress(OSError):
        _own.stacks = (folder / f"rank-{_own.rank}.txt").open("a")
    _own.folder, _own.on_failure = folder, on_failure
    _own.write_heartbeat()


def watch(program: Callable[[], Result], seconds: float) -> Result:
    """Run a program under a watch, as one rank of a job; nothing in it may take longer than --start-timeout, until `allow`.

    What it raises is raised, but for a loss of other ranks, which becomes a RankLost that says which and why, and a want of
    memory, which becomes a UsageError.
    """
    global _own
    _own = _Watch(launchers.detect(), seconds)
    faulthandler.enable()  # a crash in compiled code shows where
    for work in (_own.check_threads, _own.write_heartbeats):
        threading.Thread(target=work, name="watchdog", daemon=True).start()
    activity.set_activity("starting")
    try:
        return program()
    except Stopped:
        raise
    except BaseException as problem:
        ignore_signals()
        _own.ending.acquire()  # not while the watchdog ends the process for the same reason
        if (told := _own.explain(problem)) is problem:
            raise
        raise told from None
    finally:
        _own.close()


class _Watch:
    """What this process knows of itself; one is enough."""

    def __init__(self, place: launchers.RankInfo = ALONE, seconds: float = 1e9):
        self.rank, self.size = place.rank, place.size
        self.seconds, self.setting, self.not_before = seconds, "--start-timeout", 0.0  # nothing counts from before that
        self.host, self.step = socket.gethostname(), 0
        self.folder: Path | None = None
        self.on_failure: Callable[..., None] = lambda **facts: None
        self.state, self.reason, self.number = RUNNING, "", 0
        self.closed, self.writes, self.ending = threading.Event(), threading.Lock(), threading.Lock()
        self.stacks: IO[str] | None = None

    def name(self) -> str:
        return f"rank {self.rank} on {self.host}" if self.size > 1 else f"the process on {self.host}"

    def main_activity(self) -> str:
        """What the program's own thread does."""
        return activity.current().get(threading.main_thread().ident, (NOTHING, 0.0))[0]

    def check_threads(self) -> None:
        """Until closed: end the rank if a thread is late, stop it in order if whatever started it has gone."""
        before, parent = time.monotonic(), launchers.parent_pid()
        while not self.closed.wait(BEAT):
            now = time.monotonic()
            if now - before > BEAT + STOPPED:  # nobody here could do anything in that time
                self.not_before = now
            before = now
            if parent and os.getppid() != parent:
                parent = None
                os.kill(os.getpid(), signal.SIGTERM)
            late = [(since, what) for what, since in activity.current().values()
                    if now - max(since, self.not_before) > self.seconds + (GRACE if what == EXCHANGE else 0)]
            by_itself = [each for each in late if each[1] != EXCHANGE]
            if by_itself or (late and not self.another_rank_progresses()):
                self.abort_rank(min(by_itself or late)[1])

    def another_rank_progresses(self) -> bool:
        """Whether a rank that this one waits for gets on with something; it would end itself if that took too long."""
        first, begun = self.read_heartbeats(), time.monotonic()
        while time.monotonic() - begun < SILENT:
            at_work = [beat for rank, beat in first.items() if rank != self.rank and beat["state"] == RUNNING
                       and beat["main"] not in (EXCHANGE, NOTHING) and not self.is_dead(beat)]
            seen = self.read_heartbeats()
            if not at_work or any(seen.get(beat["rank"], beat)["number"] != beat["number"] for beat in at_work):
                return bool(at_work)
            time.sleep(BEAT / 5)
        return False

    def abort_rank(self, what: str) -> NoReturn:
        """End this rank, which has been at one thing for too long, and with it the job."""
        late = f"longer than {self.setting} {self.seconds:g} s"
        threading.Timer(2 * GRACE, os._exit, (RankLost.exit_code,)).start()  # whatever else hangs, such as a file system
        self.ending.acquire()
        if what == EXCHANGE:
            problem = self.rank_lost(f"{self.name()} waited {late} for the other ranks")
            text, speaks = str(problem), problem.this_rank_only
        else:
            text, speaks = f"{self.name()} got no further: {what} took {late}", self.is_first_to_report()
        if speaks:
            print_error(f"error: {text}")
        if what != EXCHANGE:
            if speaks:
                faulthandler.dump_traceback(sys.stderr)
            self.publish_end(FAILED, text, RankLost.exit_code, speaks=speaks)
        if self.stacks:
            faulthandler.dump_traceback(self.stacks)
        if not speaks:
            time.sleep(PAUSE)
        os._exit(RankLost.exit_code)

    def rank_lost(self, how: str) -> RankLost:
        """What to raise when other ranks were not met: only the first to find out says whose fault it is."""
        problem = RankLost(how)
        text, problem.this_rank_only = self.diagnose(how)
        problem.args = (text,)
        self.publish_end(LEFT, text, RankLost.exit_code, speaks=problem.this_rank_only)
        return problem

    def diagnose(self, how: str) -> tuple[str, bool]:
        """Whose fault it is, and whether this rank says so."""
        first, begun, gone = self.read_heartbeats(), time.monotonic(), {}
        while first and not gone and time.monotonic() - begun < SILENT + BEAT:
            time.sleep(BEAT / 5)
            seen, is_late = self.read_heartbeats(), time.monotonic() - begun > SILENT
            first = seen | first  # a beat that was being written at the first look
            gone = {rank: beat for rank, beat in seen.items() if beat["state"] == RUNNING and rank != self.rank
                    and (self.is_dead(beat) or (is_late and beat["number"] == first[rank]["number"]))}
            if failed := [beat["reason"] for beat in self.read_heartbeats().values() if beat["state"] == FAILED]:
                return failed[0], False  # perhaps only just now
        if not self.folder:  # while starting; either of these two may be the one that was lost
            return f"{how}; see what they say", self.rank in (0, 1)
        if not gone:
            return f"{how}; see what they say, and the stacks in {self.folder}", self.is_first_to_report()
        for beat in gone.values():
            self.kill(beat)
        named = ", ".join(f"rank {rank} on {beat['host']} (last seen at step {beat['step']}, {beat['main']})"
                          for rank, beat in sorted(gone.items()))
        has = "has" if len(gone) == 1 else "have"
        return (f"{named} {has} gone without a word: killed, stopped, or short of memory; see "
                "what the system says, and start again"), self.is_first_to_report()

    def is_first_to_report(self) -> bool:
        """Whether this rank is the first that has something to say; what others say then follows from it."""
        try:
            with contextlib.nullcontext() if self.folder is None else (self.folder / REPORTED).open("x"):
                return True
        except FileExistsError:
            return False
        except OSError:  # the folder is gone, which rank 0 is the first to notice
            return self.rank == 0

    def read_heartbeats(self) -> dict[int, dict[str, Any]]:
        """The newest beat of each rank; of none where there is no folder yet."""
        found = {}
        for rank in range(self.size if self.folder else 0):
            with contextlib.suppress(OSError, ValueError, KeyError):
                beat = json.loads((self.folder / f"rank-{rank}.json").read_text())
                found[beat["rank"]] = beat
        return found

    def is_dead(self, beat: dict[str, Any]) -> bool:
        """Whether a rank on this host has ended or was stopped."""
        return beat["host"] == self.host and _process(beat["pid"]) not in [(beat["born"], state) for state in "RSDI"]

    def kill(self, beat: dict[str, Any]) -> None:
        """A rank on this host that was stopped would outlive the job."""
        if beat["host"] == self.host and (_process(beat["pid"]) or ("", ""))[0] == beat["born"]:
            os.kill(beat["pid"], signal.SIGKILL)

    def explain(self, problem: BaseException) -> BaseException:
        """What to raise in its place, once word has been left for the others."""
        if isinstance(problem, RankLost):
            return self.rank_lost(str(problem))
        if isinstance(problem, KeyboardInterrupt):
            self.publish_end(FAILED, "interrupted from the keyboard", 130, speaks=self.rank == 0)
            return problem
        if isinstance(problem, UsageError | DataError):
            speaks = self.rank == 0 or getattr(problem, "this_rank_only", False)
            self.publish_end(FAILED, str(problem), problem.exit_code, speaks=speaks)
            return problem
        return self.explain_internal_error(problem)

    def explain_internal_error(self, problem: BaseException) -> BaseException:
        """As explained, of a fault of ours: the first rank says it, what others run into may follow from it."""
        text = f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0]}"
        if isinstance(problem, MemoryError) or ("allocate" in text and "memory" in text):
            text = (f"{self.name()} ran out of memory while {self.main_activity()} ({text}); lower --microbatch, or start "
                    "fewer ranks on a host")
            problem = UsageError(text)
            problem.this_rank_only = True
        speaks = self.is_first_to_report()
        problem.said = not speaks
        self.publish_end(FAILED, text, getattr(problem, "exit_code", 1), speaks=speaks)
        return problem

    def publish_end(self, state: str, reason: str, exit_code: int, *, speaks: bool) -> None:
        """Leave word for the others, and for whoever looks at the run."""
        self.state, self.reason = state, reason
        self.write_heartbeat()
        if speaks:
            with contextlib.suppress(OSError):
                self.on_failure(status="failed", reason=reason, step=self.step, exit_code=exit_code)

    def write_heartbeats(self) -> None:
        """Until closed. A thread of its own: the file system may hang."""
        while not self.closed.wait(BEAT):
            self.write_heartbeat()
            self.arm()

    def arm(self) -> None:
        """Have all stacks written if no thread gets to run Python for so long."""
        if self.stacks:
            faulthandler.dump_traceback_later(self.seconds + GRACE / 2, file=self.stacks)

    def write_heartbeat(self) -> None:
        """Write what this rank does; whoever reads half of it looks again."""
        with self.writes, contextlib.suppress(OSError):
            if self.folder is None:
                return
            self.number += 1
            (self.folder / f"rank-{self.rank}.json").write_text(json.dumps({
                "rank": self.rank, "host": self.host, "pid": os.getpid(), "born": (_process(os.getpid()) or ("",))[0],
                "number": self.number, "state": self.state, "reason": self.reason, "step": self.step,
                "main": self.main_activity(),
                "doing": [f"{what}, {time.monotonic() - since:.0f} s" for what, since in activity.current().values()],
            }) + "\n")

    def close(self) -> None:
        """No more is watched; after a good end no beat stays."""
        self.closed.set()
        faulthandler.cancel_dump_traceback_later()
        if self.folder and self.state == RUNNING:
            with self.writes, contextlib.suppress(OSError):
                (self.folder / f"rank-{self.rank}.json").unlink(missing_ok=True)
                if (stacks := self.folder / f"rank-{self.rank}.txt").stat().st_size == 0:
                    stacks.unlink()
                    self.folder.rmdir()
                self.folder = None


def _process(pid: int) -> tuple[str, str] | None:
    """When it began, in ticks of the system, and its state (proc(5)): a number may be given again. None: there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[19], fields[0]


_own = _Watch()
