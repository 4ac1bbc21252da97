"""Steps are taken through their life together, in order, and none is forgotten when another fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import cast

import pytest

from worker_kernel import (
    BlueprintName,
    KernelBug,
    MissingRequirement,
    PluginBroken,
    Step,
    StepContext,
    StepFailed,
    StepSpec,
    Worker,
)
from worker_kernel.blueprint import Blueprint


class FakePlugins:
    """Hands out classes that tests define."""

    def __init__(self, classes: Mapping[str, object]) -> None:
        self.classes = classes
        self.asked: list[tuple[str, str]] = []

    def load_object(self, path: str, owner: str = "") -> object:
        self.asked.append((path, owner))
        return self.classes[path]

    def install_hint(self, name: str) -> str | None:
        return f"worker-{name}"

    def why_absent(self, name: str) -> str | None:
        return None


class FakeWorker:
    """What a blueprint needs of a worker."""

    def __init__(self, classes: Mapping[str, object]) -> None:
        self.plugins = FakePlugins(classes)
        self.use_event_loop = False


class Recorder(Step):
    """Does what it is told in each phase; by default nothing."""

    def __init__(self, does: Mapping[str, Callable[[], object]], *, enabled: bool = True) -> None:
        self.does = does
        self.taking_part = enabled

    def enabled(self, worker: Worker) -> bool:
        return self.taking_part

    def create(self, ctx: StepContext) -> object:
        return self.does.get("create", lambda: None)()

    def start(self) -> None:
        self.does.get("start", lambda: None)()

    def close(self) -> None:
        self.does.get("close", lambda: None)()

    def stop(self) -> None:
        self.does.get("stop", lambda: None)()

    def terminate(self) -> None:
        self.does.get("terminate", lambda: None)()

    def info(self) -> Mapping[str, object]:
        return cast("Mapping[str, object]", self.does.get("info", dict)())


def spec(
    name: str,
    *,
    requires: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    provides: tuple[str, ...] = (),
    blueprint: BlueprintName = BlueprintName.WORKER,
) -> StepSpec:
    return StepSpec(
        name=name,
        blueprint=blueprint,
        factory=name,
        requires=requires,
        after=after,
        provides=provides,
        owner=f"dist-{name}",
    )


def recorder(does: Mapping[str, Callable[[], object]] | None = None, *, enabled: bool = True) -> type[Step]:
    class Told(Recorder):
        def __init__(self) -> None:
            super().__init__(does or {}, enabled=enabled)

    return Told


def build(specs: list[StepSpec], **classes: object) -> Blueprint:
    known = {one.name: recorder() for one in specs} | classes
    return Blueprint(BlueprintName.WORKER, specs, cast("Worker", FakeWorker(known)))


def raising(exc: BaseException) -> Callable[[], object]:
    def raise_it() -> object:
        raise exc

    return raise_it


CHAIN = [spec("c", requires=("b",)), spec("a"), spec("b", requires=("a",))]


def test_a_whole_life_is_recorded_in_order_and_stopped_in_reverse() -> None:
    blueprint = build(CHAIN)
    assert blueprint.order == ("a", "b", "c")
    blueprint.create()
    blueprint.start()
    blueprint.close()
    blueprint.stop()
    assert blueprint.recorded == [
        *(("start", name) for name in "abc"),
        *(("close", name) for name in "abc"),
        *(("stop", name) for name in "cba"),
    ]


def test_stop_closes_first_and_does_both_only_once() -> None:
    blueprint = build(CHAIN)
    blueprint.create()
    blueprint.start()
    for _ in range(2):
        blueprint.stop()
        blueprint.close()
        blueprint.terminate()
    assert [phase for phase, _ in blueprint.recorded] == ["start"] * 3 + ["close"] * 3 + ["stop"] * 3


def test_terminate_takes_the_place_of_stop() -> None:
    blueprint = build(CHAIN)
    blueprint.create()
    blueprint.start()
    blueprint.terminate()
    blueprint.stop()
    assert blueprint.recorded[3:] == [("terminate", name) for name in "cba"]


def test_steps_of_another_blueprint_are_left_alone() -> None:
    blueprint = build([spec("a"), spec("loop", blueprint=BlueprintName.CONSUMER)])
    assert blueprint.order == ("a",)


def test_a_factory_is_loaded_in_the_name_of_its_owner() -> None:
    worker = FakeWorker({"a": recorder()})
    Blueprint(BlueprintName.WORKER, [spec("a")], cast("Worker", worker))
    assert worker.plugins.asked == [("a", "dist-a")]


def test_a_factory_that_makes_no_step_is_a_broken_plugin() -> None:
    with pytest.raises(PluginBroken, match="no Step"):
        build([spec("a")], a=dict)


def test_components_go_only_to_steps_that_name_them() -> None:
    seen: dict[str, object] = {}

    class Asking(Step):
        def create(self, ctx: StepContext) -> object:
            seen["by name"] = ctx.get("a", str)
            seen["provided"] = ctx.get("store", str)
            seen["absent"] = ctx.find("absent", str)
            with pytest.raises(KernelBug, match="does not name it"):
                ctx.find("b", str)
            with pytest.raises(KernelBug, match="is a str, not a int"):
                ctx.get("a", int)
            return None

    specs = [
        spec("a"),
        spec("b", provides=("store",)),
        spec("c", requires=("a", "store"), after=("absent",)),
    ]
    blueprint = build(specs, a=recorder({"create": lambda: "A"}), b=recorder({"create": lambda: "B"}), c=Asking)
    blueprint.create()
    assert seen == {"by name": "A", "provided": "B", "absent": None}
    assert (blueprint.component("b"), blueprint.component("store"), blueprint.component("no")) == ("B", "B", None)


def test_a_failure_to_create_names_step_and_distribution_and_starts_nothing() -> None:
    boom = RuntimeError("boom")
    blueprint = build(CHAIN, b=recorder({"create": raising(boom)}))
    with pytest.raises(StepFailed, match="step 'b' of dist-b failed to create: RuntimeError: boom") as caught:
        blueprint.create()
    assert caught.value.__cause__ is boom
    assert blueprint.recorded == []
    blueprint.stop()
    assert blueprint.recorded == []


@pytest.mark.parametrize("exc", [RuntimeError("boom"), SystemExit(0)])
def test_a_failure_to_start_rolls_back_in_reverse_and_names_step_and_distribution(exc: BaseException) -> None:
    blueprint = build(CHAIN, c=recorder({"start": raising(exc)}))
    blueprint.create()
    with pytest.raises(StepFailed, match="step 'c' of dist-c failed to start") as caught:
        blueprint.start()
    assert caught.value.__cause__ is exc
    assert blueprint.recorded == [
        ("start", "a"),
        ("start", "b"),
        ("start", "c"),
        ("close", "a"),
        ("close", "b"),
        ("stop", "b"),
        ("stop", "a"),
    ]


def test_an_interrupted_start_rolls_back_and_stays_an_interrupt() -> None:
    blueprint = build(CHAIN, b=recorder({"start": raising(KeyboardInterrupt())}))
    blueprint.create()
    with pytest.raises(KeyboardInterrupt):
        blueprint.start()
    assert ("stop", "a") in blueprint.recorded


@pytest.mark.parametrize("phase", ["close", "stop", "terminate"])
@pytest.mark.parametrize("exc", [RuntimeError("boom"), SystemExit(3)])
def test_what_one_step_raises_while_stopping_is_logged_and_the_others_still_stop(
    phase: str, exc: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    blueprint = build(CHAIN, b=recorder({phase: raising(exc)}))
    blueprint.create()
    blueprint.start()
    with caplog.at_level(logging.ERROR):
        blueprint.terminate() if phase == "terminate" else blueprint.stop()
    assert [name for done, name in blueprint.recorded if done == phase] == list("abc" if phase == "close" else "cba")
    assert f"step 'b' of dist-b raised in {phase}" in caplog.text


def test_after_an_interrupted_stop_the_rest_can_still_be_terminated() -> None:
    blueprint = build(CHAIN, b=recorder({"stop": raising(KeyboardInterrupt())}))
    blueprint.create()
    blueprint.start()
    with pytest.raises(KeyboardInterrupt):
        blueprint.stop()
    blueprint.terminate()
    assert blueprint.recorded[-3:] == [("stop", "c"), ("stop", "b"), ("terminate", "a")]


def test_a_disabled_step_takes_no_part_and_soft_edges_to_it_are_ignored() -> None:
    blueprint = build([spec("a"), spec("b", after=("a",))], a=recorder(enabled=False))
    assert blueprint.order == ("b",)


def test_a_hard_requirement_on_a_disabled_step_says_that_it_is_disabled_and_why() -> None:
    class OnlyWithLoop(Step):
        def enabled(self, worker: Worker) -> bool:
            """Only where the worker uses an event loop."""
            return worker.use_event_loop

    with pytest.raises(MissingRequirement) as caught:
        build([spec("a", provides=("hub",)), spec("b", requires=("hub",))], a=OnlyWithLoop)
    assert str(caught.value) == (
        "step 'b' of dist-b requires step 'hub', which is not there: "
        "'a' of dist-a takes no part in this worker (Only where the worker uses an event loop.)"
    )


def test_a_hard_requirement_on_an_absent_step_says_what_to_install() -> None:
    with pytest.raises(MissingRequirement, match="pip install worker-hub"):
        build([spec("b", requires=("hub",))])


def test_a_step_that_raises_when_asked_whether_it_takes_part_is_named() -> None:
    class Raising(Step):
        def enabled(self, worker: Worker) -> bool:
            raise ZeroDivisionError

    with pytest.raises(StepFailed, match="step 'a' of dist-a"):
        build([spec("a")], a=Raising)


def test_a_step_that_raises_when_it_is_built_is_named() -> None:
    class Raising(Step):
        def __init__(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(StepFailed, match="step 'a' of dist-a failed to build"):
        build([spec("a")], a=Raising)


def test_info_of_one_step_that_raises_does_not_hide_the_others() -> None:
    blueprint = build(
        [spec("a"), spec("b")],
        a=recorder({"info": raising(ValueError("no"))}),
        b=recorder({"info": lambda: {"size": 3}}),
    )
    blueprint.create()
    assert blueprint.info() == {"a": {"error": "ValueError: no"}, "b": {"size": 3}}


def test_the_phases_come_in_order_and_once() -> None:
    blueprint = build(CHAIN)
    with pytest.raises(KernelBug, match=r"before create\(\)"):
        blueprint.start()
    blueprint.create()
    with pytest.raises(KernelBug, match="created twice"):
        blueprint.create()
    blueprint.start()
    with pytest.raises(KernelBug, match="twice"):
        blueprint.start()
    blueprint.stop()
