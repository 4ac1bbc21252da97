"""Green workers on a real RabbitMQ: a task that holds the loop does not cost the connection."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable
from typing import Any

import pytest

BUSY = """
    @app.task
    def busy(seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pass
        mark("done")

    @app.task(acks_late=True)
    def nap(number):
        mark("began", number)
        time.sleep(2)
        mark("ended", number)
"""

libraries = pytest.mark.parametrize(
    "library",
    [
        pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"no {name}"))
        for name in ("gevent", "eventlet")
    ],
)


def hold(site: Any, library: str, heartbeat: int, seconds: int, until: Callable[..., None]) -> str:
    """Hold the loop for so many seconds, and return the log."""
    site.write(BUSY)
    worker = site.worker("-P", library, "-c", "10", KERNEL_BROKER_HEARTBEAT=str(heartbeat))
    site.app.send_task("tasks.busy", args=[seconds])
    until(lambda: ["done"] in site.lines(), "the loop is let go", timeout=seconds + 30.0)
    site.app.send_task("tasks.busy", args=[0])
    until(lambda: site.lines().count(["done"]) == 2, "the next task")
    assert worker.stop() == 0, worker.log
    return str(worker.log)


@libraries
def test_the_connection_outlives_a_task_that_holds_the_loop_for_several_heartbeats(
    library: str, rabbit_site: Callable[..., Any], until: Callable[..., None]
) -> None:
    log = hold(rabbit_site(loop="synloop"), library, 2, 9, until)
    assert log.count("connected to amqp") == 1, log
    assert "tasks.busy" in log.partition("holds it, and is here:")[0].splitlines()[-1]
    assert "in busy\n" in log


@pytest.mark.long
@libraries
def test_the_connection_outlives_a_task_that_holds_the_loop_for_40_seconds(
    library: str, rabbit_site: Callable[..., Any], until: Callable[..., None]
) -> None:
    log = hold(rabbit_site(loop="synloop"), library, 10, 40, until)
    assert log.count("connected to amqp") == 1, log


@libraries
def test_a_cold_stop_loses_no_task_of_many_greenlets(
    library: str, rabbit_site: Callable[..., Any], until: Callable[..., None]
) -> None:
    site = rabbit_site(loop="synloop")
    site.write(BUSY)
    worker = site.worker("-P", library, "-c", "50")
    for number in range(50):
        site.app.send_task("tasks.nap", args=[number])
    until(lambda: len(site.lines()) == 50, "all run")
    worker.signal(signal.SIGQUIT)
    assert worker.wait() == 8, worker.log
    site.worker("-P", library, "-c", "50")
    until(lambda: {number for what, number in site.lines() if what == "ended"} == set(map(str, range(50))), "all again")
