"""Deadlines: in order, on one thread, and with an end for what lets no Python run."""

from __future__ import annotations

import _thread
import faulthandler
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import attrs
import pytest

from worker_kernel.clock import SystemClock
from worker_kernel.deadlines import Deadlines, NativeBackstop
from worker_kernel.native import THREADS, LocklessLogger
from worker_kernel.native import Native as NativeThreads
from worker_kernel.testing import FakeClock

PATIENCE = 20.0


class Covered:
    """A backstop that writes down what it is to guard."""

    def __init__(self) -> None:
        self.covered: list[float | None] = []

    def cover(self, deadline: float | None) -> None:
        self.covered.append(deadline)


@pytest.fixture
def backstop() -> Covered:
    return Covered()


@pytest.fixture
def deadlines(backstop: Covered) -> Iterator[Deadlines]:
    deadlines = Deadlines(SystemClock(), name="test-deadlines", backstop=backstop)
    yield deadlines
    deadlines.stop()


def soon(seconds: float = 0.0) -> float:
    return time.monotonic() + seconds


def test_calls_come_in_the_order_of_their_times(deadlines: Deadlines) -> None:
    seen: list[int] = []
    done = threading.Event()
    start = soon(0.05)
    deadlines.at(start + 0.03, done.set)
    deadlines.at(start + 0.02, lambda: seen.append(2))
    deadlines.at(start, lambda: seen.append(0))
    deadlines.at(start + 0.01, lambda: seen.append(1))
    assert done.wait(PATIENCE)
    assert seen == [0, 1, 2]


def test_all_calls_are_made_on_one_thread_that_ends_with_stop(deadlines: Deadlines) -> None:
    seen: list[threading.Thread] = []
    done = threading.Event()
    for number in range(5):
        deadlines.at(soon(number / 1000), lambda: seen.append(threading.current_thread()))
    deadlines.at(soon(0.01), done.set)
    assert done.wait(PATIENCE)
    deadlines.stop()
    assert len(set(seen)) == 1
    assert not seen[0].is_alive()


def test_there_is_no_thread_before_the_first_deadline() -> None:
    before = threading.active_count()
    deadlines = Deadlines(SystemClock(), name="unused")
    deadlines.at(float("inf"), lambda: None)
    assert threading.active_count() == before
    deadlines.stop()


def test_a_sooner_deadline_wakes_the_thread(deadlines: Deadlines) -> None:
    done = threading.Event()
    deadlines.at(soon(3600), lambda: None)
    deadlines.at(soon(0.01), done.set)
    assert done.wait(PATIENCE)


def test_a_cancelled_call_is_not_made(deadlines: Deadlines) -> None:
    seen: list[str] = []
    done = threading.Event()
    when = soon(0.05)
    cancelled = deadlines.at(when, lambda: seen.append("cancelled"))
    deadlines.at(when + 0.01, done.set)
    cancelled.cancel()
    cancelled.cancel()
    assert not cancelled.pending
    assert done.wait(PATIENCE)
    assert seen == []


def test_a_call_that_raises_is_logged_and_the_others_are_made(
    deadlines: Deadlines, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    with caplog.at_level(logging.ERROR):
        deadlines.at(soon(), lambda: 1 / 0)
        deadlines.at(soon(0.01), done.set)
        assert done.wait(PATIENCE)
    assert "ZeroDivisionError" in caplog.text


def test_what_is_set_after_stop_never_comes(deadlines: Deadlines) -> None:
    deadlines.stop()
    assert not deadlines.at(soon(), lambda: None).pending


def test_a_call_may_stop_everything(deadlines: Deadlines) -> None:
    done = threading.Event()

    def stop() -> None:
        deadlines.stop()
        done.set()

    deadlines.at(soon(), stop)
    assert done.wait(PATIENCE)


def test_many_cancelled_deadlines_take_no_room(deadlines: Deadlines) -> None:
    for _ in range(10_000):
        deadlines.at(soon(3600), lambda: None).cancel()
    assert len(deadlines._heap) < 200


def test_the_earliest_guarded_deadline_is_covered(deadlines: Deadlines, backstop: Covered) -> None:
    near, far = soon(1000), soon(2000)
    deadlines.at(far, lambda: None, guarded=True)
    first = deadlines.at(near, lambda: None, guarded=True)
    deadlines.at(soon(500), lambda: None)
    deadlines.cover()
    assert backstop.covered[-1] == near
    first.cancel()
    deadlines.cover()
    assert backstop.covered[-1] == far
    deadlines.stop()
    assert backstop.covered[-1] is None


class Native:
    """Stands for faulthandler's timer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set: list[float] = []
        self.cancelled = 0
        monkeypatch.setattr(faulthandler, "dump_traceback_later", self._later)
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", self._cancel)

    def _later(self, timeout: float, **options: object) -> None:
        assert options["exit"] is True
        self.set.append(timeout)

    def _cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Native:
    return Native(monkeypatch)


def test_the_native_timer_is_not_set_anew_for_each_short_job(native: Native) -> None:
    clock = FakeClock()
    backstop = NativeBackstop(clock, margin=2.0, slack=1.0)
    for _ in range(1000):
        backstop.cover(clock.monotonic() + 30.0)
        clock.advance(0.001)
    assert native.set == [33.0]


def test_the_native_timer_never_goes_off_before_the_deadline_and_its_margin(native: Native) -> None:
    clock = FakeClock()
    backstop = NativeBackstop(clock, margin=2.0, slack=1.0)
    for deadline in (30.0, 5.0, 5.5, 30.0, 4.0, 300.0):
        backstop.cover(deadline)
        assert deadline + 2.0 <= native.set[-1] <= deadline + 3.0
    backstop.cover(None)
    backstop.cover(None)
    assert native.cancelled == 1


HOLDS_THE_GIL = """
import ctypes, time
from worker_kernel.clock import SystemClock
from worker_kernel.deadlines import Deadlines, NativeBackstop
clock = SystemClock()
deadlines = Deadlines(clock, name="guard", backstop=NativeBackstop(clock, margin=0.3, slack=0.1))
def overslept():
    {call}(30)
deadlines.at(clock.monotonic() + 0.2, lambda: None, guarded=True)
deadlines.cover()
overslept()
"""


@pytest.mark.parametrize(("call", "ends"), [("ctypes.PyDLL(None).sleep", True), ("(lambda s: time.sleep(2))", False)])
def test_only_code_that_holds_the_gil_past_a_guarded_deadline_ends_the_process(call: str, ends: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLDS_THE_GIL.format(call=call)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == int(ends)
    assert ("overslept" in done.stderr) is ends


class Bell:
    """A lock that counts how often somebody waited for it with a time limit, or for ever."""

    def __init__(self, waits: list[float]) -> None:
        self._lock = threading.Lock()
        self._waits = waits

    def acquire(self, blocking: bool = True, timeout: float = -1, /) -> bool:
        self._waits.append(timeout)
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


def test_waiting_for_a_far_deadline_does_not_poll() -> None:
    waits: list[float] = []
    deadlines = Deadlines(SystemClock(), name="patient", native=attrs.evolve(THREADS, lock=lambda: Bell(waits)))
    woken = threading.Event()
    deadlines.at(soon(3600), lambda: None)
    deadlines.at(soon(0.2), woken.set)
    assert woken.wait(PATIENCE)
    deadlines.stop()
    assert len(waits) < 10


def test_a_watchdog_of_raw_threads_calls_and_ends() -> None:
    raw = NativeThreads.raw(
        start_new_thread=_thread.start_new_thread, allocate_lock=_thread.allocate_lock, get_ident=_thread.get_ident
    )
    deadlines = Deadlines(SystemClock(), name="raw", native=raw)
    seen: list[int] = []
    woken = threading.Event()
    deadlines.at(soon(0.01), lambda: seen.append(threading.get_ident()))
    deadlines.at(soon(0.02), woken.set)
    assert woken.wait(PATIENCE)
    deadlines.stop()
    deadlines.stop()
    assert seen
    assert seen[0] != threading.get_ident()


def test_a_lockless_logger_logs_while_another_thread_has_the_handler_s_lock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = LocklessLogger("worker_kernel.limits")
    with caplog.at_level(logging.WARNING, "worker_kernel.limits"):
        caplog.handler.acquire()
        try:
            thread = threading.Thread(target=log.warning, args=("said %s", "aside"))
            thread.start()
            thread.join(PATIENCE)
            assert not thread.is_alive()
        finally:
            caplog.handler.release()
        log.info("not enabled")
    assert [record.getMessage() for record in caplog.records] == ["said aside"]
