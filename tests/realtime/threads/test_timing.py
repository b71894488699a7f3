import threading
import time

import pytest

from nasion.realtime.threads import timing
from nasion.realtime.threads.timing import Timings, spread


def test_a_spread_gives_mean_median_and_p95_in_milliseconds():
    values = spread([i / 1000 for i in range(1, 101)])
    assert values.mean == pytest.approx(50.5)
    assert values.median == pytest.approx(50.5)
    assert values.p95 == pytest.approx(95)


def test_a_single_sample_is_its_own_p95():
    assert spread([0.004]).p95 == pytest.approx(4)


def test_no_samples_is_an_error_and_not_a_nan():
    with pytest.raises(ValueError, match="no samples"):
        spread([])


def test_waiting_counts_as_wall_time_but_not_as_cpu_time():
    timings = Timings()
    with timings.measure("wait"):
        time.sleep(0.05)
    stage = timings.summary()["wait"]
    assert stage.wall.median >= 49
    assert stage.cpu.median < stage.wall.median / 2


def test_work_counts_as_cpu_time():
    timings = Timings()
    with timings.measure("work"):
        done = time.thread_time() + 0.02
        while time.thread_time() < done:
            pass
    assert timings.summary()["work"].cpu.median >= 20


def test_a_call_that_raises_is_not_counted():
    timings = Timings()
    with pytest.raises(OSError, match="no"), timings.measure("work"):
        raise OSError("no")
    assert timings.summary() == {}


def test_stages_keep_the_order_of_their_first_calls():
    timings = Timings()
    for stage in ("decode", "search", "follow", "decode"):
        timings.add(stage, 0.001, 0.001)
    assert list(timings.summary()) == ["decode", "search", "follow"]
    assert timings.summary()["decode"].count == 2


def test_only_the_newest_samples_are_kept_but_the_mean_is_over_all(monkeypatch):
    monkeypatch.setattr(timing, "KEEP", 10)
    timings = Timings()
    for seconds in [1.0] * 10 + [0.001] * 10:
        timings.add("work", seconds, seconds)
    stage = timings.summary()["work"]
    assert stage.count == 20
    assert stage.wall.median == pytest.approx(1)
    assert stage.wall.mean == pytest.approx(500.5)


def test_several_threads_may_measure_while_another_reads():
    timings = Timings()

    def work():
        for _ in range(300):
            timings.add("work", 0.001, 0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        timings.summary()
    assert timings.summary()["work"].count == 1200
    assert timings.summary()["work"].wall.mean == pytest.approx(1)
