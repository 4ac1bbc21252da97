"""A blueprint: steps put in order, and taken through their life together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .bootsteps import BlueprintName, Step, StepContext, StepSpec
from .errors import KernelBug, PluginBroken, StepFailed
from .graph import Order, resolve

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("worker_kernel.blueprint")


class Blueprint:
    """Creates, starts and stops steps in the order that the graph gives.

    Everything happens on the calling thread. A phase never begins before the previous one is over: `create` all,
    `start` all, `close` all, then `stop` (or `terminate`) all, in reverse.
    """

    order: tuple[str, ...]
    """The steps that take part, in the order in which they start."""
    resolved: Order
    """The same with waves, and with the reason for each edge."""
    recorded: list[tuple[str, str]]
    """``("start" | "close" | "stop" | "terminate", step)`` for each such call, in the order in which they were made."""

    def __init__(self, name: BlueprintName, specs: Sequence[StepSpec], worker: Worker) -> None:
        """Import the steps of blueprint ``name`` among ``specs``, drop those that are not enabled, order the rest.

        Raises:
            GraphError: they cannot be put in order.
            PluginBroken: a step's factory cannot be imported, or is no `Step`.
            StepFailed: a step raised when it was built, or when it was asked whether it takes part.
        """
        self.name = name
        self._worker = worker
        taking: list[tuple[StepSpec, Step]] = []
        self._disabled: dict[str, str] = {}
        for spec in specs:
            if spec.blueprint is not name:
                continue
            step = self._build(spec)
            if self._enabled(spec, step):
                taking.append((spec, step))
            else:
                self._disabled.update(dict.fromkeys((spec.name, *spec.provides), _why_disabled(spec, step)))

        def absent(wanted: str) -> str | None:
            return self._disabled.get(wanted) or worker.plugins.why_absent(wanted)

        self.resolved = resolve([spec for spec, _ in taking], install=worker.plugins.install_hint, absent=absent)
        self.order = self.resolved.names
        self.recorded = []
        self._specs = {spec.name: spec for spec, _ in taking}
        self._steps = {spec.name: step for spec, step in taking}
        self._components: dict[str, object] = {}
        self._created = False
        self._started: list[str] = []
        self._open: list[str] = []

    def create(self) -> None:
        """Create every step. Called once.

        Raises:
            StepFailed: a step raised; nothing had been started, so that nothing is left to stop.
        """
        if self._created:
            raise KernelBug(f"the {self.name} blueprint is created twice")
        self._created = True
        for name in self.order:
            spec = self._specs[name]
            ctx = StepContext(self._worker, frozenset((*spec.requires, *spec.after)), self._components)
            try:
                component = self._steps[name].create(ctx)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                raise StepFailed(name, spec.owner, "create", exc) from exc
            self._components.update(dict.fromkeys((name, *spec.provides), component))

    def start(self) -> None:
        """Start every step. Called once, after `create`.

        Raises:
            StepFailed: a step raised. Those that had been started are closed and then stopped, in reverse; the one
                that raised is not: it releases by itself what it had taken.
        """
        if not self._created or self.recorded:
            raise KernelBug(f"the {self.name} blueprint is started {'twice' if self.recorded else 'before create()'}")
        for name in self.order:
            self._record("start", name)
            try:
                self._steps[name].start()
            except BaseException as exc:
                self.stop()
                if isinstance(exc, KeyboardInterrupt):
                    raise
                raise StepFailed(name, self._specs[name].owner, "start", exc) from exc
            self._started.append(name)
            self._open.append(name)

    def close(self) -> None:
        """Let every started step take no more work, in start order. What one raises is logged. Idempotent."""
        while self._open:
            name = self._open.pop(0)
            self._call("close", name, self._steps[name].close)

    def stop(self) -> None:
        """Stop every started step, in reverse. Implies `close`. What one raises is logged, the others still stop.

        Idempotent; after a KeyboardInterrupt, `stop` or `terminate` goes on with the steps that remain.
        """
        self.close()
        while self._started:
            name = self._started.pop()
            self._call("stop", name, self._steps[name].stop)

    def terminate(self) -> None:
        """Terminate every step that was started and not stopped, in reverse. What one raises is logged. Idempotent."""
        self._open.clear()
        while self._started:
            name = self._started.pop()
            self._call("terminate", name, self._steps[name].terminate)

    def component(self, name: str) -> object | None:
        """Return what step ``name`` created; None where it is absent, disabled, not created yet, or has nothing."""
        return self._components.get(name)

    def step(self, name: str) -> Step | None:
        """Return the step ``name``; None where it is absent or disabled."""
        return self._steps.get(name)

    def why_disabled(self, name: str) -> str | None:
        """Return in words why step ``name`` takes no part; None where it does, or is absent."""
        return self._disabled.get(name)

    def info(self) -> dict[str, Mapping[str, object]]:
        """Return what each step says of itself, in start order; a step that raises says what it raised."""
        said: dict[str, Mapping[str, object]] = {}
        for name in self.order:
            try:
                said[name] = self._steps[name].info()
            except Exception as exc:  # noqa: BLE001  (asking one step must not hide what the others say)
                said[name] = {"error": f"{type(exc).__name__}: {exc}"}
        return said

    def _build(self, spec: StepSpec) -> Step:
        factory = self._worker.plugins.load_object(spec.factory, spec.owner)
        if not (isinstance(factory, type) and issubclass(factory, Step)):
            raise PluginBroken(f"{spec.factory} of {spec.owner} is declared as step {spec.name!r}, but is no Step")
        try:
            return factory()
        except Exception as exc:
            raise StepFailed(spec.name, spec.owner, "build", exc) from exc

    def _enabled(self, spec: StepSpec, step: Step) -> bool:
        try:
            return step.enabled(self._worker)
        except Exception as exc:
            raise StepFailed(spec.name, spec.owner, "say whether it takes part", exc) from exc

    def _record(self, phase: str, name: str) -> None:
        log.debug("%s: %s %s", self.name, phase, name)
        self.recorded.append((phase, name))

    def _call(self, phase: str, name: str, method: Callable[[], None]) -> None:
        self._record(phase, name)
        try:
            method()
        except KeyboardInterrupt:
            raise
        except BaseException:
            log.exception("step %r of %s raised in %s", name, self._specs[name].owner, phase)


def _why_disabled(spec: StepSpec, step: Step) -> str:
    """Say that a step takes no part, and why as far as its `Step.enabled` documents it."""
    method = type(step).enabled
    doc = (method.__doc__ or "").strip().partition("\n")[0] if method is not Step.enabled else ""
    return f"{spec.name!r} of {spec.owner} takes no part in this worker" + (f" ({doc})" if doc else "")
