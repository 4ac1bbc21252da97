"""The conformance kit for whole plugins: what their metadata and their declarations promise."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import ClassVar

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..plugins.found import Found, Kind, Status
from ..plugins.importing import describe, import_value
from ..plugins.loading import Plugins
from .overriding import overridden
from .step_bench import installed

HEAVY = frozenset({"billiard", "celery", "eventlet", "gevent", "kombu"})
"""What a module that only declares must not import: every ``kernel worker --help`` would pay for it."""

_WHAT_IT_IMPORTS = (
    "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(list(sys.modules)))"
)


class PluginContract:
    """What a plugin promises by being installed, as tests for pytest.

    ::

        class TestMyPlugin(PluginContract):
            plugin = "my_plugin"
    """

    plugin: ClassVar[str]
    """The plugin's name, as ``kernel list-plugins`` shows it, or ``distribution:name``."""

    def test_nothing_is_overridden(self) -> None:
        """A promise is not made easier: a known deviation is an override marked ``xfail(reason=...)``."""
        assert not (changed := overridden(type(self), PluginContract)), changed

    def test_it_can_be_used(self) -> None:
        """It is imported, states the kernel's CONTRACT, and declares nothing that cannot be."""
        for row in self._rows():
            usable = (Status.READY,) if row.kind is Kind.COMMAND else (Status.LOADED,)  # commands are imported late
            assert row.status in usable, f"{row.kind} {row.name} is {row.status}: {row.reason} {row.remedy}"

    def test_importing_it_is_light(self) -> None:
        for row in self._modules():
            command = [sys.executable, "-c", _WHAT_IT_IMPORTS, row.value.partition(":")[0]]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
            if done.returncode:
                continue  # another promise says why it cannot be imported
            heavy = HEAVY & set(json.loads(done.stdout.splitlines()[-1]))
            assert not heavy, f"{row.value} imports {', '.join(sorted(heavy))}: name the heavy class as 'module:Class'"

    def test_what_it_names_can_be_imported(self) -> None:
        wrong = []
        for path in self._named():
            try:
                import_value(path)
            except (Exception, SystemExit) as exc:
                wrong.append(f"{path}: {describe(exc)}")
        assert not wrong, "\n".join(wrong)

    def test_its_settings_explain_themselves(self) -> None:
        owners = {row.dist for row in self._rows()}
        mute = [one.name for one in installed().settings if one.owner in owners and not (one.help and one.kind)]
        assert not mute, f"settings without help or kind: {mute}"

    def test_its_distribution_says_for_which_kernels_it_is(self) -> None:
        for row in self._rows():
            lines = importlib.metadata.requires(row.dist) or []
            found = [Requirement(line) for line in lines]
            kernels = [one for one in found if canonicalize_name(one.name) == "worker-kernel" and one.marker is None]
            operators = {specifier.operator for one in kernels for specifier in one.specifier}
            assert operators & {"<", "<=", "==", "~="}, f"{row.dist} should require worker-kernel>=0.1,<1, or the like"

    def test_its_command_is_one_of_click_s_and_says_what_it_does(self) -> None:
        for row in self._rows():
            if row.kind is not Kind.COMMAND:
                continue
            command = import_value(row.value)
            assert isinstance(command, click.Command), f"{row.value} is {command!r}, no click command"
            assert command.help, f"the command {row.name} has no help: give its function a docstring"

    def _rows(self) -> list[Found]:
        """Return everything that the plugin's distribution offers under its name."""
        rows = rows_of(installed(), self.plugin)
        assert rows, f"no plugin {self.plugin!r} is installed"
        return rows

    def _modules(self) -> list[Found]:
        return [row for row in self._rows() if row.kind is not Kind.COMMAND]

    def _named(self) -> Iterator[str]:
        """Yield the paths of all that is to be imported later."""
        plugins = installed()
        for row in self._modules():
            declares = row.declares or {}
            for name in declares.get("pools", ()):
                pool = plugins.pools[name]
                yield from filter(None, (pool.cls, pool.hosting))
            yield from (step.factory for step in plugins.steps if step.owner == row.dist)
            yield from (plugins.loops[name].factory for name in declares.get("loops", ()))
            yield from (plugins.autoscale_policies[name].factory for name in declares.get("policies", ()))
            yield from (command.factory for command in plugins.control_commands if command.owner == row.dist)
            for scheme in declares.get("schemes", ()):
                if scheme in plugins.transports:
                    yield plugins.transports[scheme].transport
                if scheme in plugins.result_stores:
                    yield plugins.result_stores[scheme].factory


def rows_of(plugins: Plugins, name: str) -> list[Found]:
    """Return the rows of all that goes by ``name``, or by ``distribution:name``."""
    dist, _, short = name.rpartition(":")
    wanted = canonicalize_name(dist)
    return [row for row in plugins.found if row.name == short and wanted in ("", canonicalize_name(row.dist))]
