"""Typed hooks over pluggy: implementations and calls are both checked against the spec."""

from __future__ import annotations

import logging
import traceback
import types
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import pluggy

from ..hookspecs import FIRST_RESULT, HOOKS

PROJECT = "worker_kernel"
log = logging.getLogger("worker_kernel.plugins")

P = ParamSpec("P")
R = TypeVar("R")

_marker = pluggy.HookimplMarker(PROJECT)


def implements(
    spec: Callable[P, R], *, tryfirst: bool = False, trylast: bool = False
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Mark a function of a plugin module as an implementation of ``spec``.

    The function's result is checked by the type checker; its parameters may be any subset of the spec's, checked by
    name when the plugin is registered. Hook order carries no dependency: ``tryfirst`` and ``trylast`` matter only for
    hooks of which the first result wins.
    """

    def mark(function: Callable[..., R]) -> Callable[..., R]:
        return _marker(specname=spec.__name__, tryfirst=tryfirst, trylast=trylast)(function)

    return mark


class Hooks:
    """Calls hooks of the registered plugins. Thread-safe once all plugins are registered."""

    def __init__(self) -> None:
        self.manager = _Manager(PROJECT)
        spec_marker = pluggy.HookspecMarker(PROJECT)
        namespace = type("Specs", (), {})
        for spec in HOOKS:
            # A copy, so that marking leaves the module's own function alone.
            marked = spec_marker(firstresult=spec.__name__ in FIRST_RESULT)(_copy(spec))
            setattr(namespace, spec.__name__, staticmethod(marked))
        self.manager.add_hookspecs(namespace)

    def register(self, plugin: object, label: str) -> None:
        """Register a plugin under ``label``, which names it in logs and notes.

        Raises:
            ValueError: the plugin, or another one under that label, is registered.
            pluggy.PluginValidationError: an implementation has a parameter that its hook does not; nothing is left.
        """
        try:
            self.manager.register(plugin, name=label)
        except pluggy.PluginValidationError:
            self.manager.unregister(name=label)
            raise

    def unregister(self, label: str) -> None:
        """Take a plugin's implementations away; one that is not registered has none."""
        if self.manager.has_plugin(label):
            self.manager.unregister(name=label)

    def implementations(self, label: str, spec: Callable[..., R]) -> Sequence[Callable[..., R]]:
        """Return what one plugin implements ``spec`` with, in the order in which it is called."""
        impls = reversed(self._caller(spec).get_hookimpls())
        return [impl.function for impl in impls if impl.plugin_name == label]

    def listens(self, spec: Callable[..., object]) -> bool:
        """Whether anybody implements ``spec``: on the hot path, look once and dispatch nothing where nobody does."""
        return bool(self._caller(spec).get_hookimpls())

    def call(self, spec: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Call every implementation and return the results that are not None. Arguments go by keyword.

        Raises:
            Exception: what an implementation raised, with a note that names the hook and the plugin.
        """
        assert not args, "hooks take keyword arguments"  # noqa: S101  (a ParamSpec cannot say so)
        assert spec.__name__ not in FIRST_RESULT, spec.__name__  # noqa: S101  (a mistake of ours, not of the user's)
        return cast("list[R]", self._dispatch(spec, kwargs))

    def first(self, spec: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Call a hook of which the first result wins and return that result, or None. Raises as `call` does."""
        assert not args, "hooks take keyword arguments"  # noqa: S101  (a ParamSpec cannot say so)
        assert spec.__name__ in FIRST_RESULT, spec.__name__  # noqa: S101  (a mistake of ours, not of the user's)
        return cast("R | None", self._dispatch(spec, kwargs))

    def notify(self, spec: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Like `call`, for hooks whose policy is *log*: one that raises is logged, with its plugin, the others run."""
        assert not args, "hooks take keyword arguments"  # noqa: S101  (a ParamSpec cannot say so)
        results: list[R] = []
        for impl in reversed(self._caller(spec).get_hookimpls()):
            try:
                result = impl.function(*(kwargs[name] for name in impl.argnames))
            except Exception:
                log.exception("hook %s of plugin %s raised", spec.__name__, impl.plugin_name)
            else:
                if result is not None:
                    results.append(cast("R", result))
        return results

    def _dispatch(self, spec: Callable[..., object], kwargs: dict[str, Any]) -> Any:
        try:
            return self._caller(spec)(**kwargs)
        except Exception as exc:
            ran = {frame.f_code for frame, _ in traceback.walk_tb(exc.__traceback__)}
            for impl in self._caller(spec).get_hookimpls():
                if getattr(impl.function, "__code__", None) in ran:
                    exc.add_note(f"in hook {spec.__name__} of plugin {impl.plugin_name}")
            raise

    def _caller(self, spec: Callable[..., object]) -> Any:
        return getattr(self.manager.hook, spec.__name__)


class _Manager(pluggy.PluginManager):
    """Looks for implementations only among what a module holds already.

    The faces of our distributions are lazy: asking a module for every name that it lists would import the heavy
    classes that listing plugins must not import.
    """

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        if isinstance(plugin, types.ModuleType) and name not in vars(plugin):
            return None
        return super().parse_hookimpl_opts(plugin, name)


def _copy(function: Callable[..., object]) -> Callable[..., object]:
    """Return a function with the same code and signature that markers can be put on."""
    source = cast("types.FunctionType", function)
    copy = types.FunctionType(source.__code__, source.__globals__, source.__name__, source.__defaults__)
    copy.__kwdefaults__ = source.__kwdefaults__
    return copy
