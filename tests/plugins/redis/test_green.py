"""Green workers on a real Redis."""

from __future__ import annotations

import importlib.util
import signal
import time
from typing import Any

import pytest

NAP = """
    @app.task
    def nap(number, seconds=2):
        mark("began", number)
        time.sleep(seconds)
        mark("ended", number)
"""

libraries = pytest.mark.parametrize(
    "library",
    [
        pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"no {name}"))
        for name in ("gevent", "eventlet")
    ],
)


@libraries
def test_a_cold_stop_loses_no_task_of_many_greenlets(library: str, site: Any, until: Any) -> None:
    site.write(NAP)
    for number in range(50):
        site.app.send_task("tasks.nap", (number,))
    worker = site.worker("-P", library, "-c", "50")
    until(lambda: len(site.lines()) == 50, "all run")
    worker.process.send_signal(signal.SIGQUIT)
    assert worker.process.wait(30) == 8, worker.log
    site.worker("-P", library, "-c", "50")
    until(lambda: {number for what, number in site.lines() if what == "ended"} == set(map(str, range(50))), "all again")


@pytest.mark.long
@libraries
def test_two_thousand_naps_of_half_a_second_take_less_than_eight(library: str, site: Any) -> None:
    site.write(NAP)
    results = [site.app.send_task("tasks.nap", (number, 0.5)) for number in range(2000)]
    site.worker("-P", library, "-c", "1000")
    begun = time.monotonic()
    for result in results:
        result.get(timeout=60)
    assert time.monotonic() - begun < 8
