"""Hooks are called by keyword, name who raised, and are looked for only in what a module holds already."""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Sequence

import pluggy
import pytest

from worker_kernel import (
    Hooks,
    PoolSpec,
    implements,
    kernel_child_init,
    kernel_choose_loop,
    kernel_pools,
    kernel_worker_init,
)


def plugin(name: str, **functions: Callable[..., object]) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(functions)
    return module


def child_init(seen: list[int]) -> Callable[..., None]:
    @implements(kernel_child_init)
    def init(index: int) -> None:
        seen.append(index)

    return init


def test_every_implementation_is_called() -> None:
    hooks, seen = Hooks(), list[int]()
    hooks.register(plugin("a", init=child_init(seen)), "a")
    hooks.register(plugin("b", init=child_init(seen)), "b")
    hooks.call(kernel_child_init, index=3)
    assert seen == [3, 3]


def test_an_implementation_may_leave_out_parameters() -> None:
    @implements(kernel_choose_loop)
    def choose(windows: bool) -> str | None:
        return "mine" if windows else None

    hooks = Hooks()
    hooks.register(plugin("a", choose=choose), "a")
    assert hooks.first(kernel_choose_loop, asynchronous=True, patched=False, windows=True) == "mine"
    assert hooks.first(kernel_choose_loop, asynchronous=True, patched=False, windows=False) is None


def test_once_a_first_result_is_there_nobody_else_is_asked() -> None:
    asked = []

    @implements(kernel_choose_loop, trylast=True)
    def late() -> str | None:
        asked.append("late")
        return "late"

    @implements(kernel_choose_loop, tryfirst=True)
    def early() -> str | None:
        asked.append("early")
        return "early"

    hooks = Hooks()
    hooks.register(plugin("a", hook=early), "a")
    hooks.register(plugin("b", hook=late), "b")
    assert hooks.first(kernel_choose_loop, asynchronous=True, patched=False, windows=False) == "early"
    assert asked == ["early"]


def test_an_implementation_with_an_unknown_parameter_is_refused_and_leaves_nothing() -> None:
    @implements(kernel_child_init)
    def init(no_such_parameter: int) -> None: ...

    hooks = Hooks()
    with pytest.raises(pluggy.PluginValidationError):
        hooks.register(plugin("a", init=init), "a")
    assert not hooks.listens(kernel_child_init)
    hooks.register(plugin("b"), "a")  # the label is free again


def test_what_a_hook_raises_names_the_hook_and_the_plugin() -> None:
    @implements(kernel_child_init)
    def init() -> None:
        raise RuntimeError("boom")

    hooks = Hooks()
    hooks.register(plugin("good", init=child_init([])), "good (acme 1.0)")
    hooks.register(plugin("bad", init=init), "bad (acme 2.0)")
    with pytest.raises(RuntimeError) as caught:
        hooks.call(kernel_child_init, index=0)
    assert caught.value.__notes__ == ["in hook kernel_child_init of plugin bad (acme 2.0)"]


def test_notify_logs_who_raised_and_calls_the_others(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    @implements(kernel_child_init, tryfirst=True)
    def init() -> None:
        raise RuntimeError("boom")

    hooks = Hooks()
    hooks.register(plugin("bad", init=init), "bad (acme 2.0)")
    hooks.register(plugin("good", init=child_init(seen)), "good")
    with caplog.at_level(logging.ERROR):
        hooks.notify(kernel_child_init, index=7)
    assert seen == [7]
    assert "hook kernel_child_init of plugin bad (acme 2.0) raised" in caplog.text


def test_listens_tells_whether_a_call_would_reach_anybody() -> None:
    hooks = Hooks()
    assert not hooks.listens(kernel_child_init)
    hooks.register(plugin("a", init=child_init([])), "a")
    assert hooks.listens(kernel_child_init)
    assert not hooks.listens(kernel_worker_init)
    hooks.unregister("a")
    hooks.unregister("a")
    assert not hooks.listens(kernel_child_init)


def test_the_implementations_of_one_plugin_are_told_from_those_of_others() -> None:
    @implements(kernel_pools)
    def pools() -> Sequence[PoolSpec]:
        return []

    hooks = Hooks()
    hooks.register(plugin("a", pools=pools), "a")
    hooks.register(plugin("b", init=child_init([])), "b")
    assert hooks.implementations("a", kernel_pools) == [pools]
    assert hooks.implementations("b", kernel_pools) == []


def test_registering_a_lazy_module_imports_nothing_of_what_it_lists() -> None:
    asked: list[str] = []
    module = plugin("lazy", init=child_init([]))
    vars(module)["__getattr__"] = asked.append
    vars(module)["__dir__"] = lambda: ["HeavyPool", "init"]
    hooks = Hooks()
    hooks.register(module, "lazy")
    assert hooks.listens(kernel_child_init)
    assert "HeavyPool" not in asked
