"""Commands are found, checked and carried out where they belong; everything else is a `ControlError` that says why."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import attrs
import pytest

from worker_kernel import ControlCommandSpec, ControlError, LoopCalls, Plugins, Unsupported, Worker
from worker_kernel.control.commands import KERNEL_COMMANDS
from worker_kernel.control.registry import Commands
from worker_kernel.plugins.declarations import Declared
from worker_kernel.plugins.found import Found, Kind, Status


class Scene:
    """Commands over a loop that turns when it is woken, if it turns at all."""

    def __init__(self, *specs: ControlCommandSpec, turns: bool = True, found: tuple[Found, ...] = ()) -> None:
        self.turned = 0
        self.loop_calls = LoopCalls(self._turn if turns else lambda: None)
        plugins = Plugins(found=found, declared=[Declared(control_commands=specs)])
        self.worker = SimpleNamespace(plugins=plugins, loop_calls=self.loop_calls)
        self.commands = Commands(cast("Worker", self.worker))

    def _turn(self) -> None:
        self.turned += 1
        self.loop_calls.run()


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("acme_control_commands")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def spec(name: str = "do", **more: Any) -> ControlCommandSpec:
    return ControlCommandSpec(name=name, factory="acme_control_commands:do", owner="acme", **more)


def test_a_command_runs_on_the_loop_unless_it_may_run_anywhere(acme: Any) -> None:
    acme.do = lambda worker, n=1: {"n": n}
    scene = Scene(spec(aliases=("make",)), spec("peek", anywhere=True))
    assert scene.commands.execute("do", {"n": 2}) == scene.commands.execute("make", {"n": 2}) == {"n": 2}
    assert scene.turned == 2
    assert scene.commands.execute("peek", {}) == {"n": 1}
    assert scene.turned == 2
    assert scene.commands.execute_here("do", {}) == {"n": 1}


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "text"),
    [
        ("doo", {}, "unknown command", "did you mean 'do'?"),
        ("xyz", {}, "unknown command", "'commands' lists"),
        ("do", {}, "bad arguments", "missing a required argument: 'n'; usage: do n=..."),
        ("do", {"n": 1, "m": 2}, "bad arguments", "unexpected keyword argument 'm'"),
        ("do", {"n": "value"}, "refused", "no such value"),
        ("do", {"n": "unsupported"}, "refused", "resize"),
        ("do", {"n": "own"}, "bad arguments", "mine"),
        (
            "autoscale",
            {},
            "refused",
            "needs the step 'autoscaler', which no plugin provides: pip install",
        ),
    ],
)
def test_what_is_not_carried_out_says_why(acme: Any, name: str, arguments: Any, kind: str, text: str) -> None:
    def do(worker: Worker, n: object) -> None:
        raise {
            "value": ValueError("no such value"),
            "unsupported": Unsupported("resize", "SoloPool"),
            "own": ControlError("bad arguments", "mine"),
        }[str(n)]

    acme.do = do
    with pytest.raises(ControlError) as caught:
        Scene(spec()).commands.execute(name, arguments)
    assert caught.value.kind == kind
    assert text in str(caught.value)


def test_a_command_of_a_plugin_that_is_not_used_names_it_and_the_remedy() -> None:
    row = Found(name="autoscale", kind=Kind.PLUGIN, value="worker_autoscale", dist="worker-autoscale", version="0.1.0")
    disabled = attrs.evolve(row, status=Status.DISABLED, reason="by --safe-mode", remedy="leave out --safe-mode")
    with pytest.raises(ControlError) as caught:
        Scene(found=(disabled,)).commands.execute("autoscale", {})
    assert str(caught.value) == (
        "autoscale needs the step 'autoscaler', which is not there: plugin autoscale (worker-autoscale 0.1.0) is "
        "disabled: by --safe-mode; leave out --safe-mode"
    )


def test_a_fault_of_a_command_is_logged_and_told_without_a_traceback(
    acme: Any, caplog: pytest.LogCaptureFixture
) -> None:
    acme.do = lambda worker: dict[str, int]()["gone"]
    with pytest.raises(ControlError, match="do: KeyError: 'gone'") as caught:
        Scene(spec()).commands.execute("do", {})
    assert caught.value.kind == "failed"
    assert "Traceback" not in str(caught.value)
    assert "the control command 'do' failed" in caplog.text


def test_a_loop_that_does_not_turn_is_not_waited_for_and_never_does_it_later(acme: Any) -> None:
    done: list[None] = []
    acme.do = lambda worker: done.append(None)
    scene = Scene(spec(), turns=False)
    with pytest.raises(ControlError, match="was not carried out: the loop has been busy") as caught:
        scene.commands.execute("do", {}, patience=0.01)
    assert caught.value.kind == "timeout"
    scene.loop_calls.run()
    assert done == []


def test_after_the_loop_has_ended_commands_are_refused(acme: Any) -> None:
    acme.do = lambda worker: None
    scene = Scene(spec())
    scene.loop_calls.close()
    with pytest.raises(ControlError, match="the worker has ended its work"):
        scene.commands.execute("do", {})


def test_the_kernels_own_commands_can_all_be_imported_and_say_what_they_do() -> None:
    usages = Scene(*KERNEL_COMMANDS).commands.usages()
    assert list(usages) == sorted(["commands", "grow", "ping", "registered", "restart", "shrink", "shutdown", "stats"])
    assert usages["grow"]["usage"] == "grow [n=1]"
    assert all(usage["summary"].endswith(".") for usage in usages.values())
