"""Gives a green pool many jobs that do not yield, and tells how many slots ran them, and how often the loop turned.

Run in a patched process, with the class of the pool: what is a thread here is a greenlet.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time

from worker_kernel import Job, Outcome, Pool, PoolConfig, Slot
from worker_kernel.testing import FakeJob

SLOTS = 20


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Listener:
    """Remembers where jobs ran, and takes no lock: to wait for one would let the loop turn."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.ended: list[str] = []

    def accepted(self, job: Job, slot: Slot) -> None:
        self.slots[job.id] = slot.index

    def finished(self, job: Job, outcome: Outcome) -> None:
        self.ended.append(job.id)

    def resized(self, size: int) -> None: ...

    def failing(self, reason: str, exit_code: int) -> None: ...


def slots_of(pool: Pool, listener: Listener, jobs: list[FakeJob]) -> int:
    """Run the jobs, and return in how many slots they ran."""
    for job in jobs:
        pool.submit(job)
    while not {job.id for job in jobs} <= set(listener.ended):
        time.sleep(0.02)
    return len({listener.slots[job.id] for job in jobs})


def main(place: str) -> None:
    """Print what was seen, as JSON."""
    module, name = place.split(":")
    listener = Listener()
    pool: Pool = getattr(importlib.import_module(module), name)(PoolConfig(limit=SLOTS, listener=listener))
    pool.start()
    turns, over = 0, False

    def turn() -> None:
        nonlocal turns
        while not over:
            turns += 1
            time.sleep(0)

    short = slots_of(pool, listener, [FakeJob() for _ in range(2 * SLOTS)])
    yielding = slots_of(pool, listener, [FakeJob(body=lambda job: time.sleep(0.2)) for _ in range(SLOTS)])
    other = threading.Thread(target=turn)
    other.start()
    slots_of(pool, listener, [FakeJob(body=lambda job: busy(0.004)) for _ in range(30)])
    over = True
    other.join()
    pool.stop(10)
    sys.stdout.write(json.dumps({"short": short, "yielding": yielding, "turns": turns}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
