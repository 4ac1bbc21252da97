"""However many jobs go through the pool, neither the worker nor a child grows."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable

import pytest
from tests.plugins.prefork.small_application import SmallJob

from worker_kernel import Job, Outcome, Slot
from worker_pool_prefork.memory import resident
from worker_pool_prefork.pool import PreforkPool

ALLOWED = 5 << 20
"""Bytes by which a process may grow."""
IN_FLIGHT = 500
PATIENCE = 60.0


class Counting:
    """A listener that keeps nothing but a count."""

    def __init__(self) -> None:
        self.done = self.failed = 0
        self.room = threading.Semaphore(IN_FLIGHT)

    def accepted(self, job: Job, slot: Slot) -> None:
        """See `PoolListener.accepted`."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """See `PoolListener.finished`."""
        del job
        self.done += 1
        self.failed += outcome.failed
        self.room.release()

    def resized(self, size: int) -> None:
        """See `PoolListener.resized`."""

    def failing(self, reason: str, exit_code: int) -> None:
        """See `PoolListener.failing`."""


def send(pool: PreforkPool, listener: Counting, count: int) -> None:
    """Send so many jobs through, and wait until none is left."""
    for number in range(count):
        assert listener.room.acquire(timeout=PATIENCE)
        pool.submit(SmallJob(f"job-{number}"))
    for _ in range(IN_FLIGHT):
        assert listener.room.acquire(timeout=PATIENCE)
    for _ in range(IN_FLIGHT):
        listener.room.release()


@pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_many_jobs_make_neither_the_worker_nor_a_child_grow(
    make_pool: Callable[..., PreforkPool], count: int, record_property: Callable[[str, object], None]
) -> None:
    listener = Counting()
    pool = make_pool(2, method="forkserver", listener=listener)
    send(pool, listener, 3_000)
    told = pool.statistics().extra["children"]
    assert isinstance(told, list)
    pids = [os.getpid(), *(child["pid"] for child in told)]
    gc.collect()
    before = [resident(pid) for pid in pids]
    send(pool, listener, count)
    gc.collect()
    grown = [resident(pid) - size for pid, size in zip(pids, before, strict=True)]
    record_property("grown", grown)
    assert max(grown) <= ALLOWED, f"by {grown} bytes: the worker, then its children"
    assert (listener.done, listener.failed) == (count + 3_000, 0)
    assert pool.statistics().recycled == {}
