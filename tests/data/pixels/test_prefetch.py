import threading
import time

import pytest

from mscnn.data.pixels.prefetch import prefetch


def test_reading_ahead_keeps_order_and_runs_at_most_so_far():
    started = []
    results = prefetch([lambda n=n: started.append(n) or n for n in range(20)], depth=2)
    assert next(results) == 0
    assert next(results) == 1
    assert len(started) <= 2 + 2 + 1  # taken, waiting, and one in hand
    assert list(results) == list(range(2, 20))


def test_a_failure_surfaces_in_its_turn():
    def fail():
        raise OSError("disk gone")

    results = prefetch([lambda: 1, fail, lambda: 3])
    assert next(results) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(results)


def test_leaving_early_stops_the_thread():
    results = prefetch([lambda n=n: n for n in range(1000)])
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_several_workers_keep_the_order_and_run_at_once():
    meeting = threading.Barrier(3, timeout=10)

    def job(number):
        meeting.wait()  # three at once, or an error
        time.sleep(0.02 * (number % 3 == 0))  # the first of each three ends last
        return number

    assert list(prefetch([lambda n=n: job(n) for n in range(9)], workers=3)) == list(range(9))


def test_each_thread_is_prepared_before_its_first_job():
    prepared = []
    names = set(prefetch([lambda: threading.current_thread().name] * 5,
                         thread_init=lambda: prepared.append(threading.current_thread().name)))
    assert prepared == list(names)
