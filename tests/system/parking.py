"""Tasks for later by the thousand: they wait in the broker, cost the worker nothing, and stand in nobody's way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

TASKS = """
    @app.task
    def now(): return time.time()
    @app.task
    def size(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""
GROWTH = 50 * 1024 * 1024
"""Bytes that the worker may grow by."""
SOON = 1.0
"""Seconds within which an ordinary task starts."""
LOAD = 5.0
"""What a loaded machine is allowed on top, as a factor."""

counts = pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.long)])


def park_many(site: Any, count: int, countdown: float, parked: Callable[[], object], until: Any) -> None:
    """Send ``count`` tasks for later to a site with `TASKS` and a worker, and see what that does to an ordinary one.

    Args:
        site: where; its worker runs.
        count: how many.
        countdown: how far in the future, in seconds.
        parked: whether all of them wait in the broker.
        until: waits.
    """
    before = site.app.send_task("tasks.size").get(timeout=30)
    begun = time.monotonic()
    for _ in range(count):
        site.app.send_task("tasks.now", countdown=countdown)
    sent = time.monotonic() - begun
    until(parked, "all to be parked", 1200)
    settled = time.monotonic() - begun
    latencies, after = [], 0
    for _ in range(5):
        wall = time.time()
        latencies.append(site.app.send_task("tasks.now").get(timeout=30) - wall)
        after = max(after, site.app.send_task("tasks.size").get(timeout=30))
    size, growth = before / 1024**2, (after - before) / 1024**2
    print(f"{count} sent in {sent:.1f} s, parked after {settled:.1f} s; worker {size:.1f} MB, {growth:+.1f} MB;")
    print(f"an ordinary task started after {1000 * min(latencies):.0f} to {1000 * max(latencies):.0f} ms")
    assert max(latencies) < SOON * LOAD
    assert after - before < GROWTH
