from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from worker_kernel.testing import FakeClock, FakeTimers, LoopContract
from worker_loops.synloop import synloop


class ScriptedDrive:
    """A drive on a fake clock: draining takes the time that it may, and a timer ends it."""

    def __init__(self, *, lifetime: float, longest: float = 2.0) -> None:
        self.clock = FakeClock()
        self.timers = FakeTimers(self.clock)
        self.timers.call_later(lifetime, self.end)
        self.longest = longest
        self.alive = True
        self.turns = 0
        self.drained: list[float] = []
        self.failure: Exception | None = None

    def end(self) -> None:
        self.alive = False

    def pending(self) -> bool:
        return self.alive

    def turn(self) -> None:
        self.turns += 1
        self.timers.fire()

    def drain(self, timeout: float) -> None:
        self.drained.append(timeout)
        if self.failure is not None:
            raise self.failure
        self.clock.advance(timeout)

    def timeout(self) -> float:
        due = self.timers.next_due()
        return self.longest if due is None else min(due, self.longest)


class TestSynloop(LoopContract):
    asynchronous = False

    def make_loop(self) -> Callable[[Any, Any], None]:
        return synloop


def test_it_does_nothing_for_a_drive_that_is_not_pending() -> None:
    drive = ScriptedDrive(lifetime=1.0)
    drive.end()
    synloop(drive, None)
    assert (drive.turns, drive.drained) == (0, [])


def test_it_blocks_in_the_transport_until_the_next_timer_at_the_most() -> None:
    drive = ScriptedDrive(lifetime=5.0)
    synloop(drive, None)
    assert drive.drained == [2.0, 2.0, 1.0]
    assert drive.clock.monotonic() == 5.0


def test_a_drive_that_ends_in_its_turn_does_not_cost_one_more_wait() -> None:
    drive = ScriptedDrive(lifetime=0.0)
    synloop(drive, None)
    assert (drive.turns, drive.drained) == (1, [])


def test_an_idle_drive_does_not_spin() -> None:
    drive = ScriptedDrive(lifetime=3600.0, longest=3600.0)
    synloop(drive, None)
    assert drive.turns == 2


def test_what_the_transport_raises_leaves_the_loop() -> None:
    drive = ScriptedDrive(lifetime=5.0)
    drive.failure = ConnectionError("broker is gone")
    with pytest.raises(ConnectionError, match="broker is gone"):
        synloop(drive, None)
    assert (drive.turns, drive.drained) == (1, [2.0])


def test_what_a_turn_raises_leaves_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = ScriptedDrive(lifetime=5.0)

    def fail() -> None:
        raise LookupError("bad turn")

    monkeypatch.setattr(drive, "turn", fail)
    with pytest.raises(LookupError, match="bad turn"):
        synloop(drive, None)
    assert drive.drained == []
