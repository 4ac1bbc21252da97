"""What is held beyond the slots: none for long tasks, deep for short ones, and given back when that was wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worker_kernel import OutcomeKind, Slots, TaskOptions
from worker_loops.buffer import MOST, Buffer
from worker_loops.dispatch import PATIENCE
from worker_loops.pace import DEEPEST, HORIZON, Pace
from worker_loops.tasks import TasksStep

ADAPTIVE: dict[str, Any] = {"worker_prefetch_buffer": None}


def paced(*seconds: float) -> Pace:
    pace = Pace()
    for one in seconds:
        pace.ran(one)
    pace.look()
    return pace


def run(o: Any, message: Any, seconds: float, times: int = 8) -> None:
    """Let so many tasks run, one after the other."""
    for n in range(times):
        o.deliver(message(f"run{n}"))
        o.end(OutcomeKind.SUCCEEDED, runtime=seconds)


def turn(o: Any) -> None:
    """What the loop does once per turn: fire timers, take events, tell the broker, hand back."""
    o.timers.fire()
    o.events()
    step = TasksStep()
    step._desk = o.desk
    step._consumer = SimpleNamespace(qos=lambda **kw: None, cancel=lambda: None, consume=lambda: None)
    step.apply_flow()
    o.events()


@pytest.mark.parametrize(
    ("seconds", "depth"),
    [(0.0, DEEPEST), (0.0001, DEEPEST), (0.001, 64), (0.005, 16), (0.02, 4), (0.09, 1), (0.11, 0), (1.0, 0), (60.0, 0)],
)
def test_the_depth_follows_the_run_time(seconds: float, depth: int) -> None:
    assert paced(*[seconds] * 8).depth == depth
    assert depth * seconds <= HORIZON, "what is held starts within the horizon"


def test_nothing_is_held_before_a_few_runs_were_measured() -> None:
    assert paced(*[0.0001] * 7).depth == 0
    assert paced().depth == 0


def test_one_long_run_among_short_ones_ends_the_holding_at_once_and_short_ones_bring_it_back() -> None:
    pace = paced(*[0.0001] * 50)
    pace.ran(10.0)
    assert pace.look()
    assert pace.depth == 0
    for _ in range(60):
        pace.ran(0.0001)
    assert pace.look()
    assert pace.depth > 0


@given(st.lists(st.floats(0, 100), max_size=60))
def test_no_more_is_ever_held_than_starts_within_the_horizon(runs: list[float]) -> None:
    pace = Pace()
    for seconds in runs:
        pace.ran(seconds)
        pace.look()
        assert 0 <= pace.depth <= DEEPEST
        assert pace.depth * pace.average <= HORIZON * 1.001


def test_a_number_that_was_given_stays_and_one_for_each_slot_follows_the_slots() -> None:
    slots = Slots(2)
    fixed, each, by_pace = Buffer(slots, fixed=5), Buffer(slots, per_slot=3), Buffer(slots)
    for buffer in (fixed, each, by_pace):
        for _ in range(8):
            buffer.pace.ran(0.0001)
        slots.resize(4)
        buffer.resize()
        buffer.look()
    assert [buffer.size for buffer in (fixed, each, by_pace)] == [5, 12, min(4 * DEEPEST, MOST)]
    assert [buffer.adaptive for buffer in (fixed, each, by_pace)] == [False, False, True]
    slots.resize(10_000)
    by_pace.resize()
    assert by_pace.size == MOST


@pytest.mark.parametrize(("runs", "window"), [(1, 2), (5, 2 + 2 * 4)])
def test_for_a_child_that_is_replaced_soon_no_more_is_held_than_it_runs(
    office: Any, message: Any, runs: int, window: int
) -> None:
    o = office(slots=2, **ADAPTIVE, worker_max_tasks_per_child=runs)
    run(o, message, 0.0001)
    assert o.desk.flow.window == window


@pytest.mark.parametrize(
    ("asked", "window"),
    [
        ({"worker_prefetch_buffer": 3}, 5),
        ({"worker_prefetch_buffer": None, "worker_prefetch_multiplier": 1}, 2),
        ({"worker_prefetch_buffer": None, "worker_prefetch_multiplier": 4}, 8),
        ({"worker_prefetch_buffer": None, "worker_disable_prefetch": True}, 2),
        (ADAPTIVE, 2 + 2 * DEEPEST),
    ],
)
def test_a_fixed_number_switches_the_pace_off(office: Any, message: Any, asked: dict[str, Any], window: int) -> None:
    o = office(slots=2, **asked)
    run(o, message, 0.0001)
    assert o.desk.flow.window == window
    said = o.desk.statistics()["buffer"]
    assert (said["size"], said["adaptive"]) == (window - 2, asked is ADAPTIVE)
    assert said["runtime"] == 0.0001


def test_a_long_run_shuts_the_window_again(office: Any, message: Any) -> None:
    o = office(slots=2, **ADAPTIVE)
    run(o, message, 0.0001)
    run(o, message, 30.0, times=1)
    assert o.desk.flow.window == 2


def test_where_a_process_may_have_died_of_a_task_nothing_is_held_for_a_while(office: Any, message: Any) -> None:
    o = office(slots=2, **ADAPTIVE)
    run(o, message, 0.0001)
    o.deliver(message("again", redelivered=True, attempts=1))
    assert o.desk.flow.window == 2


class TestAhead:
    def test_a_pool_gets_as_many_jobs_beyond_its_slots_as_it_likes(self, office: Any, message: Any) -> None:
        o = office(slots=2, **ADAPTIVE)
        o.pool.likes = lambda runtime: 3 if runtime < 0.005 else 0
        run(o, message, 0.0001)
        for n in range(9):
            o.deliver(message(str(n)))
        assert [job.id for job in o.pool.jobs] == ["0", "1", "2", "3", "4"]
        assert (o.slots.running, o.desk.statistics()["ahead"], o.desk.statistics()["waiting"]) == (2, 3, 4)

        o.pool.finish(o.pool.jobs[4], OutcomeKind.SUCCEEDED, runtime=0.0001)  # in whatever order
        o.pool.finish(o.pool.jobs[0], OutcomeKind.SUCCEEDED, runtime=0.0001)
        o.events()

        assert [job.id for job in o.pool.jobs] == ["1", "2", "3", "5", "6"]
        assert (o.slots.running, o.desk.statistics()["ahead"]) == (2, 3)

    def test_it_gets_none_beyond_its_slots_where_runs_are_long(self, office: Any, message: Any) -> None:
        o = office(slots=1, **ADAPTIVE)
        o.pool.likes = lambda runtime: 3 if runtime < 0.005 else 0
        run(o, message, 0.02)
        for n in range(4):
            o.deliver(message(str(n)))
        assert len(o.pool.jobs) == 1

    def test_what_is_acknowledged_before_it_runs_never_goes_ahead(self, office: Any, message: Any) -> None:
        o = office(TaskOptions(name="t", acks_late=False), slots=1, **ADAPTIVE)
        o.pool.likes = lambda runtime: 3
        run(o, message, 0.0001)
        waiting = [o.deliver(message(str(n))) for n in range(3)]
        assert [m.fates for m in waiting] == [["ack"], [], []]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it is a class: nothing to reset
    @given(steps=st.lists(st.tuples(st.sampled_from("dfgsr"), st.integers(0, 30)), max_size=60))
    def test_slots_and_jobs_always_add_up(self, office: Any, message: Any, steps: list[tuple[str, int]]) -> None:
        o = office(slots=2, **ADAPTIVE)
        o.pool.likes = lambda runtime: 4
        run(o, message, 0.0001)
        limit, number = 2, 0
        for step, which in steps:
            if step == "d":
                number += 1
                o.deliver(message(str(number)))
            elif step == "f" and o.pool.jobs:
                o.pool.finish(o.pool.jobs[which % len(o.pool.jobs)], OutcomeKind.SUCCEEDED, runtime=0.0001)
            elif step in "gs":
                limit = max(1, limit + (1 if step == "g" else -1))
                o.inbox.resized(limit)
            elif step == "r":
                o.clock.now += PATIENCE
                turn(o)
            o.events()
            jobs = len(o.pool.jobs)
            holders = [one for one in o.desk.requests() if one.ticket is not None]
            ahead = cast("int", o.desk.statistics()["ahead"])
            assert len(holders) == o.slots.running
            assert o.slots.running + ahead == jobs
            assert not (ahead and o.slots.free), "nothing is ahead while a slot is free"
            assert ahead <= 4


class TestHandingBack:
    def test_what_waits_behind_a_long_job_is_handed_back_and_was_never_started(self, office: Any, message: Any) -> None:
        o = office(slots=1, **ADAPTIVE)
        run(o, message, 0.0001)
        long = o.deliver(message("long"))
        short = [o.deliver(message(str(n))) for n in range(5)]
        o.pool.accept(o.pool.jobs[0])
        o.events()
        o.clock.now += PATIENCE
        turn(o)
        assert o.desk.flow.window == 1, "and so nobody gives it to this worker again"
        assert [m.fates for m in short] == [["requeue"]] * 5
        assert (long.fates, [job.id for job in o.pool.jobs]) == ([], ["long"])

    def test_so_is_what_the_pool_has_ahead(self, office: Any, message: Any) -> None:
        o = office(slots=1, **ADAPTIVE)
        o.pool.likes = lambda runtime: 2
        run(o, message, 0.0001)
        messages = [o.deliver(message(str(n))) for n in range(6)]
        o.pool.accept(o.pool.jobs[0])
        o.pool.accept(o.pool.jobs[1])  # another process was faster
        o.events()
        o.clock.now += PATIENCE
        turn(o)
        assert [m.fates for m in messages] == [[], [], *[["requeue"]] * 4]
        assert [job.id for job in o.pool.jobs] == ["0", "1"]
        o.end(OutcomeKind.SUCCEEDED, runtime=1.0)
        o.end(OutcomeKind.SUCCEEDED, runtime=1.0)
        assert [m.fates for m in messages[:2]] == [["ack"]] * 2

    def test_where_the_pool_gives_back_a_namesake_that_goes_back_to_the_queue(self, office: Any, message: Any) -> None:
        o = office(slots=2, **ADAPTIVE)
        o.pool.likes = lambda runtime: 1
        run(o, message, 0.0001)
        first, long, ahead = (o.deliver(message(name)) for name in ("twice", "long", "twice"))
        o.pool.accept(o.pool.jobs[1])
        o.events()
        o.clock.now += PATIENCE
        turn(o)  # asks for the one that is ahead, and gets the first of that name
        assert (first.fates, long.fates, ahead.fates) == (["requeue"], [], [])
        for _ in range(2):
            o.end(OutcomeKind.SUCCEEDED, runtime=1.0)
        assert (long.fates, ahead.fates) == (["ack"], ["ack"])

    def test_the_broker_knows_the_smaller_window_first(self, office: Any, message: Any) -> None:
        o = office(slots=1, **ADAPTIVE)
        run(o, message, 0.0001)
        o.deliver(message("long"))
        waits = o.deliver(message("short"))
        o.clock.now += PATIENCE
        o.timers.fire()
        assert (o.desk.flow.window, o.desk.stalled, waits.fates) == (1, True, [])

    def test_nothing_is_handed_back_while_jobs_end(self, office: Any, message: Any) -> None:
        o = office(slots=1, **ADAPTIVE)
        run(o, message, 0.0001)
        messages = [o.deliver(message(str(n))) for n in range(5)]
        for _ in range(5):
            o.clock.now += PATIENCE
            o.end(OutcomeKind.SUCCEEDED, runtime=0.0001)
            turn(o)
        assert [m.fates for m in messages] == [["ack"]] * 5

    def test_a_buffer_of_a_given_size_is_kept(self, office: Any, message: Any) -> None:
        o = office(slots=1, worker_prefetch_buffer=3)
        o.deliver(message("long"))
        short = o.deliver(message("short"))
        o.clock.now += 10 * PATIENCE
        turn(o)
        assert short.fates == []

    def test_a_revoked_task_that_was_ahead_is_refused_when_it_comes_back(self, office: Any, message: Any) -> None:
        o = office(slots=1, **ADAPTIVE)
        o.pool.likes = lambda runtime: 2
        run(o, message, 0.0001)
        o.deliver(message("long"))
        gone = o.deliver(message("gone"))
        o.desk.revoked.add(["gone"])
        o.clock.now += PATIENCE
        turn(o)
        (report,) = [job for job in o.pool.jobs if job.is_report]
        o.pool.finish(report, OutcomeKind.CANCELLED)
        o.events()
        assert gone.fates == ["ack"]
