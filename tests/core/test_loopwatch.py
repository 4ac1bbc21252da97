"""The watchdog of a green loop: it names who holds it, and is not fooled by a process that stood still."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from worker_kernel import Native, Slot
from worker_kernel.deadlines import Deadline, Deadlines
from worker_kernel.greens import GreenRun
from worker_kernel.loopwatch import LoopWatch
from worker_kernel.native import THREADS
from worker_kernel.testing import FakeClock, FakeJob

PATIENCE = 20.0


class Beats:
    """A pulse that beats when it is told to."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat = beat
        self.on = False

    def start(self) -> None:
        self.on = True

    def stop(self) -> None:
        self.on = False


class FakeGreen:
    """A green library without greenlets: threads stand for them, and the loop turns when it is told to."""

    name = "fake"
    native: Native = THREADS

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []
        self.pulses: list[Beats] = []

    def patched(self) -> bool:
        return True

    def spawn(self, function: Callable[..., object], *args: object) -> Any:
        return function(*args)

    def current(self) -> Any:
        return threading.current_thread()

    def let_turn(self) -> None: ...

    def call_soon(self, function: Callable[[], object]) -> None:
        self.calls.append(function)

    def pulse(self, seconds: float, beat: Callable[[], None]) -> Beats:
        self.pulses.append(Beats(beat))
        return self.pulses[-1]

    def close(self) -> None: ...


class Looks:
    """Deadlines that come when they are told to."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.due: list[tuple[float, Callable[[], object]]] = []

    def at(self, when: float, action: Callable[[], object], *, guarded: bool = False) -> Deadline:
        self.due.append((when, action))
        return Deadline(cast("Deadlines", self), when, action)

    def _forget(self, deadline: Deadline) -> None:
        deadline._take()

    def look(self) -> None:
        """Let the time of the next look come."""
        when, action = self.due.pop(0)
        self.clock.advance(when - self.clock.monotonic())
        action()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def looks(clock: FakeClock) -> Looks:
    return Looks(clock)


@pytest.fixture
def green() -> FakeGreen:
    return FakeGreen()


@pytest.fixture
def kept_up() -> list[float]:
    return []


@pytest.fixture
def runs() -> list[GreenRun]:
    return []


@pytest.fixture
def watch(
    green: FakeGreen, clock: FakeClock, looks: Looks, runs: list[GreenRun], kept_up: list[float]
) -> Iterator[LoopWatch]:
    watch = LoopWatch(
        green,
        clock,
        cast("Deadlines", looks),
        patience=1.0,
        runs=lambda: runs,
        upkeep=lambda: kept_up.append(clock.monotonic()),
    )
    yield watch
    watch.stop()


def make_run(green: FakeGreen, clock: FakeClock, body: Callable[[FakeJob], object]) -> GreenRun:
    return GreenRun(FakeJob("job-1", body=body), Slot(index=0, pid=1), clock, green)


def test_who_holds_the_loop_is_shown_at_once_and_logged_when_it_turns(
    watch: LoopWatch,
    green: FakeGreen,
    clock: FakeClock,
    looks: Looks,
    runs: list[GreenRun],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def holds_the_loop(job: FakeJob) -> None:
        assert watch.holder() is runs[0]
        for _ in range(4):
            looks.look()

    run = make_run(green, clock, holds_the_loop)
    runs.append(run)
    watch.begin()
    assert run.begin()
    outcome = run.perform()
    assert outcome is not None
    assert outcome.failure is None
    shown = capfd.readouterr().err
    assert shown.count("the loop of fake has not turned for 1.0 s: task fake.task[job-1] holds it, and is here:") == 1
    assert "in holds_the_loop\n" in shown
    with caplog.at_level(logging.WARNING):
        green.pulses[0].beat()
    assert "the loop did not turn for 2.0 s: task fake.task[job-1], at " in caplog.text
    assert watch.holder() is None


def test_what_must_go_on_does_while_the_loop_is_held_and_only_then(
    watch: LoopWatch, green: FakeGreen, looks: Looks, kept_up: list[float]
) -> None:
    watch.begin()
    for _ in range(5):
        looks.look()
        green.pulses[0].beat()
    assert kept_up == []
    for _ in range(5):
        looks.look()
    assert len(kept_up) == 3


def test_a_process_that_stood_still_holds_nobody_to_account(
    watch: LoopWatch, clock: FakeClock, looks: Looks, capfd: pytest.CaptureFixture[str]
) -> None:
    watch.begin()
    looks.look()
    clock.advance(3600.0)
    _, action = looks.due.pop(0)
    action()
    assert capfd.readouterr().err == ""


def test_an_idle_pool_is_not_looked_at(watch: LoopWatch, green: FakeGreen, looks: Looks) -> None:
    watch.begin()
    assert green.pulses[0].on
    watch.end()
    looks.look()
    green.pulses[0].beat()
    assert not green.pulses[0].on
    assert looks.due == []
    watch.begin()
    assert green.pulses[0].on
    assert len(looks.due) == 1


def test_a_handler_raises_in_nobody_but_the_target(green: FakeGreen, clock: FakeClock) -> None:
    seen: list[str] = []

    def body(job: FakeJob) -> None:
        run.raise_soft(1.0)
        bystander = threading.Thread(target=run.raise_here)
        bystander.start()
        bystander.join(PATIENCE)
        seen.append("the innocent was spared")
        run.raise_here()
        seen.append("never reached")

    run = make_run(green, clock, body)
    assert run.begin()
    outcome = run.perform()
    assert seen == ["the innocent was spared"]
    assert outcome is not None
    assert outcome.failure is not None
    run.raise_here()  # the call is over: nothing is raised


def test_the_loop_throws_nothing_into_a_call_that_is_over(green: FakeGreen, clock: FakeClock) -> None:
    run = make_run(green, clock, lambda job: run.raise_soft(1.0))
    assert run.begin()
    outcome = run.perform()
    assert outcome is not None
    assert outcome.failure is None
    (throw,) = green.calls
    throw()
