"""Rate limits and flow control."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_kernel import Slots, Ticket
from worker_loops.buffer import Buffer
from worker_loops.flow import Flow
from worker_loops.rates import RateLimiter, interval


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [("10", 0.1), ("10/s", 0.1), ("30/m", 2.0), ("1/h", 3600.0), ("0", None), (None, None), ("0.5/s", 2.0)],
)
def test_a_rate_is_read_as_celery_reads_it(rate: str | None, seconds: float | None) -> None:
    assert interval(rate) == seconds


@pytest.mark.parametrize("rate", ["fast", "10/d", "-1", "inf"])
def test_a_rate_that_makes_no_sense_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match=r"expected|could not convert"):
        interval(rate)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=30), st.floats(0.01, 3))
def test_starts_are_never_closer_than_the_spacing(arrivals: list[float], spacing: float) -> None:
    limiter = RateLimiter()
    now, starts = 0.0, []
    for n, gap in enumerate(arrivals):
        now += gap
        starts.append(now + limiter.delay("t", (str(n), 0), spacing, now))
    for earlier, later in itertools.pairwise(starts):
        assert later - earlier >= spacing - 1e-6


def test_who_has_waited_starts_at_once() -> None:
    limiter = RateLimiter()
    assert limiter.delay("t", ("a", 0), 10.0, 0.0) == 0.0
    assert limiter.delay("t", ("b", 0), 10.0, 0.0) == 10.0
    assert limiter.delay("t", ("b", 0), 10.0, 10.0) == 0.0


def test_tasks_have_rates_of_their_own() -> None:
    limiter = RateLimiter()
    assert limiter.delay("t", ("a", 0), 10.0, 0.0) == 0.0
    assert limiter.delay("u", ("a", 0), 10.0, 0.0) == 0.0


def flow_of(slots: Slots, buffer: int | None, most_held: int | None = None) -> Flow:
    return Flow(slots, buffer=Buffer(slots, fixed=buffer), most_held=most_held)


class Broker:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def qos(self, prefetch_count: int, apply_global: bool) -> None:
        self.said.append(prefetch_count)

    def cancel(self) -> None:
        self.said.append("cancel")

    def consume(self) -> None:
        self.said.append("consume")


def test_the_broker_is_told_only_of_changes() -> None:
    flow, broker = flow_of(Slots(4), 1), Broker()
    flow.apply(broker)
    flow.apply(broker)
    flow.held = 2
    flow.apply(broker)
    assert broker.said == [5, 7]


def test_a_window_of_nothing_pauses_because_to_brokers_0_means_no_limit() -> None:
    flow, broker = flow_of(Slots(1), 0), Broker()
    flow.apply(broker)
    flow.early = 1
    flow.apply(broker)
    flow.early = 0
    flow.apply(broker)
    assert broker.said == [1, "cancel", 1, "consume"]


def test_held_messages_widen_the_window_up_to_their_limit_only() -> None:
    flow = flow_of(Slots(2), 0, most_held=3)
    flow.held = 10
    assert flow.window == 5


@given(st.lists(st.sampled_from(["take", "release", "twice", "grow", "shrink"]), max_size=60))
def test_every_ticket_gives_its_slot_back_exactly_once(steps: list[str]) -> None:
    slots, limit = Slots(3), 3
    out: list[Ticket] = []
    for step in steps:
        if step == "take":
            ticket = slots.take()
            assert (ticket is None) == (len(out) >= limit)
            if ticket is not None:
                out.append(ticket)
        elif step in ("release", "twice") and out:
            ticket = out.pop()
            assert ticket.release()
            if step == "twice":
                assert not ticket.release()
        elif step in ("grow", "shrink"):
            limit = max(1, limit + (1 if step == "grow" else -1))
            slots.resize(limit)
        assert slots.running == len(out)
        assert slots.free == max(0, limit - len(out))
