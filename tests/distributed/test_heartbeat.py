"""Who is at fault when ranks are lost, from heartbeats written by hand; whole jobs are in tests/faults."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from mscnn.core import activity
from mscnn.core.errors import DataError, RankLost, Stopped, UsageError
from mscnn.distributed import diagnosis, heartbeat
from mscnn.distributed.diagnosis import EXCHANGE, FAILED, LEFT, NOTHING, RUNNING, Heartbeat, process
from mscnn.distributed.heartbeat import _Watch
from mscnn.distributed.launchers import TORCHRUN, RankInfo


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(heartbeat, "SILENT", 0.3)
    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    monkeypatch.setattr(heartbeat, "_this_rank", _Watch())
    monkeypatch.setattr(activity, "_activities", {})


@pytest.fixture
def sleeper():
    """A process that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(0.2)
    yield process
    process.kill()
    process.wait()


def write_heartbeat(folder, rank, *, host="other", pid=1, number=1, state=RUNNING, reason="", main="computing",
                    process_start=None):
    if process_start is None:
        process_start = (process(pid) or ("",))[0]
    diagnosis.write_heartbeat(folder, Heartbeat(rank=rank, host=host, pid=pid, process_start=process_start, number=number,
                                                state=state, reason=reason, step=7, main=main, threads=[]))


def rank_of(folder, rank: int, size: int) -> _Watch:
    """This process as a rank that has just written its heartbeat."""
    own = _Watch(RankInfo(TORCHRUN, rank, size))
    own.folder = folder
    own.write_heartbeat()
    return own


def test_a_heartbeat_shows_what_each_thread_does(tmp_path):
    activity.set_activity("computing")
    heartbeat.record_step(12)
    heartbeat.write_to(tmp_path)
    (own,) = heartbeat._this_rank.read_heartbeats().values()
    assert (own.rank, own.step, own.main, own.state) == (0, 12, "computing", RUNNING)
    assert own.threads == ["computing, 0 s"]
    assert (own.pid, own.process_start) == (os.getpid(), process(os.getpid())[0])


def test_what_is_done_within_something_else_begins_anew_after_it():
    activity.set_activity("computing")
    begun = activity.current()
    with activity.during(EXCHANGE):
        assert heartbeat._this_rank.main_activity() == EXCHANGE
        time.sleep(0.01)
    assert heartbeat._this_rank.main_activity() == "computing"
    ((_, since),), ((_, before),) = activity.current().values(), begun.values()
    assert since > before
    activity.clear()
    assert not activity.current()
    with pytest.raises(ValueError, match="x"), activity.during("reading"):
        raise ValueError("x")
    assert not activity.current()


def late(own: _Watch, seconds_ago: float) -> list[str]:
    """What a look finds late that was begun so long ago."""
    found = []
    activity._activities[1] = "computing", time.monotonic() - seconds_ago
    own.abort_rank = lambda what: found.append(what) or own.closed.set()
    threading.Timer(0.35, own.closed.set).start()
    own.check_threads()
    return found


def test_time_in_which_the_process_was_stopped_counts_for_nobody(monkeypatch):
    assert late(_Watch(seconds=10), 60) == ["computing"]
    assert late(_Watch(seconds=10), 9) == []
    own = _Watch(seconds=10)
    own.not_before = time.monotonic() - 9  # allowed anew since
    assert late(own, 60) == []
    monkeypatch.setattr(heartbeat, "STOPPED", -1.0)  # as if each look came late
    assert late(_Watch(seconds=10), 60) == []


def test_a_rank_that_has_said_why_it_fails_is_not_spoken_over(tmp_path):
    write_heartbeat(tmp_path, 0, state=FAILED, reason="disk on fire")
    own = rank_of(tmp_path, 1, 3)
    write_heartbeat(tmp_path, 2)
    assert own.diagnose("lost") == ("disk on fire", False)


def test_a_rank_whose_beat_has_stopped_is_named_by_the_first_to_find_out(tmp_path):
    write_heartbeat(tmp_path, 1, main="reading P1 B02 3")
    for rank, reports in ((2, True), (0, False)):
        own = rank_of(tmp_path, rank, 3)
        write_heartbeat(tmp_path, 2 - rank, state=LEFT)  # gone, too, but for the fault of another
        text, is_reporter = own.diagnose("lost")
        assert text.startswith("rank 1 on other (last heartbeat at step 7, reading P1 B02 3) was lost: killed")
        assert is_reporter is reports


def test_where_the_folder_has_vanished_rank_0_reports(tmp_path):
    for rank in (0, 1):
        own = rank_of(tmp_path, rank, 2)
        own.folder = tmp_path / "gone"
        assert own.diagnose("lost")[1] is (rank == 0)


def test_a_beat_that_was_being_written_at_the_first_look_is_not_taken_for_the_last(tmp_path, monkeypatch):
    own = rank_of(tmp_path, 0, 2)
    (tmp_path / "rank-1.json").write_text("")
    numbers, known = iter(range(1000)), own.read_heartbeats
    looks = iter([known, *[lambda: write_heartbeat(tmp_path, 1, number=next(numbers)) or known()] * 100])
    monkeypatch.setattr(own, "read_heartbeats", lambda: next(looks)())
    assert own.diagnose("rank 0 waited")[0].startswith("rank 0 waited; see the output of the other ranks")


def test_a_rank_whose_beat_goes_on_is_not_lost(tmp_path, monkeypatch):
    own = rank_of(tmp_path, 0, 2)
    numbers = iter(range(1000))
    known = own.read_heartbeats

    def read():
        write_heartbeat(tmp_path, 1, number=next(numbers), pid=2**22 + 1)  # which there is not on this host
        return known()
    monkeypatch.setattr(own, "read_heartbeats", read)
    assert own.diagnose("rank 0 waited")[0].startswith("rank 0 waited; see the output of the other ranks")


@pytest.mark.parametrize(("main", "goes_on", "is_waited_for"), [
    ("predicting", True, True), ("predicting", False, False), (EXCHANGE, True, False), (NOTHING, True, False)])
def test_a_rank_that_works_is_waited_for(tmp_path, monkeypatch, main, goes_on, is_waited_for):
    """However long that takes: an activity that exceeds the limit would end it."""
    own = rank_of(tmp_path, 0, 2)
    write_heartbeat(tmp_path, 1, main=main)

    def sleep(seconds: float) -> None:
        time_sleep(seconds)
        write_heartbeat(tmp_path, 1, number=2 if goes_on else 1, main=main)
    time_sleep = time.sleep
    monkeypatch.setattr(heartbeat.time, "sleep", sleep)
    works = diagnosis.another_rank_works(own.read_heartbeats, 0, own.host, silent=heartbeat.SILENT, beat=heartbeat.BEAT)
    assert works is is_waited_for


def test_one_that_waits_for_a_rank_at_work_is_not_late(tmp_path):
    """The heartbeats of the other continue for twice as long as this one would wait, then stop."""
    program = ("import json, threading, time; from pathlib import Path\n"
               "from mscnn.core import activity; from mscnn.distributed import heartbeat\n"
               f"from mscnn.distributed.launchers import RankInfo\n"
               f"heartbeat.launchers.detect = lambda: RankInfo('torchrun', 0, 2)\n"
               f"heartbeat.GRACE, heartbeat.SILENT, last = 2.0, 1.0, Path({str(tmp_path)!r}) / 'rank-1.json'\n"
               f"def beats():\n"
               f"    for number in range(20):\n"
               f"        last.write_text(json.dumps({{'rank': 1, 'host': 'other', 'number': number, 'state': 'running',\n"
               f"                                    'reason': '', 'step': 7, 'main': 'predicting', 'pid': 1,\n"
               f"                                    'process_start': '1', 'threads': []}}))\n"
               f"        time.sleep(0.25)\n"
               f"    print(time.monotonic())\n"
               f"def main():\n"
               f"    threading.Thread(target=beats).start()\n"
               f"    heartbeat.write_to(Path({str(tmp_path)!r}),\n"
               f"                       on_failure=lambda **facts: print(time.monotonic(), flush=True))\n"
               f"    with activity.during(activity.EXCHANGE): time.sleep(600)\n"
               f"heartbeat.watch(main, 0.5)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == RankLost.exit_code, done.stderr
    assert "rank 1 on other (last heartbeat at step 7, predicting) was lost: killed" in done.stderr
    beats_end, given_up = map(float, done.stdout.split())
    assert beats_end < given_up


def test_a_local_rank_that_was_stopped_is_lost_at_once_and_killed(tmp_path, sleeper):
    os.kill(sleeper.pid, signal.SIGSTOP)
    write_heartbeat(tmp_path, 1, host=socket.gethostname(), pid=sleeper.pid)
    begun = time.monotonic()
    text, reports = rank_of(tmp_path, 0, 2).diagnose("lost")
    assert time.monotonic() - begun < heartbeat.SILENT
    assert "rank 1 on" in text
    assert reports
    assert sleeper.wait(10) == -signal.SIGKILL


def test_a_process_that_has_got_the_number_of_one_that_ended_is_left_alone(tmp_path, sleeper):
    write_heartbeat(tmp_path, 1, host=socket.gethostname(), pid=sleeper.pid, process_start="1")
    assert rank_of(tmp_path, 0, 2).diagnose("lost")[0].startswith("rank 1 on")
    time.sleep(0.3)
    assert sleeper.poll() is None


@pytest.mark.parametrize(("rank", "reports"), [(0, True), (1, True), (2, False)])
def test_without_a_folder_ranks_can_only_tell_that_they_lost_one(rank, reports):
    """Rank 1 reports too, as rank 0 may be lost."""
    assert _Watch(RankInfo(TORCHRUN, rank, 3)).diagnose("lost") == ("lost; see the output of the other ranks", reports)


def ends(problem: BaseException, folder) -> tuple[BaseException, dict, list[dict]]:
    """The exception of a watched program that raises this, its last heartbeat, and the calls of on_failure."""
    failures = []

    def program():
        heartbeat.write_to(folder, on_failure=lambda **facts: failures.append(facts))
        raise problem
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        heartbeat.watch(program, 100)
    path = folder / "rank-0.json"
    return raised.value, json.loads(path.read_text()) if path.exists() else {}, failures


@pytest.mark.parametrize(("problem", "code"),
                         [(UsageError("bad lr"), 2), (DataError("bad file"), 3), (RuntimeError("bug"), 1)])
def test_a_failure_is_left_behind_and_told(tmp_path, problem, code):
    raised, last, failures = ends(problem, tmp_path)
    assert raised is problem
    assert last["state"] == FAILED
    assert failures == [{"status": "failed", "reason": last["reason"], "step": 0, "exit_code": code}]
    assert str(problem) in last["reason"]


def test_an_interrupt_from_the_keyboard_is_told_as_such(tmp_path):
    raised, _, failures = ends(KeyboardInterrupt(), tmp_path)
    assert isinstance(raised, KeyboardInterrupt)
    assert failures == [{"status": "failed", "reason": "interrupted from the keyboard", "step": 0, "exit_code": 130}]


def test_of_what_several_ranks_run_into_the_first_reports(tmp_path):
    for expected in (False, True):
        own = rank_of(tmp_path, int(expected), 2)
        problem = own.report_failure(KeyError("ours"))
        assert problem.reported is expected


def test_a_run_that_is_told_to_stop_has_not_failed(tmp_path):
    raised, last, failures = ends(Stopped("SIGTERM"), tmp_path)
    assert isinstance(raised, Stopped)
    assert (last, failures) == ({}, [])


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to "
                                                                 "allocate 7 bytes")])
def test_want_of_memory_is_a_setting_that_cannot_work(tmp_path, problem):
    raised, _, failures = ends(problem, tmp_path)
    assert isinstance(raised, UsageError)
    assert raised.this_rank_only
    assert "ran out of memory while starting" in str(raised)
    assert "lower --microbatch" in failures[0]["reason"]


def test_beats_of_ranks_that_were_killed_are_cleared(tmp_path):
    write_heartbeat(tmp_path, 1, state=FAILED, reason="long ago")
    heartbeat.remove_stale(tmp_path)
    assert rank_of(tmp_path, 0, 2).read_heartbeats().keys() == {0}


def test_after_a_good_end_nothing_stays(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    assert heartbeat.watch(lambda: heartbeat.write_to(folder) or 7, 100) == 7
    assert not folder.exists()


def test_a_thread_that_is_late_ends_the_process_with_its_stacks(tmp_path):
    program = ("import sys, time; from pathlib import Path\n"
               "from mscnn.core import activity; from mscnn.distributed import heartbeat\n"
               f"def reading_forever():\n"
               f"    with activity.during('reading P1 B02 1'): time.sleep(600)\n"
               f"def main():\n"
               f"    heartbeat.write_to(Path({str(tmp_path)!r}), on_failure=lambda **facts: print(facts))\n"
               f"    reading_forever()\n"
               f"heartbeat.watch(main, 1.5)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == RankLost.exit_code
    assert "made no progress: reading P1 B02 1 took longer than --start-timeout 1.5 s" in done.stderr
    assert "in reading_forever" in done.stderr
    assert "in reading_forever" in (tmp_path / "rank-0.txt").read_text()
    assert "'exit_code': 4" in done.stdout
