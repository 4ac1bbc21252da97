"""The watchdog acts on a consumer that gets nothing although there is something, and on no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kombu import Connection, Queue

from worker_kernel import ExitCode, LoopCalls, StopMode, StopRequest
from worker_loops.connection import ready_in
from worker_loops.watchdog import LOOKS, Remedy, Watchdog, in_a_thread

PATIENCE = 60.0


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    wall = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Consumer:
    """What is watched, faked: the test says what it is like."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.could_take = True
        self.waiting: int | Exception = 0
        self.asked = 0
        self.done: list[str] = []
        self.stops: list[StopRequest] = []

    def depth(self) -> int:
        self.asked += 1
        if isinstance(self.waiting, Exception):
            raise self.waiting
        return self.waiting

    def rebuild(self, reason: str) -> None:
        self.done.append("rebuild")

    def set_ready(self, ready: bool, reason: str = "") -> None:
        self.done.append(f"ready {ready}")

    def request_stop(self, request: StopRequest) -> None:
        self.done.append("stop")
        self.stops.append(request)


class Scene:
    def __init__(self) -> None:
        self.clock, self.consumer = Clock(), Consumer()
        self.calls = LoopCalls(lambda: None)
        self.pending: list[Callable[[], None]] = []
        self.watchdog = Watchdog(
            watched=self.consumer, clock=self.clock, calls=self.calls, patience=PATIENCE, spawn=self.pending.append
        )

    def look(self, times: int = 1, *, answer: bool = True) -> None:
        for _ in range(times):
            self.clock.now += PATIENCE / LOOKS
            self.watchdog.look()
            if answer:
                self.answer()

    def answer(self) -> None:
        while self.pending:
            self.pending.pop()()
        self.calls.run()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_it_rebuilds_then_is_not_ready_then_stops_with_6(scene: Scene) -> None:
    scene.consumer.waiting = 5
    scene.look(2)
    assert scene.consumer.done == []
    for expected in (["rebuild"], ["rebuild", "ready False"], ["rebuild", "ready False", "stop"]):
        before = scene.clock.now
        while scene.consumer.done != expected:
            scene.look()
        assert scene.clock.now - before <= PATIENCE
    (stop,) = scene.consumer.stops
    assert (stop.mode, stop.exit_code) == (StopMode.WARM, ExitCode.WATCHDOG)
    assert "5 message(s) wait" in stop.reason


def test_deliveries_and_an_empty_queue_set_it_back(scene: Scene) -> None:
    for recovery in ("delivery", "empty"):
        scene.consumer.done.clear()
        scene.consumer.waiting = 5
        while "ready False" not in scene.consumer.done:
            scene.look()
        if recovery == "delivery":
            scene.consumer.deliveries += 1
        else:
            scene.consumer.waiting = 0
        scene.look()
        assert scene.consumer.done == ["rebuild", "ready False", "ready True"]
        assert scene.watchdog.remedy is Remedy.NOTHING


@pytest.mark.parametrize("state", ["empty", "busy", "delivering", "broker gone"])
def test_it_never_acts_otherwise(scene: Scene, state: str) -> None:
    depths: dict[str, int | Exception] = {"empty": 0, "broker gone": OSError("gone")}
    scene.consumer.waiting = depths.get(state, 5)
    scene.consumer.could_take = state != "busy"
    for _ in range(50):
        scene.consumer.deliveries += state == "delivering"
        scene.look()
    assert scene.consumer.done == []
    assert bool(scene.consumer.asked) is (state in ("empty", "broker gone")), "the broker is asked only when idle"


def test_a_busy_spell_in_between_counts_as_nothing(scene: Scene) -> None:
    scene.consumer.waiting = 5
    for _ in range(20):
        scene.look(2)
        scene.consumer.could_take = False
        scene.look()
        scene.consumer.could_take = True
    assert scene.consumer.done == []


def test_a_broker_that_does_not_answer_is_asked_once(scene: Scene) -> None:
    scene.consumer.waiting = 5
    scene.look(20, answer=False)
    assert len(scene.pending) == 1
    scene.consumer.deliveries += 1
    scene.answer()
    assert scene.consumer.done == []


def test_the_broker_is_asked_beside_the_loop() -> None:
    import threading

    asked = threading.Event()
    in_a_thread(asked.set)
    assert asked.wait(30)


def test_what_is_ready_is_counted_over_all_queues_and_an_absent_one_has_none() -> None:
    with Connection("memory://") as connection:
        channel = connection.default_channel
        for name, count in (("wd-a", 2), ("wd-b", 1)):
            queue = Queue(name, channel=channel)
            queue.declare()
            with connection.Producer() as producer:
                for _ in range(count):
                    producer.publish({}, routing_key=name)
        assert ready_in(Connection("memory://"), ["wd-a", "absent", "wd-b"]) == 3
        for name in ("wd-a", "wd-b"):
            Queue(name, channel=channel).delete()
