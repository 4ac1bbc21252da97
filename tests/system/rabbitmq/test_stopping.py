"""Signals in every state of a worker: nothing is lost, nothing doubled beyond at-least-once, and it always exits."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.system.conftest import POOLS

TASKS = """
    def work(seconds):
        mark("begun")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.01)
        mark("done")
        return "done"
    late = app.task(name="tasks.late")(work)
    early = app.task(name="tasks.early", acks_late=False)(work)
    @app.task
    def quick(): return "quick"
"""
WARM = [signal.SIGTERM]
INTERRUPTED = [signal.SIGINT]
COLD = [signal.SIGQUIT]
TWICE = [signal.SIGINT, signal.SIGINT]
COLDER = [signal.SIGTERM, signal.SIGQUIT]


def names(signals: list[signal.Signals]) -> str:
    return "+".join(one.name for one in signals)


@pytest.fixture(params=["asynloop", pytest.param("synloop", marks=pytest.mark.long)])
def stopping(request: pytest.FixtureRequest, rabbit_site: Callable[..., Any]) -> Any:
    site = rabbit_site("classic", request.param)
    site.write(TASKS)
    return site


def send(worker: Any, signals: list[signal.Signals], until: Any) -> None:
    for n, number in enumerate(signals):
        if n:
            until(lambda: "stop requested" in worker.log, "the first signal to be seen")
        worker.signal(number)


@pytest.mark.parametrize("signals", [WARM, INTERRUPTED, COLD, TWICE], ids=names)
@pytest.mark.parametrize("pool", POOLS)
def test_idle(stopping: Any, pool: str, signals: list[signal.Signals]) -> None:
    worker = stopping.worker("-P", pool)
    worker.signal(signals[0])
    assert worker.wait() == 0, worker.log


@pytest.mark.parametrize("task", ["late", "early"])
@pytest.mark.parametrize("signals", [WARM, INTERRUPTED], ids=names)
@pytest.mark.parametrize("pool", POOLS)
def test_warm(stopping: Any, pool: str, signals: list[signal.Signals], task: str, until: Any) -> None:
    """What runs ends; what waits goes back, and runs elsewhere without having been counted as started."""
    worker = stopping.worker("-P", pool, "-c", "1", "--prefetch-buffer", "1")
    running = stopping.app.send_task(f"tasks.{task}", (1.5,))
    until(lambda: stopping.lines() == [["begun"]], "the task to begin")
    waiting = stopping.app.send_task(f"tasks.{task}", (0,))
    send(worker, signals, until)
    assert worker.wait() == 0, worker.log
    assert running.get(timeout=5) == "done"
    assert stopping.lines() == [["begun"], ["done"]]
    assert stopping.queue_size() == 1
    stopping.worker("-P", pool)
    assert waiting.get(timeout=30) == "done"
    until(lambda: stopping.queue_size() == 0, "an empty queue")


@pytest.mark.parametrize("signals", [COLD, TWICE, COLDER], ids=names)
@pytest.mark.parametrize("pool", POOLS)
def test_cold_and_late(stopping: Any, pool: str, signals: list[signal.Signals], until: Any) -> None:
    """What runs goes back, and its result is left to whoever runs it next."""
    worker = stopping.worker("-P", pool)
    result = stopping.app.send_task("tasks.late", (20,))
    until(lambda: stopping.lines() == [["begun"]], "the task to begin")
    send(worker, signals, until)
    assert worker.wait() == 8, worker.log
    assert stopping.queue_size() == 1
    assert result.state in ("PENDING", "STARTED")


@pytest.mark.parametrize("signals", [COLD, TWICE, COLDER], ids=names)
@pytest.mark.parametrize("pool", POOLS)
def test_cold_and_early(stopping: Any, pool: str, signals: list[signal.Signals], until: Any) -> None:
    """What runs was acknowledged: it cannot go back, so its result says that it was lost."""
    worker = stopping.worker("-P", pool)
    result = stopping.app.send_task("tasks.early", (20,))
    until(lambda: stopping.lines() == [["begun"]], "the task to begin")
    send(worker, signals, until)
    assert worker.wait() == 0, worker.log
    assert type(result.get(timeout=5, propagate=False)).__name__ == "WorkerLostError"
    assert stopping.queue_size() == 0


@pytest.mark.parametrize("pool", POOLS)
def test_a_warm_stop_without_a_broker_still_waits_for_what_runs(
    rabbit_site: Callable[..., Any], proxy: Any, pool: str, until: Any
) -> None:
    site = rabbit_site("classic")
    site.write(TASKS)
    site.broker_url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
    worker = site.worker("-P", pool)
    result = site.app.send_task("tasks.late", (4,))
    until(lambda: site.lines() == [["begun"]], "the task to begin")
    proxy.refuse()
    until(lambda: "cannot connect" in worker.log, "the loss to be noticed")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log
    assert result.get(timeout=5) == "done"
    assert site.lines() == [["begun"], ["done"]]
