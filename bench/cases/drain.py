"""How fast a full queue is worked off: tasks that do nothing, tasks that wait, tasks that use the CPU.

Each contender's own client fills the queue; then its worker is started. Counted is from the begin of the first task to
the end of the last one, so that starting the worker is left out (`startup` has it).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import attrs

from bench import floors
from bench.cases.case import Amount, Case, Figures, slots_of
from bench.contender import Bout, Contender, Failed
from bench.servers import Server

STARTING = 30.0  # seconds until the first task must have ended
LEAST = 20  # tasks, for a rate to mean anything
NOOP_SLOTS = {"processes": 2, "threads": 10, "greens": 100, "solo": 1}
IO_SLOTS = dict.fromkeys(NOOP_SLOTS, 500)
CPU_SLOTS = dict.fromkeys(NOOP_SLOTS, 2)


def rate(records: list[tuple[int, int]]) -> float:
    """Tasks a second, from the begin of the first to the end of the last.

    Raises:
        Failed: There are too few.
    """
    if len(records) < LEAST:
        raise Failed(f"only {len(records)} tasks have ended in time")
    begun, ended = min(begun for begun, _ in records), max(ended for _, ended in records)
    return len(records) / max(ended - begun, 1) * 1e9


def drained(bout: Bout, amount: Amount) -> Figures:
    """Start the worker on the queue as it is, wait, and return the rate and the CPU time of a task.

    CPU time is counted from the first task on: what starting the processes costs is left out.
    """
    bout.start()
    bout.must_reach(1, STARTING)
    processes = bout.running()
    before, already = processes.usage(), bout.reader.look()
    bout.wait_for(amount.tasks, amount.seconds)
    done = bout.reader.look()
    used = processes.usage().since(before)
    figures = {"value": rate(bout.reader.records), "tasks": float(done)}
    if (counted := done - already) >= LEAST:
        figures["main_us"] = used.main / counted * 1e6
        figures["children_us"] = used.children / counted * 1e6
    return figures


def drain(
    case: str, task: str, kinds: Mapping[str, int], contender: Contender, server: Server, amount: Amount, _: int
) -> Figures:
    with Bout(contender, server.url, slots_of(contender, kinds, case)) as bout:
        bout.send(task, amount.tasks)
        return drained(bout, amount)


def _noop(broker: str, title: str, full: Amount, quick: Amount | None) -> Case:
    name = f"noop-{broker}"
    return Case(
        name=name,
        title=title,
        unit="tasks/s",
        broker=broker,
        measure=functools.partial(drain, name, "noop", NOOP_SLOTS),
        full=full,
        quick=quick,
    )


DRAINS = (
    attrs.evolve(
        _noop(
            "redis",
            "Tasks that do nothing, Redis",
            Amount(tasks=20_000, seconds=20, rounds=3),
            Amount(tasks=3_000, seconds=2.5, rounds=1),
        ),
        floors={
            "bare codec": floors.codec,
            "bare pipe round trip": floors.pipe,
            "bare redis-py pipelined drain": floors.redis_drain,
        },
    ),
    _noop(
        "rabbitmq",
        "Tasks that do nothing, RabbitMQ",
        Amount(tasks=20_000, seconds=20, rounds=3),
        Amount(tasks=2_000, seconds=2.5, rounds=1),
    ),
    _noop(
        "sqlite",
        "Tasks that do nothing, embedded SQLite",
        Amount(tasks=5_000, seconds=15, rounds=3),
        Amount(tasks=500, seconds=2.5, rounds=1),
    ),
    Case(
        name="io",
        title="Tasks that wait 50 ms, 500 at a time, Redis",
        unit="tasks/s",
        measure=functools.partial(drain, "io", "io", IO_SLOTS),
        full=Amount(tasks=20_000, seconds=15, rounds=3),
        quick=Amount(tasks=3_000, seconds=2.5, rounds=1),
        floors={"what 500 at a time can reach": floors.io_limit},
    ),
    Case(
        name="cpu",
        title="Tasks that use 5 ms of CPU, 2 at a time, Redis",
        unit="tasks/s",
        measure=functools.partial(drain, "cpu", "cpu", CPU_SLOTS),
        full=Amount(tasks=3_000, seconds=15, rounds=3),
        quick=Amount(tasks=500, seconds=2.5, rounds=1),
        floors={"two bare processes": floors.bare_processes},
    ),
)
