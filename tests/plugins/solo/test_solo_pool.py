"""What the pool in the main thread promises beyond the conformance kit."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from worker_kernel import (
    CancelHow,
    CancelReply,
    JobKilled,
    OutcomeKind,
    PoolConfig,
    SoftTimeLimitExceeded,
    Unsupported,
)
from worker_kernel.testing import FakeJob, RecordingListener
from worker_pool_solo import CONTRACT, pools
from worker_pool_solo.pool import SoloPool

PATIENCE = 20.0


class Served:
    """A pool that is served by the main thread, while the scenario has a second one, as the loop would."""

    def __init__(self, **options: Any) -> None:
        self.listener = RecordingListener(patience=PATIENCE)
        self.pool = SoloPool(PoolConfig(limit=1, listener=self.listener, **{"limit_grace": 0.1, **options}))
        self.jobs: list[FakeJob] = []

    def submit(self, **script: Any) -> FakeJob:
        job = FakeJob(**script)
        self.jobs.append(job)
        self.pool.submit(job)
        return job

    def failings(self) -> list[Any]:
        return [told.detail for told in self.listener.told if told.what == "failing"]

    def run(self, scenario: Callable[[Served], None]) -> None:
        raised: list[BaseException] = []

        def beside() -> None:
            try:
                scenario(self)
            except BaseException as exc:
                raised.append(exc)
            finally:
                for job in self.jobs:
                    job.release()
                self.pool.terminate()

        self.pool.start()
        thread = threading.Thread(target=beside, name="loop")
        thread.start()
        self.pool.serve()
        thread.join()
        if raised:
            raise raised[0]


def serve(scenario: Callable[[Served], None], **options: Any) -> None:
    Served(**options).run(scenario)


def stubborn(job: FakeJob) -> object:
    """Swallow every kill until the job is released."""
    while not job.released:
        try:
            time.sleep(0.005)
        except JobKilled:
            continue
    return "late"


def test_the_plugin_declares_the_class_s_own_capabilities() -> None:
    (spec,) = pools()
    assert CONTRACT == 1
    assert (spec.name, spec.cls) == ("solo", "worker_pool_solo.pool:SoloPool")
    assert spec.capabilities == SoloPool.capabilities


def test_a_job_has_the_main_thread() -> None:
    def scenario(served: Served) -> None:
        job = served.submit()
        served.listener.wait_outcome(job.id)
        assert set(job.threads.values()) == {threading.main_thread().ident}

    serve(scenario)


@pytest.mark.parametrize("limit", ["soft", "hard", "cancel"])
def test_a_sleep_is_interrupted(limit: str) -> None:
    def scenario(served: Served) -> None:
        limits = {"soft": {"soft_time_limit": 0.02}, "hard": {"time_limit": 0.02}}.get(limit, {})
        begun = time.monotonic()
        job = served.submit(body=lambda job: time.sleep(60), **limits)
        if limit == "cancel":
            assert job.started.wait(PATIENCE)
            assert served.pool.cancel(job.id, CancelHow.RAISE) is CancelReply.CANCELLING
        kind = served.listener.wait_outcome(job.id).kind
        assert time.monotonic() - begun < PATIENCE
        assert kind is {"soft": OutcomeKind.FAILED, "hard": OutcomeKind.TIMED_OUT}.get(limit, OutcomeKind.CANCELLED)
        assert isinstance(job.raised, SoftTimeLimitExceeded if limit == "soft" else JobKilled)

    serve(scenario, limit_grace=PATIENCE)


@pytest.mark.parametrize("ended", ["cancel", "terminate"])
def test_a_signal_that_comes_just_before_the_sleep_is_sent_again(ended: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    kill = signal.pthread_kill

    def kill_from_the_second_time_on(thread: int, number: int) -> None:
        sent.append(number)
        if len(sent) > 1:
            kill(thread, number)

    monkeypatch.setattr("worker_pool_solo.signals.signal.pthread_kill", kill_from_the_second_time_on)

    def scenario(served: Served) -> None:
        job = served.submit(body=lambda job: time.sleep(60))
        assert job.started.wait(PATIENCE)
        if ended == "cancel":
            served.pool.cancel(job.id, CancelHow.RAISE)
        else:
            served.pool.terminate()
        served.listener.wait_outcome(job.id)
        assert isinstance(job.raised, JobKilled), "it was interrupted, not given up"

    serve(scenario, limit_grace=PATIENCE)
    assert len(sent) >= 2


def test_the_signal_s_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGURG)
    during: list[object] = []

    def scenario(served: Served) -> None:
        job = served.submit(body=lambda job: during.append(signal.getsignal(signal.SIGURG)))
        served.listener.wait_outcome(job.id)

    serve(scenario)
    assert during
    assert during != [before]
    assert signal.getsignal(signal.SIGURG) == before


def test_a_signal_out_of_the_blue_raises_nothing() -> None:
    def scenario(served: Served) -> None:
        job = served.submit(held=True)
        assert job.started.wait(PATIENCE)
        main = threading.main_thread().ident
        assert main is not None
        for _ in range(20):
            signal.pthread_kill(main, signal.SIGURG)
        job.release()
        assert served.listener.wait_outcome(job.id).kind is OutcomeKind.SUCCEEDED
        assert job.caught == []

    serve(scenario)


def test_a_stuck_task_is_reported_and_the_pool_fails_but_runs_reports(caplog: pytest.LogCaptureFixture) -> None:
    def scenario(served: Served) -> None:
        job = served.submit(body=stubborn, time_limit=0.02)
        waiting = served.submit()
        outcome = served.listener.wait_outcome(job.id)
        assert (outcome.kind, outcome.stored) == (OutcomeKind.TIMED_OUT, False)
        served.listener.wait_until(lambda: bool(served.failings()), "failing")
        ((reason, exit_code),) = served.failings()
        assert job.id in reason
        assert exit_code == 9
        report = served.submit(is_report=True)
        assert served.listener.wait_outcome(report.id).kind is OutcomeKind.SUCCEEDED
        assert report.threads["call"] != threading.main_thread().ident
        seen = served.pool.statistics()
        assert (seen.size, seen.running, seen.free, seen.zombies, seen.queued) == (0, 0, 0, 1, 1)
        assert (seen.done, seen.failed) == (1, 1)
        job.release()
        assert served.pool.stop(PATIENCE)
        assert served.listener.outcomes(waiting.id)[0].kind is OutcomeKind.CANCELLED
        assert not waiting.steps, "a pool that has lost its slot runs no more tasks"
        assert job.steps == ["prepare", "call"], "its late end is discarded"

    with caplog.at_level(logging.CRITICAL):
        serve(scenario)


def test_a_kill_that_finds_no_end_is_a_cancelled_job_and_a_failing_pool() -> None:
    def scenario(served: Served) -> None:
        job = served.submit(body=stubborn)
        assert job.started.wait(PATIENCE)
        assert served.pool.cancel(job.id, CancelHow.KILL) is CancelReply.CANCELLING
        assert served.listener.wait_outcome(job.id).kind is OutcomeKind.CANCELLED
        served.listener.wait_until(lambda: bool(served.failings()), "failing")

    serve(scenario)


def test_statistics_and_cancel_answer_while_a_task_runs() -> None:
    def scenario(served: Served) -> None:
        job, waiting = served.submit(held=True), served.submit()
        assert job.started.wait(PATIENCE)
        seen = served.pool.statistics()
        assert (seen.size, seen.running, seen.queued) == (1, 1, 1)
        assert [(slot.state, slot.job_id) for slot in seen.slots] == [("running", job.id)]
        assert served.pool.cancel(waiting.id, CancelHow.WAITING) is CancelReply.CANCELLED
        job.release()
        assert served.listener.wait_outcome(job.id).kind is OutcomeKind.SUCCEEDED

    serve(scenario)


def test_hooks_are_called_in_the_main_thread_and_may_raise() -> None:
    called: list[tuple[str, int, bool]] = []

    def hook(name: str) -> Callable[[int], None]:
        def call(index: int) -> None:
            called.append((name, index, threading.current_thread() is threading.main_thread()))
            raise SystemExit(1)

        return call

    def scenario(served: Served) -> None:
        assert served.listener.wait_outcome(served.submit().id).kind is OutcomeKind.SUCCEEDED

    serve(scenario, slot_start=hook("start"), slot_end=hook("end"))
    assert called == [("start", 0, True), ("end", 0, True)]


def test_served_in_another_thread_it_works_without_signals() -> None:
    served = Served()
    served.pool.start()
    server = threading.Thread(target=served.pool.serve)
    server.start()
    before = signal.getsignal(signal.SIGURG)
    job = served.submit(held=True, time_limit=0.02)
    assert served.listener.wait_outcome(job.id).kind is OutcomeKind.TIMED_OUT
    assert signal.getsignal(signal.SIGURG) == before
    assert served.pool.stop(PATIENCE)
    server.join(PATIENCE)
    assert not server.is_alive()


def test_without_the_signal_it_works_as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_pool_solo.signals._SIGNAL", None)

    def scenario(served: Served) -> None:
        soft = served.submit(held=True, soft_time_limit=0.02)
        assert served.listener.wait_outcome(soft.id).kind is OutcomeKind.FAILED
        hard = served.submit(held=True, time_limit=0.02)
        assert served.listener.wait_outcome(hard.id).kind is OutcomeKind.TIMED_OUT

    serve(scenario, limit_grace=PATIENCE)


@pytest.mark.parametrize("ask", [lambda pool: pool.grow(1), lambda pool: pool.shrink(1), lambda pool: pool.restart()])
def test_what_needs_more_than_one_slot_is_refused(ask: Callable[[SoloPool], None]) -> None:
    with pytest.raises(Unsupported):
        ask(Served().pool)


def test_a_pool_that_was_stopped_before_it_was_served_does_not_serve() -> None:
    served = Served()
    served.pool.start()
    job = served.submit()
    assert served.pool.stop(0.0)
    served.pool.serve()
    assert served.listener.outcomes(job.id)[0].kind is OutcomeKind.CANCELLED
    assert not job.steps


def test_cancels_and_limits_around_the_end_never_hit_another_job() -> None:
    def scenario(served: Served) -> None:
        for number in range(2000):
            limits = {"soft_time_limit": 0.0003 * (number % 3), "time_limit": 0.0005 * (number % 5)}
            victim = served.submit(body=lambda job: sum(range(500)), **(limits if number % 2 else {}))
            served.submit(value="untouched")
            if number % 3:
                victim.started.wait(0.01)
            served.pool.cancel(victim.id, CancelHow.RAISE)
        assert served.pool.stop(60.0)
        others = served.jobs[1::2]
        assert {served.listener.outcomes(job.id)[0].kind for job in others if job.steps} == {OutcomeKind.SUCCEEDED}
        assert not [job for job in served.jobs if job.interrupted]
        assert served.listener.violations() == []

    serve(scenario, limit_grace=PATIENCE)


STUCK = """
import os, sys, threading, time
from worker_kernel import PoolConfig
from worker_kernel.testing import FakeJob, RecordingListener
from worker_pool_solo.pool import SoloPool

class Worker(RecordingListener):
    def failing(self, reason, exit_code):
        threading.Thread(target=settle, args=(exit_code,)).start()

def settle(exit_code):
    report = FakeJob(is_report=True)
    pool.submit(report)
    kinds = [listener.wait_outcome(job.id).kind.value for job in (stuck, report)]
    print(*kinds, sep=",", flush=True)
    os._exit(exit_code)

def swallow(job):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

listener = Worker()
pool = SoloPool(PoolConfig(limit=1, listener=listener, limit_grace=0.3))
pool.start()
stuck = FakeJob(body=swallow, time_limit=0.5)
pool.submit(stuck)
pool.serve()
"""


def test_a_loop_that_swallows_every_exception_is_failed_and_settled_before_the_process_ends() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["timed", "out,succeeded"], done.stderr
    assert done.returncode == 9


def test_json_can_carry_the_statistics() -> None:
    import attrs

    assert json.loads(json.dumps(attrs.asdict(Served().pool.statistics())))["size"] == 1
