"""A load that comes and goes: what a worker with --autoscale makes of it."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import attrs

MAXIMUM, MINIMUM = 4, 1
KEEPALIVE = 1.5
REACHES_MAX = 5.0
"""Seconds from the first message, as promised."""

TASKS = """
    @app.task
    def work(n):
        mark("work", n)
        deadline = time.monotonic() + 0.25
        while time.monotonic() < deadline: time.sleep(0.02)
        return n
"""


@attrs.define(kw_only=True)
class Trace:
    """What was seen of the worker, in the order of time."""

    sizes: list[tuple[float, int]] = attrs.field(factory=list)
    """Seconds since the load began, and slots; only changes."""
    busiest: int = 0
    """The most jobs that ran at a time."""

    def look(self, site: Any, began: float) -> int:
        steps = site.tell("stats")["steps"]
        size = int(steps["autoscaler"]["current"])
        if not self.sizes or self.sizes[-1][1] != size:
            self.sizes.append((time.monotonic() - began, size))
        self.busiest = max(self.busiest, int(steps["consumer"]["running"]))
        return size

    def reached(self, size: int) -> float:
        """Seconds until there were so many slots for the first time."""
        return next(seconds for seconds, slots in self.sizes if slots == size)

    @property
    def turns(self) -> int:
        """How often the direction has changed."""
        directions = [later > earlier for (_, earlier), (_, later) in pairwise(self.sizes)]
        return sum(a != b for a, b in pairwise(directions))


def run_trace(site: Any, until: Any, *options: str, tasks: int = 24, **more: Any) -> None:
    """Send a load to a worker with these options, and hold it to its promises until it is small again."""
    site.write(TASKS)
    scaled = ("--autoscale", f"{MAXIMUM},{more.get('minimum', MINIMUM)}", "--state-file", "state.json")
    worker = site.worker(*options, *scaled, KERNEL_WORKER_AUTOSCALE_KEEPALIVE=str(KEEPALIVE))
    minimum = more.get("minimum", MINIMUM)
    until(lambda: site.state().get("control_socket"), "the worker to take commands")
    trace, began = Trace(), time.monotonic()
    assert trace.look(site, began) == minimum
    results = [site.app.send_task("tasks.work", (n,)) for n in range(tasks)]
    until(lambda: trace.look(site, began) == MAXIMUM, "the worker to have as many slots as it may")
    assert trace.reached(MAXIMUM) <= REACHES_MAX, trace

    until(lambda: trace.look(site, began) is not None and all(one.ready() for one in results), "all to have run")
    until(lambda: trace.look(site, began) == minimum, "the worker to be small again")

    assert sorted(one.get(timeout=10) for one in results) == list(range(tasks)), "no job was lost"
    assert sorted(int(line[1]) for line in site.lines()) == list(range(tasks)), "and none was ended and run again"
    assert trace.turns <= 2, trace
    pool = site.tell("stats")["steps"]["pool"]
    assert (pool["limit"], pool["running"], pool["size"]) == (minimum, 0, minimum)
    assert worker.stop() == 0, worker.log
