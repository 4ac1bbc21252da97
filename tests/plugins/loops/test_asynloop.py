from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel import SystemClock
from worker_kernel.testing import LoopContract
from worker_loops.asynloop import asynloop

LONG = 60.0


class ScriptedDrive:
    """A drive that ends after some turns and writes down what it is asked."""

    def __init__(self, turns: int, *, timeout: float = 0.0) -> None:
        self.left = turns
        self.seconds = timeout
        self.asked: list[str] = []
        self.on_turn: Callable[[], object] = lambda: None

    def pending(self) -> bool:
        return self.left > 0

    def turn(self) -> None:
        self.asked.append("turn")
        self.left -= 1
        self.on_turn()

    def drain(self, timeout: float) -> None:
        raise AssertionError("the asynchronous loop does not block in the transport")

    def timeout(self) -> float:
        return self.seconds


class RecordingHub(KombuHub):
    """A real hub that writes down how long it was allowed to block."""

    def __init__(self) -> None:
        clock = SystemClock()
        super().__init__(HeapTimers(clock), clock)
        self.timeouts: list[float | None] = []

    def run_once(self, timeout: float | None = None) -> None:
        self.timeouts.append(timeout)
        super().run_once(timeout)


@pytest.fixture
def hub() -> Iterator[RecordingHub]:
    hub = RecordingHub()
    yield hub
    hub.close()


class TestAsynloop(LoopContract):
    asynchronous = True

    def make_loop(self) -> Callable[[Any, Any], None]:
        return asynloop


def test_it_does_nothing_for_a_drive_that_is_not_pending(hub: RecordingHub) -> None:
    drive = ScriptedDrive(0)
    asynloop(drive, hub)
    assert drive.asked == []
    assert hub.timeouts == []


def test_it_blocks_in_the_hub_for_as_long_as_the_drive_allows(hub: RecordingHub) -> None:
    asynloop(ScriptedDrive(3, timeout=0.001), hub)
    assert hub.timeouts == [0.001, 0.001]


def test_a_drive_that_ends_in_its_turn_is_not_kept_waiting(hub: RecordingHub) -> None:
    drive = ScriptedDrive(1, timeout=LONG)
    asynloop(drive, hub)
    assert drive.asked == ["turn"]
    assert hub.timeouts == []


def test_what_the_hub_runs_can_end_the_loop(hub: RecordingHub) -> None:
    drive = ScriptedDrive(1000, timeout=LONG)

    def stop() -> None:
        drive.left = 0

    hub.call_soon(stop)
    asynloop(drive, hub)
    assert drive.asked == ["turn"]


def test_an_idle_drive_does_not_spin(hub: RecordingHub) -> None:
    drive = ScriptedDrive(1000, timeout=LONG)

    def stop() -> None:
        drive.left = 0

    hub.timers.call_later(0.3, stop)
    asynloop(drive, hub)
    assert len(drive.asked) < 10


@pytest.mark.parametrize("where", ["turn", "hub"])
def test_what_a_turn_or_the_hub_raises_leaves_the_loop(hub: RecordingHub, where: str) -> None:
    drive = ScriptedDrive(1000)

    def fail(*_: Any) -> None:
        raise ConnectionError(where)

    if where == "turn":
        drive.on_turn = fail
    else:
        hub.call_soon(fail)
    with pytest.raises(ConnectionError, match=where):
        asynloop(drive, hub)
    assert len(drive.asked) == 1
