"""The conformance kit over every step of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_kernel import Plugins
from worker_kernel.testing import StepContract


class TestTimer(StepContract):
    step = "timer"


class TestHub(StepContract):
    step = "hub"


class TestPool(StepContract):
    step = "pool"


class TestState(StepContract):
    step = "state"

    @pytest.fixture(autouse=True)
    def _state_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KERNEL_WORKER_STATE_FILE", str(tmp_path / "state.json"))


class TestControl(StepContract):
    step = "control"


class TestAutoscaler(StepContract):
    step = "autoscaler"
    configured = {"worker_autoscale": "4,1"}


class TestConsumer(StepContract):
    step = "consumer"


class TestConnection(StepContract):
    step = "connection"


class TestTasks(StepContract):
    step = "tasks"


class TestRemote(StepContract):
    step = "remote"
    broker = "memory://"  # the embedded broker cannot broadcast, so that the step takes no part


class TestLoop(StepContract):
    step = "loop"


def test_no_step_of_ours_is_forgotten() -> None:
    ours = {spec.name for spec in Plugins.load().steps if spec.owner.startswith("worker-")}
    held = {
        cls.step
        for cls in globals().values()
        if isinstance(cls, type) and issubclass(cls, StepContract) and cls is not StepContract
    }
    assert held == ours
