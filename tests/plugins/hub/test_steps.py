from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import worker_hub
from worker_hub.hub import KombuHub
from worker_hub.steps import HubStep, TimerStep
from worker_hub.timers import HeapTimers
from worker_kernel import StepContext, SystemClock, Worker


def fake_worker(*, use_event_loop: bool) -> Worker:
    return cast("Worker", SimpleNamespace(clock=SystemClock(), use_event_loop=use_event_loop))


def test_the_plugin_declares_timer_and_hub() -> None:
    specs = {spec.name: spec for spec in worker_hub.hub_steps()}
    assert sorted(specs) == ["hub", "timer"]
    assert specs["hub"].requires == ("timer",)
    assert worker_hub.CONTRACT == 1


def test_importing_the_plugin_imports_no_kombu() -> None:
    code = "import sys, worker_hub; worker_hub.hub_steps(); print([m for m in sys.modules if m.startswith('kombu')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_hub_takes_part_only_where_there_is_an_event_loop() -> None:
    assert HubStep().enabled(fake_worker(use_event_loop=True))
    assert not HubStep().enabled(fake_worker(use_event_loop=False))


def test_the_hub_runs_on_the_timers_of_step_timer_and_is_closed_at_stop() -> None:
    worker = fake_worker(use_event_loop=True)
    timer, step = TimerStep(), HubStep()
    assert timer.info() == {"pending": 0}
    assert step.info() == {}
    timers = timer.create(StepContext(worker, frozenset(), {}))
    assert isinstance(timers, HeapTimers)
    hub = step.create(StepContext(worker, frozenset({"timer"}), {"timer": timers}))
    assert isinstance(hub, KombuHub)
    calls: list[str] = []
    timers.call_later(0.0, calls.append, "fired")
    assert timer.info() == {"pending": 1}
    hub.run_once(timeout=0.0)
    assert calls == ["fired"]
    info: Any = step.info()
    assert info["turns"] == 1
    hub.call_soon(calls.append, "at the end")
    step.stop()
    step.stop()
    assert calls == ["fired", "at the end"]
