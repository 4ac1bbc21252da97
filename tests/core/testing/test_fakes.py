"""The fakes do what they say, and the recording listener sees each kind of broken rule."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import worker_kernel.testing
from worker_kernel.errors import Ignore, JobKilled, Reject, Retry
from worker_kernel.job import Raised
from worker_kernel.outcome import Outcome, OutcomeKind
from worker_kernel.pool import Slot
from worker_kernel.testing import FakeClock, FakeJob, FakePool, FakeTimers, PoolContract, RecordingListener
from worker_kernel.testing.bench import load_pool


def outcome(job: FakeJob) -> Outcome:
    return Outcome(job_id=job.id, kind=OutcomeKind.SUCCEEDED)


def test_every_public_name_exists() -> None:
    for name in worker_kernel.testing.__all__:
        assert getattr(worker_kernel.testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = worker_kernel.testing.nothing
    assert set(worker_kernel.testing.__all__) <= set(dir(worker_kernel.testing))


def test_a_fake_clock_moves_by_hand_only() -> None:
    clock = FakeClock(wall=100.0)
    clock.advance(2.5)
    clock.sleep(1.5)
    assert (clock.monotonic(), clock.wall(), clock.slept) == (4.0, 104.0, [1.5])
    clock.set_wall(50.0)
    assert (clock.monotonic(), clock.wall()) == (4.0, 50.0)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_fake_timers_fire_in_order_and_stop_at_each_due_time() -> None:
    timers = FakeTimers()
    fired: list[tuple[str, float]] = []

    def note(name: str) -> None:
        fired.append((name, timers.clock.monotonic()))

    timers.call_later(3.0, note, "three")
    timers.call_later(1.0, note, "one")
    repeated = timers.call_repeatedly(2.0, note, "each two")
    cancelled = timers.call_later(1.0, note, "never")
    cancelled.cancel()
    assert timers.next_due() == 1.0
    assert timers.advance(4.0) == 4
    assert fired == [("one", 1.0), ("each two", 2.0), ("three", 3.0), ("each two", 4.0)]
    repeated.cancel()
    assert timers.next_due() is None
    assert timers.advance(10.0) == 0
    assert timers.clock.monotonic() == 14.0


def test_a_fake_timer_that_raises_does_not_cost_the_others_theirs(caplog: pytest.LogCaptureFixture) -> None:
    timers = FakeTimers()
    fired: list[str] = []
    timers.call_later(0.0, lambda: 1 / 0)
    timers.call_later(0.0, fired.append, "next")
    assert timers.fire() == 2
    assert fired == ["next"]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("delay", "interval"), [(-0.1, 1.0), (0.0, 0.0)])
def test_fake_timers_refuse_times_that_make_no_sense(delay: float, interval: float) -> None:
    timers = FakeTimers()
    if delay < 0:
        with pytest.raises(ValueError, match="delay"):
            timers.call_later(delay, print)
    else:
        with pytest.raises(ValueError, match="interval"):
            timers.call_repeatedly(interval, print)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (Retry(), OutcomeKind.RETRIED),
        (Reject(requeue=True), OutcomeKind.REJECTED),
        (Ignore(), OutcomeKind.IGNORED),
        (JobKilled("time_limit", math.pi), OutcomeKind.TIMED_OUT),
        (JobKilled("cancel"), OutcomeKind.CANCELLED),
        (SystemExit(), OutcomeKind.FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_fake_job_derives_its_outcome_from_its_ending(raised: BaseException, kind: OutcomeKind) -> None:
    job = FakeJob(raises={"call": raised})
    told = job.run()
    assert told.kind is kind
    assert told.requeue == (kind is OutcomeKind.REJECTED)
    assert job.raised is raised
    assert isinstance(job.endings[0], Raised)


def test_a_fake_job_does_not_travel() -> None:
    with pytest.raises(TypeError, match="process that made it"):
        FakeJob().to_frame()


def test_the_listener_sees_every_broken_rule() -> None:
    slot = Slot(index=0, pid=1)
    one, two = FakeJob(), FakeJob()
    listener = RecordingListener()
    listener.accepted(one, slot)
    listener.accepted(one, Slot(index=1, pid=1))
    listener.accepted(two, slot)
    listener.finished(two, outcome(two))
    listener.finished(two, outcome(two))
    listener.accepted(two, slot)
    assert listener.violations() == [
        f"{one.id} was accepted twice",
        f"slot 0 took {two.id} while it ran {one.id}",
        f"{two.id} was finished twice",
        f"{two.id} was accepted twice",
        f"{two.id} was accepted after it had finished",
    ]


def test_the_listener_is_content_with_an_honest_pool() -> None:
    slot = Slot(index=0, pid=1)
    listener = RecordingListener()
    for job in (FakeJob(), FakeJob()):
        listener.accepted(job, slot)
        listener.finished(job, outcome(job))
    never_started = FakeJob()
    listener.finished(never_started, outcome(never_started))
    assert listener.violations() == []


def test_waiting_for_what_never_happens_ends_with_what_was_told() -> None:
    listener = RecordingListener(patience=0.01)
    listener.resized(7)
    with pytest.raises(AssertionError, match=r"job-x is finished.*resized"):
        listener.wait_outcome("job-x")


def test_a_promise_that_is_overridden_or_deleted_is_noticed() -> None:
    class Weaker(PoolContract):
        pool_path = "worker_kernel.testing:FakePool"
        capabilities = FakePool.capabilities
        test_submit_never_blocks = None  # type: ignore[assignment]  # the point of the test

    with pytest.raises(AssertionError, match=r"Weaker overrides or deletes \['test_submit_never_blocks'\]"):
        Weaker().test_nothing_is_overridden()


def test_a_deviation_with_a_reason_is_allowed() -> None:
    class Deviating(PoolContract):
        pool_path = "worker_kernel.testing:FakePool"
        capabilities = FakePool.capabilities

        @pytest.mark.xfail(reason="the upstream library blocks; see its issue 12")
        def test_submit_never_blocks(self) -> None:
            raise AssertionError

    Deviating().test_nothing_is_overridden()


def test_capabilities_that_differ_from_the_pool_s_own_are_noticed() -> None:
    class Boasting(PoolContract):
        pool_path = f"{Path(__file__).with_name('liars.py')}:Plain"
        capabilities = FakePool.capabilities

    with pytest.raises(AssertionError):
        Boasting().test_the_capabilities_are_the_pool_s_own()


def test_a_pool_path_must_name_a_pool() -> None:
    with pytest.raises(TypeError, match="not a Pool class"):
        load_pool("worker_kernel.testing:FakeJob")
