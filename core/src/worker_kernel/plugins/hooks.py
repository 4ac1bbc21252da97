"""Typed hooks over pluggy: implementations and calls are both checked against the spec."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import pluggy

from ..hookspecs import FIRST_RESULT, HOOKS

PROJECT = "worker_kernel"
log = logging.getLogger("worker_kernel.plugins")

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])

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
        self.manager = pluggy.PluginManager(PROJECT)
        spec_marker = pluggy.HookspecMarker(PROJECT)
        namespace = type("Specs", (), {})
        for spec in HOOKS:
            # A copy, so that marking leaves the module's own function alone.
            setattr(namespace, spec.__name__, staticmethod(spec_marker(firstresult=False)(_copy(spec))))
        self.manager.add_hookspecs(namespace)

    def listens(self, spec: Callable[..., object]) -> bool:
        """Whether anybody implements ``spec``: on the hot path, look once and dispatch nothing where nobody does."""
        return bool(self._caller(spec).get_hookimpls())

    def call(self, spec: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Call every implementation and return the results that are not None. Arguments go by keyword.

        Raises:
            Exception: what an implementation raised, with a note that names the hook.
        """
        assert not args, "hooks take keyword arguments"  # noqa: S101  (a ParamSpec cannot say so)
        try:
            return cast("list[R]", self._caller(spec)(**kwargs))
        except Exception as exc:
            exc.add_note(f"in hook {spec.__name__}")
            raise

    def first(self, spec: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Call a hook of which the first result wins and return that result, or None."""
        assert spec.__name__ in FIRST_RESULT, spec.__name__  # noqa: S101  (a mistake of ours, not of the user's)
        results = self.call(spec, *args, **kwargs)
        return results[0] if results else None

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

    def _caller(self, spec: Callable[..., object]) -> Any:
        return getattr(self.manager.hook, spec.__name__)


def _copy(function: Callable[..., object]) -> Callable[..., object]:
    """Return a function with the same code and signature that markers can be put on."""
    import types

    source = cast("types.FunctionType", function)
    copy = types.FunctionType(source.__code__, source.__globals__, source.__name__, source.__defaults__)
    copy.__kwdefaults__ = source.__kwdefaults__
    return copy
