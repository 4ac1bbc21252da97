"""Signals, graces and exit codes."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from tests.system.conftest import POOLS

SLOW = """
    @app.task
    def slow(seconds):
        mark("begun")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.01)
        mark("done")
        return "done"
"""


@pytest.mark.parametrize("pool", POOLS)
def test_term_finishes_what_runs_and_hands_back_what_waits(site: Any, pool: str, until: Any) -> None:
    site.write(SLOW)
    worker = site.worker("-P", pool, "-c", "1", "--prefetch-buffer", "1")
    running = site.app.send_task("tasks.slow", (1.5,))
    until(lambda: site.lines() == [["begun"]], "the first task to begin")
    site.app.send_task("tasks.slow", (0,))
    assert worker.stop() == 0, worker.log
    assert running.get(timeout=5) == "done"
    assert site.lines() == [["begun"], ["done"]]
    assert site.queue_size() == 1


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    "signals", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM, signal.SIGQUIT]]
)
def test_cold_hands_back_what_runs(site: Any, pool: str, signals: list[int], until: Any) -> None:
    site.write(SLOW)
    worker = site.worker("-P", pool)
    result = site.app.send_task("tasks.slow", (30,))
    until(lambda: site.lines() == [["begun"]], "the task to begin")
    for n, number in enumerate(signals):
        if n:
            until(lambda: "stop requested" in worker.log, "the first signal to be seen")
        worker.signal(number)
    assert worker.wait(15) == 8, worker.log
    assert site.queue_size() == 1
    assert result.state in ("PENDING", "STARTED")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
@pytest.mark.parametrize("pool", POOLS)
def test_an_idle_worker_stops_with_0(site: Any, pool: str, number: int) -> None:
    site.write(SLOW)
    worker = site.worker("-P", pool)
    begun = time.monotonic()
    worker.signal(number)
    assert worker.wait() == 0, worker.log
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("pool", POOLS)
def test_a_warm_stop_is_bounded_by_the_grace(site: Any, pool: str, until: Any) -> None:
    site.write(SLOW)
    worker = site.worker("-P", pool, "--grace", "1")
    site.app.send_task("tasks.slow", (60,))
    until(lambda: site.lines() == [["begun"]], "the task to begin")
    begun = time.monotonic()
    assert worker.stop() == 8, worker.log
    assert time.monotonic() - begun < 15
    assert site.queue_size() == 1


@pytest.mark.parametrize("pool", POOLS)
def test_what_cannot_be_ended_does_not_keep_the_process(plain_site: Any, pool: str, until: Any) -> None:
    plain_site.write("""
        @app.task
        def stuck():
            mark("begun")
            while True:
                try:
                    time.sleep(30)
                except BaseException:
                    pass
    """)
    worker = plain_site.worker("-P", pool)
    plain_site.app.send_task("tasks.stuck")
    until(lambda: plain_site.lines() == [["begun"]], "the task to begin")
    worker.signal(signal.SIGQUIT)
    assert worker.wait(20) == 8, worker.log
    assert plain_site.queue_size() == 1
