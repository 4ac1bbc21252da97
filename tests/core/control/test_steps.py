"""The steps state and control, over a worker made by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker_kernel import ControlError, Status, StepContext, StopMode, StopRequest, UsageError, Worker, WorkerState
from worker_kernel.control.client import ask
from worker_kernel.control.step import ControlStep
from worker_kernel.statestep import TICK, StateStep


class Timers:
    def __init__(self) -> None:
        self.repeated: list[tuple[float, Any]] = []

    def call_repeatedly(self, interval: float, callback: Any) -> Any:
        self.repeated.append((interval, callback))
        return SimpleNamespace(cancel=self.repeated.clear)


def worker_with(**settings: str | None) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(get_str=settings.get),
        status=Status(lambda: 7.0),
        clock=SimpleNamespace(wall=lambda: 8.0),
        platform=SimpleNamespace(windows=False),
        commands=SimpleNamespace(execute=lambda name, arguments: {name: arguments}),
        node_name="kernel@test",
        nonce="abc",
        stop_request=None,
    )


def created(step: Any, worker: Any, timers: Any = None) -> Any:
    step.create(StepContext(cast("Worker", worker), frozenset({"timer"}), {"timer": timers}))
    return step


def content(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def test_the_state_file_says_who_and_how_the_worker_is(tmp_path: Path) -> None:
    path, timers = tmp_path / "state.json", Timers()
    worker = worker_with(worker_state_file=str(path))
    step = created(StateStep(), worker, timers)
    assert step.enabled(worker)
    step.start()
    ((interval, tick),) = timers.repeated
    assert interval == TICK
    assert content(path)["loop_tick"] is None
    tick()
    worker.stop_request = StopRequest(mode=StopMode.WARM, reason="SIGTERM")
    worker.status.enter(WorkerState.DEAD, "the end")  # written at once, on this thread
    assert content(path) == {
        "schema": 1, "node": "kernel@test", "pid": content(path)["pid"], "nonce": "abc", "state": "dead",
        "ready": False, "reason": "the end", "loop_tick": 7.0, "written": 8.0, "control_socket": None,
    }  # fmt: skip
    step.stop()
    assert timers.repeated == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_stopping_says_dead_and_why(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    worker = worker_with(worker_state_file=str(path))
    step = created(StateStep(), worker)
    step.start()
    worker.stop_request = StopRequest(mode=StopMode.WARM, reason="SIGTERM")
    step.stop()
    assert (content(path)["state"], content(path)["reason"]) == ("dead", "SIGTERM")


def test_a_state_file_that_cannot_be_written_is_said_at_boot(tmp_path: Path) -> None:
    step = created(StateStep(), worker_with(worker_state_file=str(tmp_path / "absent" / "state.json")))
    with pytest.raises(UsageError, match="--state-file"):
        step.start()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this platform")
def test_what_is_no_file_is_not_replaced_by_the_state_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe"  # it stands for /dev/null, which root could replace
    os.mkfifo(path)
    step = created(StateStep(), worker_with(worker_state_file=str(path)))
    with pytest.raises(UsageError, match="what is there is no file"):
        step.start()
    assert path.is_fifo()
    assert [found.name for found in tmp_path.iterdir()] == ["pipe"]


def test_without_a_place_there_is_no_state_step() -> None:
    assert not StateStep().enabled(worker_with(worker_state_file=None))


def test_the_control_step_listens_and_says_where(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    worker = worker_with(worker_control_socket=None)
    step = created(ControlStep(), worker)
    step.start()
    try:
        path = worker.status.snapshot().control_socket
        assert Path(path).parent == short_path / "worker-kernel"
        assert ask(path, "grow", {"n": 1})["ok"] == {"grow": {"n": 1}}
    finally:
        step.stop()
    assert worker.status.snapshot().control_socket is None
    with pytest.raises(ControlError):
        ask(path, "ping", {})


def test_a_place_that_nobody_named_is_done_without_and_a_named_one_must_do(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    (short_path / "worker-kernel").write_text("no folder")
    step = created(ControlStep(), worker_with(worker_control_socket=None))
    step.start()
    step.stop()
    assert "goes on without" in caplog.text
    named = created(ControlStep(), worker_with(worker_control_socket=str(short_path / "absent" / "w.sock")))
    with pytest.raises(UsageError, match="worker_control_socket"):
        named.start()


def test_there_is_no_control_where_it_is_off_or_on_windows() -> None:
    windows = worker_with(worker_control_socket=None)
    windows.platform.windows = True
    assert not ControlStep().enabled(windows)
    assert not ControlStep().enabled(worker_with(worker_control_socket="off"))


def test_a_worker_that_ends_at_once_leaves_no_socket(short_path: Path) -> None:
    worker = worker_with(worker_control_socket=str(short_path / "w.sock"))
    step = created(ControlStep(), worker)
    step.start()
    worker.status.enter(WorkerState.DEAD)
    assert not (short_path / "w.sock").exists()
    step.stop()
