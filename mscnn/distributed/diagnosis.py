"""Find who is at fault when ranks are lost, from the heartbeats of all ranks.  Imports no torch.

Each rank writes RUN/log/rank-N.json once a second (heartbeat.py): the file shows what the rank does.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mscnn.core.activity import EXCHANGE
from mscnn.core.records import Record

RUNNING, FAILED, LEFT = "running", "failed", "left"  # left: by the fault of another rank, which reports it
NOTHING = "nothing"      # activity of a thread that has named none
REPORTED = "reported"    # the file of the rank that reports what ended the job


@dataclass(frozen=True)
class Heartbeat(Record):
    """What a rank last wrote about itself; the fields are the keys of rank-N.json."""

    rank: int
    host: str
    pid: int
    process_start: str      # in clock ticks since boot: a process id may be used again; empty where /proc lacks it
    number: int             # of this heartbeat, counted from 1; it stands still once the rank is lost
    state: str              # RUNNING, FAILED or LEFT
    reason: str             # why the rank ended; empty while it runs
    step: int               # steps taken so far
    main: str               # activity of the main thread
    threads: list[str]      # activity and duration of each thread that has named one

    @property
    def works(self) -> bool:
        """Tell whether the main thread does something that other ranks may wait for."""
        return self.state == RUNNING and self.main not in (EXCHANGE, NOTHING)

    def is_dead(self, host: str) -> bool:
        """Tell whether the process has ended or is stopped, as seen from `host`; False for a rank on another host."""
        return self.host == host and process(self.pid) not in [(self.process_start, state) for state in "RSDI"]

    def kill(self, host: str) -> None:
        """Kill the process if it is on this host: a stopped process would outlive the job."""
        if self.host == host and (process(self.pid) or ("", ""))[0] == self.process_start:
            os.kill(self.pid, signal.SIGKILL)


Read = Callable[[], dict[int, Heartbeat]]  # reads the newest heartbeats, by rank


def heartbeat_file(folder: Path, rank: int) -> Path:
    """Return the path of a rank's heartbeat."""
    return folder / f"rank-{rank}.json"


def write_heartbeat(folder: Path, heartbeat: Heartbeat) -> None:
    """Write a heartbeat in place; a reader that finds half of it reads again. Raises OSError."""
    heartbeat_file(folder, heartbeat.rank).write_text(json.dumps(heartbeat.to_json()) + "\n")


def read_heartbeats(folder: Path, size: int) -> dict[int, Heartbeat]:
    """Return the newest heartbeat of each rank that can be read, by rank."""
    heartbeats = {}
    for rank in range(size):
        with contextlib.suppress(OSError, ValueError):
            heartbeat = Heartbeat.from_json(json.loads(heartbeat_file(folder, rank).read_text()))
            heartbeats[heartbeat.rank] = heartbeat
    return heartbeats


def claim_report(folder: Path | None, rank: int) -> bool:
    """Tell whether this rank is the first to claim the report of what ended the job; without a folder each one is."""
    try:
        with contextlib.nullcontext() if folder is None else (folder / REPORTED).open("x"):
            return True
    except FileExistsError:
        return False
    except OSError:  # the folder has vanished: rank 0 reports that
        return rank == 0


def another_rank_works(read: Read, own_rank: int, host: str, *, silent: float, beat: float) -> bool:
    """Watch for `silent` seconds whether another rank works; it would end itself if that took too long.

    beat: seconds between two heartbeats of a rank.
    """
    first, begun = read(), time.monotonic()
    while time.monotonic() - begun < silent:
        at_work = [heartbeat for rank, heartbeat in first.items()
                   if rank != own_rank and heartbeat.works and not heartbeat.is_dead(host)]
        latest = read()
        if not at_work or any(latest.get(known.rank, known).number != known.number for known in at_work):
            return bool(at_work)
        time.sleep(beat / 5)
    return False


def find_fault(read: Read, own_rank: int, host: str, *, silent: float,
               beat: float) -> tuple[str | None, dict[int, Heartbeat]]:
    """Find who ended the job: the reason that a failed rank gives, else the last heartbeats of lost ranks, by rank.

    Takes `silent` + `beat` seconds at most.  Both may be empty.
    """
    first, begun, lost = read(), time.monotonic(), {}
    while first and not lost and time.monotonic() - begun < silent + beat:
        time.sleep(beat / 5)
        latest, is_late = read(), time.monotonic() - begun > silent
        first = latest | first  # a heartbeat of which the first reading found half
        lost = lost_ranks(first, latest, own_rank, host, is_late=is_late)
        if failed := [heartbeat.reason for heartbeat in read().values() if heartbeat.state == FAILED]:
            return failed[0], {}  # read anew, as it may have failed since
    return None, lost


def lost_ranks(first: dict[int, Heartbeat], latest: dict[int, Heartbeat], own_rank: int, host: str, *,
               is_late: bool) -> dict[int, Heartbeat]:
    """Return the last heartbeats of lost ranks, by rank: dead processes on this host, and heartbeats that stand still.

    first, latest: two readings.  is_late: the time between them is so long that each running rank has written again.
    """
    return {rank: heartbeat for rank, heartbeat in latest.items() if heartbeat.state == RUNNING and rank != own_rank
            and (heartbeat.is_dead(host) or (is_late and heartbeat.number == first[rank].number))}


def describe_lost(lost: dict[int, Heartbeat]) -> str:
    """Return a line that names the lost ranks, where each was, and the remedy."""
    ranks = ", ".join(f"rank {rank} on {heartbeat.host} (last heartbeat at step {heartbeat.step}, {heartbeat.main})"
                      for rank, heartbeat in sorted(lost.items()))
    return (f"{ranks} {'was' if len(lost) == 1 else 'were'} lost: killed, stopped or out of memory; see the system's log, "
            "then start again")


def process(pid: int) -> tuple[str, str] | None:
    """Return when a process began, in clock ticks since boot, and its state (proc(5)); None: there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[19], fields[0]
