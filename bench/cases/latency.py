"""How long it takes from a call of the client until the task runs, at 50 calls a second: nothing has to wait."""

from __future__ import annotations

import statistics

from bench.cases.case import Amount, Case, Figures
from bench.cases.drain import NOOP_SLOTS, STARTING
from bench.contender import Bout, Contender
from bench.servers import Server

RATE = 50.0  # calls a second
LATE = 10.0  # seconds that the last tasks may take


def percentiles(records: list[tuple[int, int]]) -> Figures:
    """The median as the value, and the 95th and 99th percentile, in milliseconds."""
    cuts = statistics.quantiles(((ended - sent) / 1e6 for sent, ended in records), n=100, method="inclusive")
    return {"value": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98]}


def latency(contender: Contender, server: Server, amount: Amount, _: int) -> Figures:
    """The client's own part counts: the clock starts before its call."""
    with Bout(contender, server.url, NOOP_SLOTS[contender.mode.kind]) as bout:
        bout.start()
        bout.send("stamp", 1)
        bout.must_reach(1, STARTING)
        client = bout.sending("stamp", amount.tasks, RATE)
        bout.must_reach(1 + amount.tasks, amount.seconds + LATE)
        bout.sent(client)
        return percentiles(sorted(bout.reader.records)[1:])


LATENCY = Case(
    name="latency",
    title="Latency at 50 tasks a second, Redis: median",
    unit="ms",
    less_is_better=True,
    measure=latency,
    full=Amount(tasks=500, seconds=10, rounds=3),
    quick=Amount(tasks=100, seconds=2, rounds=1),
)
