"""The kit for whole plugins is itself tested: each with one lie breaks exactly the promise that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import pytest

from worker_kernel import Plugins
from worker_kernel.testing import PluginContract, broken_promises, plugin_contract
from worker_kernel.testing.promises import cases

if TYPE_CHECKING:
    from ..conftest import Site

HEAD = "from worker_kernel import BlueprintName, Setting, StepSpec, implements, kernel_settings, kernel_steps, kinds\n"
SETTINGS = """
CONTRACT = 1
@implements(kernel_settings)
def settings():
    return [Setting(name="acme_port", parse=kinds.whole(0), kind="whole number", help={help!r})]
"""
STEPS = """
CONTRACT = 1
@implements(kernel_steps)
def steps():
    return [StepSpec(name="acme.liar", blueprint=BlueprintName.WORKER, factory={factory!r})]
"""
COMMAND = """
import click

@click.command("liar")
def command():
    {first_line}
"""


@attrs.frozen(kw_only=True)
class Liar:
    """A distribution ``acme`` with the plugin, or command, ``liar``."""

    source: str
    caught_by: str = ""
    groups: Mapping[str, Mapping[str, str]] = {"plugins": {"liar": "acme_liar"}}
    requires: str = "worker-kernel>=0.1,<1"


AS_COMMAND = {"commands": {"liar": "acme_liar:command"}}
LIARS = {
    "honest": Liar(source=HEAD + SETTINGS.format(help="Where to listen.")),
    "raises": Liar(source="raise RuntimeError", caught_by="test_it_can_be_used"),
    "states no contract": Liar(source="", caught_by="test_it_can_be_used"),
    "is heavy": Liar(source="import kombu\nCONTRACT = 1", caught_by="test_importing_it_is_light"),
    "names nothing": Liar(
        source=HEAD + STEPS.format(factory="acme_nowhere:Step"), caught_by="test_what_it_names_can_be_imported"
    ),
    "is mute": Liar(source=HEAD + SETTINGS.format(help=""), caught_by="test_its_settings_explain_themselves"),
    "takes any kernel": Liar(
        source="CONTRACT = 1",
        requires="worker-kernel>=0.1",
        caught_by="test_its_distribution_says_for_which_kernels_it_is",
    ),
    "honest command": Liar(source=COMMAND.format(first_line="'''Say it.'''"), groups=AS_COMMAND),
    "command without help": Liar(
        source=COMMAND.format(first_line="pass"),
        groups=AS_COMMAND,
        caught_by="test_its_command_is_one_of_click_s_and_says_what_it_does",
    ),
}


class Contract(PluginContract):
    plugin = "liar"


@pytest.mark.parametrize("name", LIARS)
def test_a_lie_is_caught_by_the_promise_that_names_it_and_by_no_other(
    name: str, importable: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = LIARS[name]
    importable.module("acme_liar", liar.source)
    importable.install("acme", liar.groups, requires=(liar.requires,))
    monkeypatch.setenv("PYTHONPATH", str(importable.folder))
    plugins = Plugins.load()
    monkeypatch.setattr(plugin_contract, "installed", lambda: plugins)
    assert set(broken_promises(Contract())) == {liar.caught_by} - {""}


def test_every_promise_of_the_contract_has_its_liar() -> None:
    promises = {promise for promise, _ in cases(Contract())} - {"test_nothing_is_overridden"}
    assert {liar.caught_by for liar in LIARS.values()} - {""} == promises
