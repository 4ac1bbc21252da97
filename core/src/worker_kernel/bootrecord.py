"""What another process needs to run the jobs of this worker: application and plugins, as configured here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from .application import Application
from .apploader import import_modules, load_app
from .core_settings import CORE_SETTINGS
from .errors import AppNotLoaded, PluginIncompatible, UsageError
from .hookspecs import CONTRACT, kernel_child_exit, kernel_child_init, kernel_slot_end, kernel_slot_start
from .logs import set_up_logging
from .plugins.discovery import discover
from .plugins.found import USABLE
from .plugins.hooks import Hooks
from .plugins.loading import Plugins
from .plugins.selection import Selection
from .settings import Layer, Setting, Settings, Source, Value

Phase = Callable[[str], None]
"""Told what is about to be done, in words: ``importing proj.tasks``."""


@attrs.frozen(kw_only=True)
class BootRecord:
    """The boot of one application as plain data: `to_bytes` and `from_bytes` carry it, nothing is pickled.

    Whoever loads it is another process of the same installation: same interpreter, same distributions, same files.
    """

    origin: str
    """``module:attr`` by which the application is found; see `Application.origin`."""
    settings: Mapping[str, tuple[object, int, str]] = attrs.field(factory=dict)
    """Name -> (value, layer, location). Those that the application's code gave are left to its code."""
    plugins: tuple[str, ...] = ()
    """``dist:name`` of each plugin that is loaded here: no other one is loaded there."""
    include: tuple[str, ...] = ()
    """Further modules with tasks."""
    path: tuple[str, ...] = ()
    """``sys.path``."""
    directory: str = ""
    """The working directory."""
    join_blocks: bool = True
    """See `Capabilities.join_blocks`, of the pool that runs the jobs there."""
    contract: int = CONTRACT
    """See `worker_kernel.CONTRACT`."""

    @classmethod
    def of(cls, app: Application, settings: Settings, plugins: Plugins) -> BootRecord:
        """Describe an application, as it is configured with settings and plugins.

        Raises:
            UsageError: the application cannot be found by name, or a setting cannot leave this process.
        """
        if app.origin is None:
            raise UsageError(
                f"application {app.name!r} cannot be found by other processes: it has no name in a module\n"
                "put it into a module and name that with -A module:attr, or start children with "
                "--pool-start-method fork"
            )
        include = settings["worker_include"]
        return cls(
            origin=app.origin,
            settings={name: _told(settings, name) for name in settings if settings.given(name)},
            plugins=tuple(f"{row.dist}:{row.name}" for row in plugins.found if row.status in USABLE),
            include=tuple(include) if isinstance(include, (tuple, list)) else (),
            path=tuple(sys.path),
            directory=os.getcwd(),  # noqa: PTH109  (as text)
        )

    def to_bytes(self) -> bytes:
        """Return the record as JSON."""
        return json.dumps(attrs.asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> BootRecord:
        """Return the record that `to_bytes` wrote.

        Raises:
            PluginIncompatible: it was written by a kernel with another contract.
        """
        fields: dict[str, Any] = json.loads(data)
        if fields["contract"] != CONTRACT:
            raise PluginIncompatible(
                f"this process has contract {CONTRACT} of worker-kernel, the worker that started it has "
                f"{fields['contract']}\nrestart the worker: what is installed has changed"
            )
        told = {
            name: (_frozen(value), layer, location) for name, (value, layer, location) in fields["settings"].items()
        }
        lists = {name: tuple(fields[name]) for name in ("plugins", "include", "path")}
        return cls(**{**fields, "settings": told, **lists})

    def load(self, phase: Phase = lambda _: None) -> Booted:
        """Load plugins and application, and configure it. To be called once, in the main thread of a fresh process.

        Raises:
            AppNotLoaded: the application cannot be imported; the cause is chained.
            KernelError: whatever else keeps it from being used.
        """
        sys.path[:] = self.path or sys.path
        if self.directory:
            os.chdir(self.directory)
        phase("loading plugins")
        plugins = self._load_plugins()
        phase(f"importing {self.origin.partition(':')[0]}")
        app = load_app(self.origin, plugins)
        if self.include:
            phase(f"importing {', '.join(self.include)}")
            import_modules(self.include, "worker_include")
        phase("configuring the application")
        app.configure(self._read_settings(app, plugins.settings), plugins, join_blocks=self.join_blocks)
        if self.plugins:  # without any there is no transport
            app.broker()  # relative paths are those of now, whatever a task does to the working directory
        return Booted(app=app, hooks=plugins.hooks, plugins=plugins)

    def set_up_logging(self) -> None:
        """Send the log of this process to stderr in whole lines, as the worker does."""
        level, layout = (self.settings.get(name, (None,))[0] for name in ("worker_log_level", "worker_log_format"))
        set_up_logging(str(level or _default("worker_log_level")), str(layout or _default("worker_log_format")))

    def _load_plugins(self) -> Plugins:
        if not self.plugins:
            return Plugins()
        allowed = set(self.plugins)
        return Plugins.survey(Selection(), [row for row in discover() if f"{row.dist}:{row.name}" in allowed])

    def _read_settings(self, app: Application, declared_by_plugins: tuple[Setting, ...]) -> Settings:
        declared = {setting.name: setting for setting in (*CORE_SETTINGS, *declared_by_plugins)}
        default = Source(layer=Layer.DEFAULT)
        values = {name: Value(value=setting.default, source=default) for name, setting in declared.items()}
        given = app.declared_settings()
        for name, (value, layer, location) in self.settings.items():
            if name not in declared:
                continue
            if layer == Layer.APP:
                if name not in given:
                    raise AppNotLoaded(
                        f"{self.origin} gave the setting {name!r} in the worker, and does not give it here"
                    )
                value = declared[name].parse(given[name])  # noqa: PLW2901  (the same value, from the same code)
            values[name] = Value(value=value, source=Source(layer=Layer(layer), location=location))
        return Settings(declared, values)


class SlotHook(Protocol):
    """A hook that is told which slot, or which child, it is about."""

    def __call__(self, index: int) -> None:
        """Take the index."""
        ...


@attrs.frozen(kw_only=True)
class Booted:
    """An application that is ready to run jobs, and who wants to know of it."""

    app: Application
    """The application, configured."""
    hooks: Hooks
    """The hooks of the plugins."""
    plugins: Plugins
    """The plugins."""

    def child_init(self, index: int) -> None:
        """Tell plugins that child process ``index`` is about to take jobs. Raises what one of them raises."""
        self.hooks.call(kernel_child_init, index=index)

    def child_exit(self, index: int) -> None:
        """Tell plugins that child process ``index`` is about to exit."""
        self.hooks.notify(kernel_child_exit, index=index)

    @property
    def slot_start(self) -> Callable[[int], None] | None:
        """What tells plugins that a slot starts; None where nobody listens."""
        return notifier(self.hooks, kernel_slot_start)

    @property
    def slot_end(self) -> Callable[[int], None] | None:
        """What tells plugins that a slot ends; None where nobody listens."""
        return notifier(self.hooks, kernel_slot_end)


def notifier(hooks: Hooks, hook: SlotHook) -> Callable[[int], None] | None:
    """Return what tells a hook of a slot's index; None where nobody listens."""
    if not hooks.listens(hook):
        return None

    def notify(index: int) -> None:
        hooks.notify(hook, index=index)

    return notify


def _default(name: str) -> object:
    return next(setting.default for setting in CORE_SETTINGS if setting.name == name)


def _told(settings: Settings, name: str) -> tuple[object, int, str]:
    source = settings.source(name)
    if source.layer is Layer.APP:
        return None, int(source.layer), source.location
    value = settings[name]
    try:
        json.dumps(value)
    except (TypeError, ValueError) as exc:
        raise UsageError(f"{settings.spelled(name)} cannot be handed over to child processes: {exc}") from exc
    return value, int(source.layer), source.location


def _frozen(value: object) -> object:
    """Undo what JSON makes of tuples."""
    return tuple(value) if isinstance(value, list) else value
