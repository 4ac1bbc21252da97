"""Steps: units with a life cycle, of which a worker and a consumer are made."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from .errors import KernelBug

if TYPE_CHECKING:
    from .worker import Worker

T = TypeVar("T")


class BlueprintName(enum.StrEnum):
    """The two blueprints there are."""

    WORKER = "worker"
    """Built once: ``timer``, ``hub``, ``pool``, ``autoscaler``, ``beat``, ``state``, ``control``, ``consumer``."""
    CONSUMER = "consumer"
    """Built anew for each connection: ``connection``, ``events``, ..., ``tasks``, ``loop`` (which starts last)."""


@attrs.frozen(kw_only=True)
class StepSpec:
    """What a plugin declares for a step, without importing it. Steps name each other by string."""

    name: str
    """A reserved name (see `BlueprintName`), or ``dist.name`` for a step by others."""
    blueprint: BlueprintName
    """Where it belongs."""
    factory: str
    """``package.module:Class``, a `Step` subclass, built without arguments only when the blueprint is."""
    requires: tuple[str, ...] = ()
    """Steps that must be there, and start before it."""
    after: tuple[str, ...] = ()
    """Steps that start before it if they are there."""
    before: tuple[str, ...] = ()
    """Steps that start after it if they are there."""
    provides: tuple[str, ...] = ()
    """Further names under which others may require it."""
    last: bool = False
    """Starts after every other step. At most one step per blueprint."""
    owner: str = ""
    """The distribution that declares it; filled in by the kernel."""


class StepContext:
    """What a step may see while it is created: the worker, and the components of the steps that it named."""

    def __init__(self, worker: Worker, allowed: frozenset[str], components: Mapping[str, object]) -> None:
        self.worker = worker
        self._allowed = allowed
        self._components = components

    def get(self, name: str, type_: type[T]) -> T:
        """Return the component of step ``name``.

        Raises:
            KernelBug: the calling step does not name it in ``requires`` or ``after``, it is not there, or it is not
                a ``type_`` (protocols are not checked).
        """
        component = self.find(name, type_)
        if component is None:
            raise KernelBug(f"step {name!r} has no component; use find() for a step that may be absent")
        return component

    def find(self, name: str, type_: type[T]) -> T | None:
        """Return the component of step ``name``, or None where the step is absent or disabled. See `get`."""
        if name not in self._allowed:
            raise KernelBug(f"the component of step {name!r} was asked for by a step that does not name it")
        component: Any = self._components.get(name)
        if component is not None and not getattr(type_, "_is_protocol", False) and not isinstance(component, type_):
            raise KernelBug(f"the component of step {name!r} is a {type(component).__name__}, not a {type_.__name__}")
        return component  # type: ignore[no-any-return]  # the border: components are typed by their consumer


class Step:
    """A unit with a life cycle. Every method runs on the thread that runs the blueprint.

    Order: `enabled`, `create`, then `start` in the graph's order; `close` in the same order; `stop` (or `terminate`)
    in reverse. An exception in create or start stops what was started, in reverse; an exception in close, stop or
    terminate is logged and the others still run.
    """

    def enabled(self, worker: Worker) -> bool:
        """Whether the step takes part. A disabled step counts as absent for soft and hard requirements alike."""
        return True

    def create(self, ctx: StepContext) -> object:
        """Return the step's component, which others get by ``ctx.get``; None where there is nothing to hand over."""
        return None

    def start(self) -> None:
        """Start. Must not block: what runs for ever runs in the loop."""

    def close(self) -> None:
        """Take no more work. Called in start order, before any `stop`."""

    def stop(self) -> None:
        """Release everything, gracefully. Called in reverse order, once, only if `start` was called."""

    def terminate(self) -> None:
        """Release everything, now. The default is `stop`."""
        self.stop()

    def info(self) -> Mapping[str, object]:
        """Return what an operator wants to know of the step, JSON-safe."""
        return {}
