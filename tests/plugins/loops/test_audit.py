"""The slot audit, with a pool that lies."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from worker_kernel import Outcome, OutcomeKind, TaskOptions
from worker_loops.audit import EVERY, PERSISTS


def look(o: Any, times: int = PERSISTS) -> None:
    for _ in range(times):
        o.clock.now += EVERY
        o.desk.audit.look()


def say(o: Any, **lies: Any) -> None:
    """Let the pool say something else of itself."""
    honest = type(o.pool).statistics.__get__(o.pool)
    o.pool.statistics = lambda: attrs.evolve(honest(), **lies)


def test_with_an_honest_pool_there_is_nothing_to_repair(office: Any, message: Any, caplog: Any) -> None:
    o = office(slots=2, worker_prefetch_buffer=None)
    o.pool.likes = lambda runtime: 2
    for n in range(12):
        o.deliver(message(str(n)))
        look(o)
        if n % 3:
            o.end(OutcomeKind.SUCCEEDED, runtime=0.001)
        o.inbox.resized(2 + n % 2)
        o.events()
        look(o)
    assert o.desk.audit.repaired == 0
    assert "slot audit" not in caplog.text


@pytest.mark.parametrize("started", [True, False])
def test_a_job_that_the_pool_forgets_is_lost_and_its_slot_is_free(
    office: Any, message: Any, caplog: Any, started: bool
) -> None:
    o = office(slots=1)
    m, behind = o.deliver(message("1")), o.deliver(message("2"))
    if started:
        o.pool.accept(o.pool.jobs[0])
        o.events()
    forgotten = o.pool.jobs.pop()

    look(o, PERSISTS - 1)
    assert m.fates == [], "it may only be late"
    look(o, 1)

    assert "slot audit: the pool says nothing any more of t[1]" in caplog.text
    assert (m.fates, behind.fates) == (["requeue"], [])
    assert ([job.id for job in o.pool.jobs], o.slots.running) == (["2"], 1)
    o.inbox.finished(forgotten, Outcome(job_id="1", kind=OutcomeKind.SUCCEEDED, stored=True))
    o.events()
    assert m.fates == ["requeue"], "what it says of it later changes nothing"
    assert o.desk.audit.repaired == 1


def test_where_it_was_acknowledged_early_its_loss_is_stored(office: Any, message: Any) -> None:
    o = office(TaskOptions(name="t", acks_late=False), slots=1)
    m = o.deliver(message("1"))
    o.pool.jobs.clear()
    look(o)
    (report,) = o.pool.jobs
    assert (report.is_report, report.report.kind) == (True, OutcomeKind.LOST)
    assert (m.fates, o.slots.running) == (["ack"], 0)


def test_a_job_that_ends_in_between_is_not_lost(office: Any, message: Any, caplog: Any) -> None:
    o = office(slots=1)
    m = o.deliver(message("1"))
    look(o, PERSISTS - 1)
    o.pool.finish(o.pool.jobs[0], OutcomeKind.SUCCEEDED)
    look(o, 2 * PERSISTS)  # the pool has it no more, and the loop has not heard of it yet
    o.events()
    look(o)
    assert (m.fates, o.desk.audit.repaired) == (["ack"], 0)


def test_looks_that_follow_each_other_at_once_count_as_one(office: Any, message: Any) -> None:
    o = office(slots=1)
    o.deliver(message("1"))
    o.pool.jobs.clear()
    o.clock.now += EVERY
    for _ in range(3 * PERSISTS):
        o.desk.audit.look()
    assert o.desk.audit.repaired == 0


def test_a_job_that_is_still_listed_or_queued_is_left_alone(office: Any, message: Any) -> None:
    o = office(slots=1)
    o.deliver(message("1"))
    say(o, running=0, free=1)  # the count lies, the list does not
    look(o)
    assert o.desk.audit.repaired == 0


def test_a_pool_of_another_size_is_granted_that(office: Any, message: Any, caplog: Any) -> None:
    o = office(slots=4)
    o.deliver(message("1"))
    say(o, size=2, limit=2, free=1)
    look(o)
    assert o.slots.limit == 2
    assert "slot audit: 4 slot(s) are granted, but the pool has 2" in caplog.text


def test_a_pool_whose_count_does_not_add_up_is_told_of_once(office: Any, message: Any, caplog: Any) -> None:
    o = office(slots=2)
    o.deliver(message("1"))
    say(o, free=2)
    look(o, 3 * PERSISTS)
    assert caplog.text.count("its count cannot be relied on (None[1])") == 1


def test_a_ticket_that_nobody_holds_is_given_back(office: Any, message: Any, caplog: Any) -> None:
    o = office(slots=2)
    o.deliver(message("1"))
    o.slots.take()
    look(o, 1)
    assert (o.slots.running, o.slots.free) == (1, 1)
    assert "slot audit: 2 slot(s) are taken, but 1 job(s) hold one (t[1])" in caplog.text
