"""The worker's life: boot, consume, stop, exit code."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from worker_kernel import (
    BrokerUnavailable,
    MissingRequirement,
    Platform,
    StopMode,
    StopRequest,
    implements,
    kernel_choose_loop,
    kernel_worker_init,
    kernel_worker_stopped,
)
from worker_kernel.worker import node_name


def test_a_worker_whose_consumer_returns_exits_with_0(scene: Any) -> None:
    worker = scene.worker()
    assert worker.run() == 0
    assert worker.app.calls == ["configure join_blocks=True", "check result store", "close"]


def test_stop_calls_are_the_reverse_of_the_start_calls(scene: Any) -> None:
    worker = scene.worker()
    worker.run()
    started = [step for phase, step in worker.blueprint.recorded if phase == "start"]
    stopped = [step for phase, step in worker.blueprint.recorded if phase == "stop"]
    assert started == list(worker.blueprint.order)
    assert stopped == started[::-1]


def test_the_exit_code_of_a_stop_request_is_the_workers(scene: Any) -> None:
    scene.consume = lambda worker: worker.request_stop(StopRequest(mode=StopMode.WARM, reason="test", exit_code=9))
    assert scene.worker().run() == 9


def test_a_later_request_can_only_make_the_stop_colder(scene: Any) -> None:
    worker = scene.worker()
    worker.request_stop(StopRequest(mode=StopMode.COLD, reason="first"))
    worker.request_stop(StopRequest(mode=StopMode.WARM, reason="second", exit_code=9, at_once=True))
    stop = worker.stop_request
    assert (stop.mode, stop.reason, stop.exit_code, stop.at_once) == (StopMode.COLD, "first", 9, True)


def test_the_first_interrupt_is_warm_and_the_second_cold(scene: Any) -> None:
    worker = scene.worker()
    modes = []
    for _ in range(2):
        worker.on_signal("SIGINT")
        modes.append(worker.stop_request.mode)
    assert modes == [StopMode.WARM, StopMode.COLD]


def test_an_interrupt_after_a_warm_stop_is_cold(scene: Any) -> None:
    worker = scene.worker()
    worker.on_signal("SIGTERM")
    worker.on_signal("SIGINT")
    assert worker.stop_request.mode is StopMode.COLD


def test_what_the_consumer_raises_ends_the_worker_after_all_steps_have_stopped(scene: Any) -> None:
    def consume(worker: Any) -> None:
        raise BrokerUnavailable("gone")

    scene.consume = consume
    worker = scene.worker()
    with pytest.raises(BrokerUnavailable):
        worker.run()
    assert ("stop", "pool") in worker.blueprint.recorded
    assert worker.app.calls[-1] == "close"


def test_a_pool_that_wants_the_main_thread_has_it_and_the_loop_gets_another(scene: Any, main_thread_pool: Any) -> None:
    threads: list[Any] = []
    scene.consume = lambda worker: threads.append(threading.current_thread())
    worker = scene.worker(pool=main_thread_pool)
    assert worker.run() == 0
    assert threads[0] is not threading.main_thread()
    pool = worker.blueprint.component("pool")
    assert pool.calls[:2] == ["start", "register with the hub"]
    assert sorted(pool.calls[2:4]) == ["serve", "stop 0.0"], "the loop may end before the main thread serves"


def test_without_a_consumer_it_says_what_to_install(scene: Any) -> None:
    worker = scene.worker()
    worker.plugins.steps = tuple(step for step in worker.plugins.steps if step.name != "consumer")
    with pytest.raises(MissingRequirement, match="consumer") as info:
        worker.run()
    assert info.value.exit_code == 3


def test_a_plugin_may_choose_the_loop(scene: Any) -> None:
    seen: list[tuple[bool, bool, bool]] = []

    class Chooser:
        @staticmethod
        @implements(kernel_choose_loop)
        def choose(asynchronous: bool, patched: bool, windows: bool) -> str | None:
            seen.append((asynchronous, patched, windows))
            return "synloop"

    worker = scene.worker()
    worker.hooks.manager.register(Chooser())
    assert worker._choose_loop().name == "synloop"
    assert seen == [(True, False, False)]


def test_life_hooks_are_called_once_in_order(scene: Any) -> None:
    seen: list[Any] = []

    class Watcher:
        @staticmethod
        @implements(kernel_worker_init)
        def init(worker: Any) -> None:
            seen.append("init")

        @staticmethod
        @implements(kernel_worker_stopped)
        def stopped(exit_code: int) -> None:
            seen.append(("stopped", exit_code))

    worker = scene.worker()
    worker.hooks.manager.register(Watcher())
    worker.run()
    assert seen == ["init", ("stopped", 0)]


def test_a_worker_that_cannot_boot_closes_its_application_and_says_that_it_has_stopped(scene: Any) -> None:
    seen: list[int] = []

    class Watcher:
        @staticmethod
        @implements(kernel_worker_stopped)
        def stopped(exit_code: int) -> None:
            seen.append(exit_code)

    worker = scene.worker()
    worker.hooks.manager.register(Watcher())

    def refuse() -> None:
        raise BrokerUnavailable("gone")

    worker.blueprint.start = refuse
    with pytest.raises(BrokerUnavailable):
        worker.run()
    assert worker.app.calls[-1] == "close"
    assert seen == [BrokerUnavailable.exit_code]


def test_with_win32_faked_synloop_is_chosen(scene: Any) -> None:
    worker = scene.worker(platform=Platform(name="win32", cpus=2, stop_signals={"SIGTERM": "warm"}))
    assert worker.loop_spec.name == "synloop"
    assert not worker.use_event_loop
    assert "hub" not in worker.blueprint.order


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("kernel@%h", "kernel@a.b.c"), ("x@%n", "x@a"), ("%d", "b.c"), ("plain", "plain")],
)
def test_node_names_are_expanded(pattern: str, name: str) -> None:
    assert node_name(pattern, "a.b.c") == name
