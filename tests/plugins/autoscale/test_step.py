"""The step: when it looks, whom it asks, and what it does with the answer."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from worker_autoscale import autoscale_policies
from worker_autoscale import settings as declared_settings
from worker_autoscale.asking import Asker
from worker_autoscale.choosing import choose_policy
from worker_autoscale.control import autoscale
from worker_autoscale.load import LoadPolicy
from worker_autoscale.resources import ResourcesPolicy
from worker_autoscale.step import SOON, Autoscaler, AutoscalerStep
from worker_kernel import (
    AutoscalePolicy,
    ControlError,
    Demand,
    LoopCalls,
    OptionRefused,
    PluginBroken,
    PluginNotFound,
    Pool,
    QueueDepth,
    Setting,
    Slots,
    StopMode,
    StopRequest,
    Timers,
    Worker,
)
from worker_kernel.plugins.importing import load_object
from worker_kernel.testing import FakeClock, FakeTimers


class Consumer:
    def __init__(self) -> None:
        self.waiting = 0

    def demand(self) -> Demand:
        return Demand(waiting=self.waiting, runtime=0.0, queues=("celery",))


class Sized:
    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def grow(self, n: int) -> None:
        self.slots.resize(self.slots.limit + n)

    def shrink(self, n: int) -> None:
        self.slots.resize(self.slots.limit - n)

    def statistics(self) -> Any:
        return SimpleNamespace(slots=())


class Answering:
    """Stands for the thread that asks: the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.closed = self.hangs = False

    def ask(self, queues: tuple[str, ...]) -> bool:
        self.asked.append(queues)
        return not self.hangs

    def close(self) -> None:
        self.closed = True


class Scene:
    def __init__(self, settings: Any, **given: object) -> None:
        self.clock = FakeClock()
        self.timers = FakeTimers(self.clock)
        self.slots = Slots(1)
        self.consumer = Consumer()
        components = {"consumer": self.consumer}
        plugins = SimpleNamespace(
            autoscale_policies={spec.name: spec for spec in autoscale_policies()}, load_object=load_object
        )
        self.worker = SimpleNamespace(
            settings=settings(**given),
            plugins=plugins,
            clock=self.clock,
            concurrency=1,
            slots=self.slots,
            stop_request=None,
            loop_calls=LoopCalls(lambda: None),
            blueprint=SimpleNamespace(component=components.get),
        )
        self.scaler = Autoscaler(
            cast("Worker", self.worker),
            cast("Pool", Sized(self.slots)),
            choose_policy(cast("Worker", self.worker)),
            cast("Timers", self.timers),
        )
        self.asker = Answering()
        self.scaler._asker = cast("Any", self.asker)
        components["autoscaler"] = cast("Any", self.scaler)
        self.scaler.start()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.timers.fire()

    def answer(self, ready: int | None, oldest: object = None) -> None:
        heads = {} if oldest is None else {"celery": oldest}
        self.scaler._answered(None if ready is None else QueueDepth(ready=ready, oldest=heads))
        self.worker.loop_calls.run()


@pytest.fixture
def scene(settings: Any) -> Scene:
    return Scene(settings)


def test_when_the_last_free_slot_is_taken_the_broker_is_asked_and_the_pool_grows(scene: Scene) -> None:
    scene.slots.take()
    assert scene.asker.asked == [], "not in the middle of what the loop is doing"
    scene.pass_time(0.0)
    assert scene.asker.asked == [("celery",)]
    scene.answer(3)
    assert scene.slots.limit == 4
    for _ in range(3):
        scene.slots.take()
    scene.pass_time(0.0)
    assert len(scene.asker.asked) == 1, f"not within {SOON} s of the last look"


def test_while_slots_are_free_the_broker_is_left_alone(scene: Scene) -> None:
    for _ in range(5):
        scene.pass_time(1.0)
    assert scene.asker.asked == []


def test_messages_that_are_held_here_are_asked_about_as_well(scene: Scene) -> None:
    scene.consumer.waiting = 5
    scene.pass_time(1.0)
    scene.answer(0)
    assert scene.slots.limit == 5


def test_it_shrinks_after_the_keepalive_by_the_timer_alone(settings: Any) -> None:
    scene = Scene(settings, worker_autoscale_keepalive=4.0)
    ticket = scene.slots.take()
    assert ticket is not None
    scene.pass_time(0.0)
    scene.answer(3)
    ticket.release()
    for _ in range(3):
        scene.pass_time(1.0)
    assert scene.slots.limit == 4
    for _ in range(3):
        scene.pass_time(1.0)
    assert scene.slots.limit == 1


def test_the_age_is_how_long_the_same_message_has_been_next(settings: Any) -> None:
    scene = Scene(settings, worker_autoscale=(1, 1))
    scene.slots.take()
    ages = []
    for token in ("a", "a", "b", "b", None):
        scene.pass_time(1.0)
        scene.answer(0 if token is None else 1, token)
        ages.append(scene.scaler.statistics()["age"])
    assert ages == [0.0, 1.0, 0.0, 1.0, None]


def test_a_broker_that_does_not_answer_stops_nothing(scene: Scene) -> None:
    scene.slots.take()
    scene.pass_time(1.0)
    scene.answer(None)
    assert scene.slots.limit == 2


def test_nor_does_one_that_hangs(scene: Scene) -> None:
    scene.slots.take()
    scene.pass_time(1.0)
    scene.asker.hangs = True
    sizes = []
    for _ in range(6):
        scene.pass_time(1.0)
        sizes.append(scene.slots.limit)
    assert sizes == [1, 1, 1, 1, 2, 2]


def test_once_a_stop_is_requested_the_size_stays_as_it_is(scene: Scene) -> None:
    scene.slots.take()
    scene.pass_time(1.0)
    scene.worker.stop_request = StopRequest(mode=StopMode.WARM, reason="test")
    scene.answer(5)
    scene.pass_time(1.0)
    assert scene.slots.limit == 1
    scene.scaler.stop()
    assert scene.asker.closed
    assert scene.slots.when_full is None
    assert scene.timers.next_due() is None


def test_the_command_changes_the_bounds(scene: Scene) -> None:
    worker = cast("Worker", scene.worker)
    assert autoscale(worker, max=6, min=2) == {"max": 6, "min": 2, "current": 2}
    assert autoscale(worker, max=8) == {"max": 8, "min": 2, "current": 2}
    said = scene.scaler.statistics()
    assert [said[name] for name in ("max", "min", "current", "qty")] == [8, 2, 2, 0]
    for wrong in (0, -1, "4", True, 2.5):
        with pytest.raises(ControlError, match="max must be a whole number"):
            autoscale(worker, max=wrong)
    with pytest.raises(ValueError, match="max 1 is below min 2"):
        autoscale(worker, max=1)


def test_without_the_option_the_step_takes_no_part_and_the_command_says_so(settings: Any) -> None:
    worker = cast(
        "Worker",
        SimpleNamespace(
            settings=settings(worker_autoscale=None), blueprint=SimpleNamespace(component=lambda name: None)
        ),
    )
    assert not AutoscalerStep().enabled(worker)
    with pytest.raises(ControlError, match="--autoscale MAX,MIN"):
        autoscale(worker, max=2)


class Lazy(AutoscalePolicy):
    def wanted(self, load: Any) -> int:
        return 1


@pytest.mark.parametrize(
    ("name", "cls"),
    [(None, LoadPolicy), ("load", LoadPolicy), ("resources", ResourcesPolicy), (f"{__name__}:Lazy", Lazy)],
)
def test_a_policy_is_named_or_given_as_a_class(settings: Any, name: str | None, cls: type) -> None:
    policy = Scene(settings, worker_autoscaler=name).scaler.scaler.policy
    assert type(policy).__name__ == cls.__name__


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("laod", PluginNotFound, "name one of load, resources, or package.module:Class"),
        ("no_such_module:Policy", PluginBroken, "cannot be imported"),
        ("collections:Counter", PluginBroken, "not a subclass of worker_kernel.AutoscalePolicy"),
    ],
)
def test_a_policy_that_is_none_is_refused_with_what_to_do(
    settings: Any, name: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Scene(settings, worker_autoscaler=name)


@pytest.mark.parametrize("setting", declared_settings(), ids=lambda setting: setting.name)
def test_a_setting_is_a_detail_of_the_range_and_has_an_option_of_its_name(setting: Setting) -> None:
    assert setting.goes_with == "worker_autoscale"
    assert setting.options == (f"--{setting.name.removeprefix('worker_').replace('_', '-')}",)
    assert setting.metavar
    assert setting.unit


@pytest.mark.parametrize("name", [None, "load"])
def test_a_budget_is_refused_where_the_policy_does_not_look_at_memory(
    settings: Any, name: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = "the policy load does not look at memory: --autoscaler resources does"
    with pytest.raises(OptionRefused, match=refusal):
        Scene(settings, worker_autoscaler=name, worker_autoscale_memory=1024)
    Scene(settings, worker_autoscaler=name, worker_autoscale_memory=1024, worker_best_effort=True)
    assert f"is left out (--best-effort): {refusal}" in caplog.text
    Scene(settings, worker_autoscaler="resources", worker_autoscale_memory=1024)


class Connection:
    channel_errors = ()

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.released = fails, False

    def channel(self) -> Any:
        if self.fails:
            raise OSError("no route")
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def ready_count(self, queue: str) -> int:
        return 7

    def oldest(self, queue: str) -> str:
        return f"first of {queue}"

    def release(self) -> None:
        self.released = True


def test_the_thread_asks_over_one_connection_and_makes_another_when_that_is_lost() -> None:
    connections = [Connection(), Connection(fails=True), Connection()]
    made, answers, answered = iter(connections), [], threading.Semaphore(0)

    def take(depth: QueueDepth | None) -> None:
        answers.append(depth)
        answered.release()

    asker = Asker(lambda: next(made), take)
    try:
        for _ in range(2):
            asker.ask(("q",))
            assert answered.acquire(timeout=30)
        connections[0].fails = True
        for _ in range(3):
            asker.ask(("q",))
            assert answered.acquire(timeout=30)
    finally:
        asker.close(timeout=30)
    depth = QueueDepth(ready=7, oldest={"q": "first of q"})
    assert answers == [depth, depth, None, None, depth]
    assert [connection.released for connection in connections] == [True, True, True]
    asker.ask(("q",))
    assert len(answers) == 5, "it is closed"
