"""Signals in every state of a worker: nothing is lost, nothing doubled beyond at-least-once, and it always exits."""

from __future__ import annotations

import signal
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


def send(worker: Any, signals: list[signal.Signals], until: Any) -> None:
    for n, number in enumerate(signals):
        if n:
            until(lambda: "stop requested" in worker.log, "the first signal to be seen")
        worker.signal(number)


class StopMatrix:
    """What each signal comes to, on each pool; whoever inherits it has a fixture ``stopping``, a site with `TASKS`."""

    @pytest.mark.parametrize("signals", [WARM, INTERRUPTED, COLD, TWICE], ids=names)
    @pytest.mark.parametrize("pool", POOLS)
    def test_idle(self, stopping: Any, pool: str, signals: list[signal.Signals]) -> None:
        worker = stopping.worker("-P", pool)
        worker.signal(signals[0])
        assert worker.wait() == 0, worker.log

    @pytest.mark.parametrize("task", ["late", "early"])
    @pytest.mark.parametrize("signals", [WARM, INTERRUPTED], ids=names)
    @pytest.mark.parametrize("pool", POOLS)
    def test_warm(self, stopping: Any, pool: str, signals: list[signal.Signals], task: str, until: Any) -> None:
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
    def test_cold_and_late(self, stopping: Any, pool: str, signals: list[signal.Signals], until: Any) -> None:
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
    def test_cold_and_early(self, stopping: Any, pool: str, signals: list[signal.Signals], until: Any) -> None:
        """What runs was acknowledged: it cannot go back, so its result says that it was lost."""
        worker = stopping.worker("-P", pool)
        result = stopping.app.send_task("tasks.early", (20,))
        until(lambda: stopping.lines() == [["begun"]], "the task to begin")
        send(worker, signals, until)
        assert worker.wait() == 0, worker.log
        assert type(result.get(timeout=5, propagate=False)).__name__ == "WorkerLostError"
        assert stopping.queue_size() == 0
