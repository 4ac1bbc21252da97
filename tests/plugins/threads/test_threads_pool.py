"""What the pool of threads promises beyond the conformance kit."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker_kernel import CancelHow, CancelReply, JobKilled, OutcomeKind, PoolConfig, Unsupported
from worker_kernel.testing import FakeJob, RecordingListener
from worker_kernel.testing.recording import eventually
from worker_pool_threads import CONTRACT, pools
from worker_pool_threads.pool import ThreadsPool

PATIENCE = 20.0
MakePool = Callable[..., ThreadsPool]


def listener_of(pool: ThreadsPool) -> RecordingListener:
    listener = pool.config.listener
    assert isinstance(listener, RecordingListener)
    return listener


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    made: list[ThreadsPool] = []

    def make(limit: int = 1, *, raising: tuple[str, ...] = (), **options: Any) -> ThreadsPool:
        listener = RecordingListener(raising=raising, patience=PATIENCE)
        pool = ThreadsPool(PoolConfig(limit=limit, listener=listener, **{"limit_grace": 0.1, **options}))
        made.append(pool)
        pool.start()
        return pool

    yield make
    for pool in made:
        pool.terminate()


def stubborn(job: FakeJob) -> object:
    """Swallow every kill until the job is released."""
    while not job.released:
        try:
            time.sleep(0.005)
        except JobKilled:
            continue
    return "late"


def zombie(pool: ThreadsPool, **options: Any) -> FakeJob:
    """Run a task that outlives its hard limit, and wait until it is reported."""
    job = FakeJob(body=stubborn, **{"time_limit": 0.02, **options})
    pool.submit(job)
    listener_of(pool).wait_outcome(job.id)
    return job


def test_the_plugin_declares_the_class_s_own_capabilities() -> None:
    (spec,) = pools()
    assert CONTRACT == 1
    assert (spec.name, spec.cls) == ("threads", "worker_pool_threads.pool:ThreadsPool")
    assert spec.capabilities == ThreadsPool.capabilities


def test_a_zombie_is_reported_unstored_and_its_slot_replaced(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()
    with caplog.at_level(logging.ERROR, "worker_pool_threads"):
        job = zombie(pool)
    outcome = listener_of(pool).wait_outcome(job.id)
    assert (outcome.kind, outcome.stored) == (OutcomeKind.TIMED_OUT, False)
    assert outcome.failure is not None
    assert (outcome.failure.type, outcome.failure.args) == ("TimeLimitExceeded", (0.02,))
    assert "in stubborn" in caplog.text, "its stack is logged"
    seen = pool.statistics()
    assert (seen.size, seen.free, seen.zombies, seen.done, seen.failed) == (1, 1, 1, 1, 1)
    assert seen.recycled == {"zombie": 1}
    assert [(slot.index, slot.state) for slot in seen.slots] == [(0, "free"), (0, "zombie")]
    following = FakeJob()
    pool.submit(following)
    assert listener_of(pool).wait_outcome(following.id).kind is OutcomeKind.SUCCEEDED
    job.release()


def test_what_a_zombie_returns_is_neither_stored_nor_told(make_pool: MakePool) -> None:
    pool = make_pool()
    job = zombie(pool)
    job.release()
    eventually(lambda: pool.statistics().zombies == 0, "the zombie is gone from the count when its thread ends")
    assert job.steps == ["prepare", "call"]
    assert len(listener_of(pool).outcomes(job.id)) == 1


def test_more_zombies_than_the_budget_are_a_failing_pool_once(make_pool: MakePool) -> None:
    pool = make_pool(zombie_budget=1)
    listener = listener_of(pool)
    jobs = [zombie(pool)]
    assert not [told for told in listener.told if told.what == "failing"]
    jobs += [zombie(pool), zombie(pool)]
    listener.wait_until(lambda: any(told.what == "failing" for told in listener.told), "failing")
    (failing,) = [told.detail for told in listener.told if told.what == "failing"]
    assert isinstance(failing, tuple)
    assert failing[1] == 9
    report = FakeJob(is_report=True)
    pool.submit(report)
    assert listener.wait_outcome(report.id).kind is OutcomeKind.SUCCEEDED, "its reports still run"
    for job in jobs:
        job.release()


def test_a_kill_that_finds_no_end_is_a_cancelled_zombie(make_pool: MakePool) -> None:
    pool = make_pool()
    job = FakeJob(body=stubborn)
    pool.submit(job)
    assert job.started.wait(PATIENCE)
    assert pool.cancel(job.id, CancelHow.KILL) is CancelReply.CANCELLING
    outcome = listener_of(pool).wait_outcome(job.id)
    assert (outcome.kind, outcome.stored) == (OutcomeKind.CANCELLED, False)
    assert pool.statistics().zombies == 1
    job.release()


def test_a_report_cannot_be_cancelled(make_pool: MakePool) -> None:
    pool = make_pool()
    report = FakeJob(is_report=True, held=True)
    pool.submit(report)
    assert report.started.wait(PATIENCE)
    assert pool.cancel(report.id, CancelHow.KILL) is CancelReply.UNKNOWN
    report.release()
    assert listener_of(pool).wait_outcome(report.id).kind is OutcomeKind.SUCCEEDED


def test_slots_end_in_pairs_but_not_for_a_zombie(make_pool: MakePool) -> None:
    hooks: list[tuple[str, int, int]] = []
    lock = threading.Lock()

    def hook(name: str) -> Callable[[int], None]:
        def call(index: int) -> None:
            with lock:
                hooks.append((name, index, threading.get_ident()))

        return call

    pool = make_pool(2, slot_start=hook("start"), slot_end=hook("end"), max_tasks_per_child=1)
    quick = FakeJob()
    pool.submit(quick)
    listener_of(pool).wait_outcome(quick.id)
    job = zombie(pool)
    assert pool.stop(PATIENCE)
    starts = [entry[1:] for entry in hooks if entry[0] == "start"]
    ends = [entry[1:] for entry in hooks if entry[0] == "end"]
    assert len(starts) == len(ends) + 1
    assert {thread for _, thread in starts} - {thread for _, thread in ends} == {job.threads["call"]}
    job.release()


@pytest.mark.parametrize("error", [RuntimeError("hook"), SystemExit(1)])
def test_a_hook_that_raises_takes_no_slot_with_it(make_pool: MakePool, error: BaseException) -> None:
    def hook(index: int) -> None:
        raise error

    pool = make_pool(slot_start=hook, slot_end=hook, max_tasks_per_child=1)
    for _ in range(3):
        job = FakeJob()
        pool.submit(job)
        assert listener_of(pool).wait_outcome(job.id).kind is OutcomeKind.SUCCEEDED


def test_a_slot_keeps_its_thread_where_the_system_has_no_other(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(max_tasks_per_child=1)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            job = FakeJob()
            pool.submit(job)
            assert listener_of(pool).wait_outcome(job.id).kind is OutcomeKind.SUCCEEDED
        with pytest.raises(RuntimeError, match="no thread"):
            pool.grow(1)
    seen = pool.statistics()
    assert (seen.size, seen.limit, seen.recycled) == (1, 1, {})


def test_a_start_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Thread.start
    before = threading.active_count()

    def start(thread: threading.Thread) -> None:
        if thread.name.endswith("slot-2"):
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    pool = ThreadsPool(PoolConfig(limit=4, listener=RecordingListener()))
    with pytest.raises(RuntimeError, match="slot 2 gets no thread"):
        pool.start()
    assert threading.active_count() == before


def test_restart_names_the_setting_that_allows_it(make_pool: MakePool) -> None:
    with pytest.raises(Unsupported, match="worker_pool_restarts"):
        make_pool().restart()


def test_stop_takes_an_infinite_time(make_pool: MakePool) -> None:
    assert make_pool().stop(float("inf"))


def test_terminate_ends_what_python_can_end_and_loses_the_rest(make_pool: MakePool) -> None:
    pool = make_pool(4)
    jobs = [FakeJob(held=True), FakeJob(body=stubborn), FakeJob(finish_body=lambda job: job.dwell()), FakeJob()]
    for job in jobs[:3]:
        pool.submit(job)
    for job in jobs[:2]:
        assert job.started.wait(PATIENCE)
    assert jobs[2].finishing.wait(PATIENCE)
    pool.terminate()
    kinds = [listener_of(pool).outcomes(job.id)[0].kind for job in jobs[:3]]
    assert kinds == [OutcomeKind.CANCELLED, OutcomeKind.LOST, OutcomeKind.LOST]
    for job in jobs:
        job.release()
    eventually(lambda: pool.statistics().zombies == 0, "the zombie has ended")
    assert listener_of(pool).violations() == []


STEPS = st.sampled_from(["", "prepare", "call", "finish"])
ERRORS = st.sampled_from([RuntimeError, SystemExit, MemoryError, KeyboardInterrupt, JobKilled, RecursionError])
LISTENERS = st.sets(st.sampled_from(["accepted", "finished"]))


@settings(max_examples=60, deadline=None, database=None)
@given(
    script=st.lists(st.tuples(STEPS, ERRORS, st.booleans()), min_size=1, max_size=12),
    slots=st.integers(1, 3),
    raising=LISTENERS,
    quota=st.sampled_from([None, 1, 2]),
)
def test_every_slot_is_released_exactly_once_whatever_raises(
    script: list[tuple[str, type[BaseException], bool]], slots: int, raising: set[str], quota: int | None
) -> None:
    listener = RecordingListener(raising=tuple(raising), patience=PATIENCE)
    pool = ThreadsPool(PoolConfig(limit=slots, listener=listener, limit_grace=PATIENCE, max_tasks_per_child=quota))
    pool.start()
    jobs: list[FakeJob] = []
    for step, error, cancel in script:
        job = FakeJob(raises={step: error()} if step else None)
        jobs.append(job)
        pool.submit(job)
        if cancel:
            pool.cancel(job.id, CancelHow.RAISE)
        seen = pool.statistics()
        assert seen.size == seen.running + seen.free == slots
    for job in jobs:
        listener.wait_outcome(job.id)
    assert pool.stop(PATIENCE)
    seen = pool.statistics()
    assert (seen.running, seen.queued, seen.zombies, seen.size) == (0, 0, 0, slots)
    assert listener.violations() == []
    assert [len(listener.outcomes(job.id)) for job in jobs] == [1] * len(jobs)


def test_cancels_and_limits_around_the_end_never_hit_another_job(make_pool: MakePool) -> None:
    """Each job that is not cancelled and has no limit must succeed, whatever is raised into its neighbours."""
    pool = make_pool(2, limit_grace=PATIENCE)
    listener = listener_of(pool)
    victims: list[FakeJob] = []
    others: list[FakeJob] = []
    for number in range(3000):
        victim = FakeJob(soft_time_limit=0.001 if number % 3 else None, time_limit=0.002 if number % 2 else None)
        other = FakeJob(value="untouched")
        pool.submit(victim)
        pool.submit(other)
        pool.cancel(victim.id, CancelHow.RAISE)
        victims.append(victim)
        others.append(other)
    assert pool.stop(60.0) or pytest.fail("the pool hangs")
    assert {listener.outcomes(job.id)[0].kind for job in others if job.steps} == {OutcomeKind.SUCCEEDED}
    assert not [job for job in victims + others if job.interrupted]
    assert listener.violations() == []


SLEEPER = """
import json, time
from worker_kernel import PoolConfig
from worker_kernel.testing import FakeJob, RecordingListener
from worker_pool_threads.pool import ThreadsPool

listener = RecordingListener()
pool = ThreadsPool(PoolConfig(limit=1, listener=listener, limit_grace=1.0))
pool.start()
begun = time.monotonic()
stuck, following = FakeJob(body=lambda job: time.sleep(30), time_limit=1.0), FakeJob()
pool.submit(stuck)
pool.submit(following)
kinds = [listener.wait_outcome(job.id).kind for job in (stuck, following)]
print(json.dumps({"kinds": kinds, "seconds": time.monotonic() - begun}), flush=True)
"""


def test_a_task_asleep_past_its_limit_holds_its_one_slot_for_less_than_five_seconds() -> None:
    done = subprocess.run([sys.executable, "-c", SLEEPER], capture_output=True, text=True, timeout=60, check=True)
    seen = json.loads(done.stdout)
    assert seen["kinds"] == ["timed out", "succeeded"]
    assert seen["seconds"] < 5.0
