"""Loading puts a plugin aside that cannot be loaded, and says why; the others go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from worker_kernel import (
    PluginBroken,
    PluginNotFound,
    Plugins,
    SettingsError,
    kernel_child_init,
    kernel_loops,
    kernel_pools,
)
from worker_kernel.kernelsteps import KERNEL_STEPS
from worker_kernel.plugins.found import Found, Status
from worker_kernel.plugins.selection import Selection

if TYPE_CHECKING:
    from ..conftest import Site


def rows(plugins: Plugins) -> dict[str, Found]:
    return {row.name: row for row in plugins.found}


def statuses(plugins: Plugins) -> dict[str, str]:
    return {row.name: row.status.value for row in plugins.found}


def test_a_pool_is_loaded_without_its_class(importable: Site) -> None:
    importable.pool("acme")
    plugins = importable.load()
    assert plugins.pools["acme"].cls == "acme_module_heavy:Pool"  # a module that does not exist
    assert plugins.pool("acme") is plugins.pools["acme"]
    assert statuses(plugins) == {"acme": "loaded"}
    declares = rows(plugins)["acme"].declares
    assert declares is not None
    assert (declares["pools"], declares["hooks"]) == (("acme",), ("kernel_pools",))
    assert plugins.hooks.listens(kernel_pools)
    assert plugins.warnings == ()


def test_the_kernels_own_steps_are_there_without_any_plugin() -> None:
    own = [(step.name, step.owner) for step in Plugins.survey(Selection(), []).steps]
    assert own == [("pool", "worker-kernel"), ("state", "worker-kernel"), ("control", "worker-kernel")]


def test_steps_and_settings_belong_to_the_distribution_that_declares_them(importable: Site) -> None:
    importable.plugin(
        "acme",
        """
    @implements(kernel_steps)
    def steps():
        return [StepSpec(name="acme.probe", blueprint=BlueprintName.WORKER, factory="x:Y", owner="somebody else")]

    @implements(kernel_settings)
    def settings():
        return [Setting(name="acme_port", parse=kinds.whole(0), kind="whole number", options=("--acme-port",))]

    @implements(kernel_transports)
    def transports():
        return [TransportSpec(schemes=("acme", "acmes"), alias="wk-acme", transport="x:T", asynchronous=False)]

    @implements(kernel_result_stores)
    def stores():
        return [ResultStoreSpec(schemes=("acme",), factory="x:S")]

    @implements(kernel_loops)
    def loops():
        return [LoopSpec(name="acmeloop", factory="x:loop", asynchronous=False)]
    """,
    )
    plugins = importable.load()
    assert [(step.name, step.owner) for step in plugins.steps[len(KERNEL_STEPS) :]] == [("acme.probe", "acme")]
    assert [(setting.name, setting.owner) for setting in plugins.settings] == [("acme_port", "acme")]
    assert list(plugins.transports) == ["acme", "acmes"]
    assert list(plugins.result_stores) == ["acme"]
    assert list(plugins.loops) == ["acmeloop"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("raise SystemExit", "exits at import with status 0"),
        ("import sys; sys.exit(3)", "exits at import with status 3"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("class E(Exception):\n    def __str__(self): raise TypeError\nraise E", "E: its text cannot be had"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("this is no Python", "SyntaxError: invalid syntax"),
    ],
)
def test_a_plugin_that_raises_at_import_is_put_aside_and_the_others_go_on(
    importable: Site, source: str, reason: str
) -> None:
    importable.module("bad_module", source)
    importable.install("bad", {"plugins": {"bad": "bad_module"}})
    importable.pool("good")
    plugins = importable.load()
    assert statuses(plugins) == {"bad": "broken", "good": "loaded"}
    assert rows(plugins)["bad"].reason.startswith(reason)
    assert "KERNEL_PLUGINS=-bad" in rows(plugins)["bad"].remedy
    assert plugins.warnings == (f"plugin bad (bad 1.0) is not used: broken: {rows(plugins)['bad'].reason}",)


def test_an_interrupt_at_import_is_no_fault_of_the_plugin(importable: Site) -> None:
    importable.plugin("acme", "    raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        importable.load()


def test_a_hook_that_raises_is_named_with_plugin_and_distribution(importable: Site) -> None:
    importable.pool("acme", "acme-pool", importable.POOL.replace("return", "1 / 0; return"))
    plugins = importable.load()
    assert rows(plugins)["acme"].reason == (
        "ZeroDivisionError: division by zero (in hook kernel_pools of plugin acme (acme-pool 1.0))"
    )
    assert not plugins.hooks.listens(kernel_pools)


@pytest.mark.parametrize(
    ("hook", "answer", "reason"),
    [
        ("kernel_pools", "3", "its kernel_pools returns 3, not a list of PoolSpec"),
        ("kernel_steps", "['x']", "not a list of StepSpec"),
        (
            "kernel_loops",
            "[LoopSpec(name='l', factory='x', asynchronous=True)] * 2",
            "it declares loop 'l' twice",
        ),
        (
            "kernel_steps",
            "[StepSpec(name='mine', blueprint=BlueprintName.WORKER, factory='x')]",
            "call it acme.mine",
        ),
        (
            "kernel_pools",
            "[PoolSpec(name='p', cls='x', capabilities=Capabilities())]",
            "it declares pool 'p', for which it has no entry point",
        ),
    ],
)
def test_a_plugin_that_declares_what_cannot_be_is_broken_and_leaves_nothing(
    importable: Site, hook: str, answer: str, reason: str
) -> None:
    importable.plugin("acme", f"    @implements({hook})\n    def declare(): return {answer}\n")
    plugins = importable.load()
    assert statuses(plugins) == {"acme": "broken"}
    assert reason in rows(plugins)["acme"].reason
    assert (plugins.loops, plugins.pools, plugins.steps) == ({}, {}, KERNEL_STEPS)
    assert not plugins.hooks.listens(kernel_loops)


def test_an_implementation_with_a_parameter_that_the_hook_has_not_is_broken(importable: Site) -> None:
    importable.plugin("acme", "    @implements(kernel_child_init)\n    def init(nonsense): ...\n")
    plugins = importable.load()
    assert "nonsense" in rows(plugins)["acme"].reason
    assert statuses(plugins) == {"acme": "broken"}
    assert not plugins.hooks.listens(kernel_child_init)


def test_a_pool_entry_point_must_name_the_pool_that_the_module_declares(importable: Site) -> None:
    importable.module("acme_module", importable.POOL.format(name="other", module="x"))
    importable.install("acme", {"pools": {"acme": "acme_module", "other": "other_module"}})
    importable.module("other_module", importable.POOL.format(name="other", module="x"))
    plugins = importable.load()
    assert statuses(plugins) == {"acme": "broken", "other": "loaded"}
    assert "entry point names pool 'acme', which acme_module does not declare" in rows(plugins)["acme"].reason


def test_two_pools_of_one_module_are_loaded_together(importable: Site) -> None:
    both = (
        importable.POOL.format(name="one", module="x")
        + """
    @implements(kernel_pools)
    def more():
        return [PoolSpec(name="two", cls="x:Pool", capabilities=Capabilities())]
    """
    )
    importable.module("both", both)
    importable.install("acme", {"pools": {"one": "both", "two": "both"}})
    assert list(importable.load().pools) == ["one", "two"]


@pytest.mark.parametrize(
    ("contract", "reason", "remedy"),
    [
        ("", "does not state the CONTRACT", "set CONTRACT = 1 in it"),
        ("CONTRACT = '1'", "does not state the CONTRACT", "pip install --upgrade acme"),
        ("CONTRACT = 0", "written for contract 0, this kernel has contract 1", "pip install --upgrade acme"),
        ("CONTRACT = 9", "written for contract 9, this kernel has contract 1", "pip install --upgrade worker-kernel"),
    ],
)
def test_another_contract_is_incompatible(importable: Site, contract: str, reason: str, remedy: str) -> None:
    importable.module("acme_module", contract)
    importable.install("acme", {"plugins": {"acme": "acme_module"}})
    row = rows(importable.load())["acme"]
    assert row.status is Status.INCOMPATIBLE
    assert reason in row.reason
    assert remedy in row.remedy


LOOP = """
    @implements(kernel_loops)
    def loops():
        return [LoopSpec(name='theirs', factory='x', asynchronous=True)]
"""
OPTION = """
    @implements(kernel_settings)
    def settings():
        return [Setting(name='{}_port', parse=kinds.whole(0), kind='number', options=('--port',))]
"""


@pytest.mark.parametrize(("body", "what"), [(LOOP, "loop 'theirs'"), (OPTION, "option '--port'")])
def test_two_plugins_that_declare_one_thing_are_in_conflict_with_both_named(
    importable: Site, body: str, what: str
) -> None:
    importable.plugin("one", body.format("one"))
    importable.plugin("two", body.format("two"))
    plugins = importable.load()
    assert statuses(plugins) == {"one": "conflict", "two": "conflict"}
    assert rows(plugins)["one"].reason == f"it declares {what}, and so does two (two 1.0)"
    assert (plugins.loops, plugins.settings) == ({}, ())
    assert statuses(importable.load("-two")) == {"one": "loaded", "two": "disabled"}


def test_what_the_kernel_itself_declares_cannot_be_declared_again(importable: Site) -> None:
    importable.plugin(
        "acme",
        """
    @implements(kernel_steps)
    def steps():
        return [StepSpec(name="pool", blueprint=BlueprintName.WORKER, factory="x:Y")]
    """,
    )
    plugins = importable.load()
    assert rows(plugins)["acme"].reason == "it declares worker step 'pool', and so does the kernel itself"
    assert {step.owner for step in plugins.steps} == {"worker-kernel"}


@pytest.mark.parametrize("words", ["-acme", "-acme:acme"])
def test_a_disabled_plugin_is_not_imported(importable: Site, words: str) -> None:
    importable.plugin("acme", "    raise SystemExit")
    assert statuses(importable.load(words)) == {"acme": "disabled"}


def test_commands_are_not_imported(importable: Site) -> None:
    importable.module("acme_module", "raise SystemExit")
    importable.install("acme", {"commands": {"acme": "acme_module:command"}})
    assert statuses(importable.load()) == {"acme": "ready"}


def test_a_pool_and_a_plugin_of_one_name_live_side_by_side(importable: Site) -> None:
    importable.module("a_module", importable.POOL.format(name="acme", module="x"))
    importable.module("b_module", importable.PLUGIN + LOOP)
    importable.install("acme", {"pools": {"acme": "a_module"}, "plugins": {"acme": "b_module"}})
    plugins = importable.load()
    assert [row.status for row in plugins.found] == [Status.LOADED, Status.LOADED]
    assert (list(plugins.pools), list(plugins.loops)) == (["acme"], ["theirs"])


def test_load_object_names_the_owner_of_what_cannot_be_imported(importable: Site) -> None:
    importable.module("acme", "raise SystemExit(4)")
    with pytest.raises(PluginBroken, match="acme:Step of acme-dist cannot be imported: exits at import with status 4"):
        importable.load().load_object("acme:Step", "acme-dist")


def test_install_hints_are_given_for_what_is_not_installed_only(importable: Site) -> None:
    importable.module("hub_module")
    importable.install("worker-hub", {"plugins": {"hub": "hub_module"}})
    plugins = importable.load()
    assert plugins.install_hint("hub") is None
    assert plugins.install_hint("consumer") == "worker-loops"
    assert plugins.install_hint("autoscaler") == "worker-autoscale"
    assert plugins.install_hint("acme.step") is None


def test_why_a_step_of_an_installed_plugin_is_absent_is_told(importable: Site) -> None:
    importable.module("hub_module")
    importable.install("worker-hub", {"plugins": {"hub": "hub_module"}})
    assert importable.load().why_absent("timer") is None
    why = importable.load("-hub").why_absent("timer")
    assert why == "plugin hub (worker-hub 1.0) is disabled: by KERNEL_PLUGINS=-hub\nleave out KERNEL_PLUGINS=-hub"
    assert importable.load().why_absent("acme.step") is None


def test_boot_ends_where_a_demanded_plugin_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PluginNotFound, match=r"plugin 'acme' is not installed \(KERNEL_PLUGINS=\+acme\)"):
        Plugins.load(environ={"KERNEL_PLUGINS": "+acme"}, directory=tmp_path)
    with pytest.raises(PluginNotFound, match="is not installed"):
        Plugins.load(wanted=["acme"], environ={}, directory=tmp_path)


def test_boot_ends_where_a_demanded_plugin_is_broken(importable: Site, tmp_path: Path) -> None:
    importable.plugin("acme", "    raise RuntimeError('boom')")
    with pytest.raises(PluginBroken, match="boom"):
        Plugins.load(environ={"KERNEL_PLUGINS": "+acme"}, directory=tmp_path)
    plugins = Plugins.load(environ={}, directory=tmp_path)
    assert any("acme (acme 1.0) is not used: broken: RuntimeError: boom" in line for line in plugins.warnings)


def test_boot_ends_where_the_choice_cannot_be_understood(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="KERNEL_PLUGINS=acme: expected"):
        Plugins.load(environ={"KERNEL_PLUGINS": "acme"}, directory=tmp_path)


def test_the_plugins_of_this_workspace_load_without_a_warning(tmp_path: Path) -> None:
    plugins = Plugins.load(environ={}, directory=tmp_path)
    assert plugins.warnings == ()
    assert {"solo", "threads"} <= set(plugins.pools)
    assert {"timer", "hub", "pool", "consumer"} <= {step.name for step in plugins.steps}
    assert "sqlite" in plugins.transports
    assert "sqlite" in plugins.result_stores
    assert {"asynloop", "synloop"} <= set(plugins.loops)
