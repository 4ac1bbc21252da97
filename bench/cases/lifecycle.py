"""What a worker costs before it does anything, and after it has done a lot."""

from __future__ import annotations

import time

from bench.cases.case import Amount, Case, Figures, slots_of
from bench.cases.drain import NOOP_SLOTS, STARTING
from bench.contender import Bout, Contender
from bench.recording import now
from bench.servers import Server

MEMORY_SLOTS = {"processes": 8, "threads": 8, "greens": 100, "solo": 1}
SETTLING = 15.0  # seconds at most until the memory of an idle worker stands still
STILL = 0.01  # of the whole, between two looks half a second apart
MB = 1e6


def startup(contender: Contender, server: Server, _: Amount, __: int) -> Figures:
    """From starting the worker until it has run the task that waits."""
    with Bout(contender, server.url, NOOP_SLOTS[contender.mode.kind]) as bout:
        bout.send("noop", 1)
        started = now()
        bout.start()
        bout.must_reach(1, STARTING)
        return {"value": (bout.reader.records[0][1] - started) / 1e9}


def settled(bout: Bout) -> float:
    """The memory of the worker's processes once it stands still, in MB."""
    before, deadline = 0, time.monotonic() + SETTLING
    while True:
        time.sleep(0.5)
        size = bout.running().pss(without=bout.folder)
        if abs(size - before) < STILL * size or time.monotonic() > deadline:
            return size / MB
        before = size


def memory(contender: Contender, server: Server, amount: Amount, _: int) -> Figures:
    """Idle after one task, and again after all."""
    with Bout(contender, server.url, slots_of(contender, MEMORY_SLOTS, "memory")) as bout:
        bout.send("noop", 1)
        bout.start()
        bout.must_reach(1, STARTING)
        figures = {"value": settled(bout), "processes": float(len(bout.running().pids()))}
        bout.send("noop", amount.tasks)
        bout.wait_for(1 + amount.tasks, amount.seconds)
        return {**figures, "tasks": float(bout.reader.look() - 1), "after_mb": settled(bout)}


STARTUP = Case(
    name="startup",
    title="From the start of the worker to the end of its first task, Redis",
    unit="s",
    less_is_better=True,
    measure=startup,
    full=Amount(tasks=1, seconds=30, rounds=5),
    quick=Amount(tasks=1, seconds=30, rounds=1),
)
MEMORY = Case(
    name="memory",
    title="Memory (PSS of all processes) idle, 8 slots (100 coroutines), Redis",
    unit="MB",
    less_is_better=True,
    measure=memory,
    full=Amount(tasks=20_000, seconds=60, rounds=1),
    quick=Amount(tasks=500, seconds=2, rounds=1),
)
