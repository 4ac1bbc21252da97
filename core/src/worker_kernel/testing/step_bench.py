"""Where a step is put to the test: a worker that has the step, what the step waits for, and nothing else.

Everything but the pool is real: the steps that it requires are those that are installed, the settings are read and
negotiated, the broker is the embedded one in a temporary folder (``memory://`` where that is not installed).
"""

from __future__ import annotations

import copy
import functools
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, cast

import attrs

from ..blueprint import Blueprint
from ..bootsteps import BlueprintName, Step, StepSpec
from ..core_settings import CORE_SETTINGS
from ..errors import PluginNotFound
from ..hub import Hub
from ..negotiation import negotiate
from ..platforms import current
from ..plugins.loading import Plugins
from ..pool import PoolSpec
from ..settings import Settings
from ..sources import read_settings
from ..suggestions import did_you_mean
from ..tasks.app import App
from ..worker import Worker
from .fake_pool import FakePool
from .recording import PATIENCE

POOL = PoolSpec(name="fake", cls="worker_kernel.testing:FakePool", capabilities=FakePool.capabilities)
"""The pool of the worker, unless another is named."""


@functools.cache
def installed() -> Plugins:
    """Return the plugins of this process: loaded once, as in a worker."""
    return Plugins.load()


class StepMaker:
    """What the author of a step supplies; the root of `StepContract`."""

    step: ClassVar[str]
    """The name of the step, as an installed plugin declares it."""
    configured: ClassVar[Mapping[str, object]] = {}
    """Settings for every test, by name: for a step that takes part only where they say so."""
    pool: ClassVar[str] = ""
    """The pool of the worker, by name; by default the kit's own."""
    broker: ClassVar[str] = ""
    """The URL of the worker's broker; by default the embedded one."""
    patience: ClassVar[float] = PATIENCE
    """Seconds to wait for what must happen, before the promise counts as broken."""

    def make_spec(self) -> StepSpec:
        """Return the declaration of the step.

        Raises:
            PluginNotFound: no plugin that can be used declares it.
        """
        plugins = installed()
        known = {spec.name: spec for spec in plugins.steps}
        if self.step not in known:
            why = "\n".join(plugins.warnings[:3])
            raise PluginNotFound(
                f"no plugin declares a step {self.step!r}{did_you_mean(self.step, known)}\n{why}".strip()
            )
        return known[self.step]


@attrs.define(eq=False)
class StepBench:
    """A worker in which a step is put to the test. Used by the one thread of the test."""

    worker: Worker
    """Not started for a step of the worker's blueprint, started for one of the consumer's."""
    spec: StepSpec
    """The step under test."""
    raised: list[str]
    """What the step has raised in close, stop or terminate; a blueprint logs that and goes on."""

    def blueprint(self) -> Blueprint:
        """Return the blueprint with the step: the worker's only one, or the one of a new connection."""
        if self.spec.blueprint is BlueprintName.WORKER:
            return self.worker.blueprint
        return Blueprint(BlueprintName.CONSUMER, self.worker.plugins.steps, self.worker)

    def step(self, blueprint: Blueprint) -> Step:
        """Return the step under test.

        Raises:
            AssertionError: it takes no part.
        """
        found = blueprint.step(self.spec.name)
        assert found is not None, (
            f"the step takes no part in this worker: {blueprint.why_disabled(self.spec.name)}; "
            "give the settings that it needs, in `configured` or as KERNEL_... in the environment"
        )
        return found

    def timers(self) -> object | None:
        """Return the worker's timers; None before they are created, and where there are none."""
        return self.worker.blueprint.component("timer")

    def pending(self) -> bool:
        """Whether a call is pending on the worker's timers."""
        timers = self.timers()
        return timers is not None and getattr(timers, "next_due")() is not None  # noqa: B009  (whatever they are)


@contextmanager
def on_worker(maker: StepMaker, *beside: StepSpec) -> Iterator[StepBench]:
    """Make a worker for the step of ``maker``, and stop what is left of it at the end.

    Args:
        maker: what is put to the test.
        beside: further steps that take part.
    """
    spec = maker.make_spec()
    with tempfile.TemporaryDirectory(prefix="kit-") as name, _errors_of(spec) as raised:
        worker = make_worker(maker, [spec, *beside], Path(name))
        bench = StepBench(worker, spec, raised)
        try:
            if spec.blueprint is BlueprintName.CONSUMER:
                worker.blueprint.create()
                worker.blueprint.start()
            yield bench
        finally:
            worker.blueprint.stop()
            hub = worker.blueprint.component("hub")
            if hub is not None:  # where nothing was started it is still open
                cast("Hub", hub).close()
            worker.app.close()


def needed_by(wanted: Sequence[StepSpec], declared: Sequence[StepSpec]) -> tuple[StepSpec, ...]:
    """Return the steps ``wanted``, those of the kind ``declared`` that they wait for, and so on.

    A step of the consumer's blueprint needs the worker's step ``consumer``, too. What is not there is left out: the
    blueprint says who is missing.
    """
    known: dict[tuple[BlueprintName, str], StepSpec] = {}
    for spec in (*declared, *wanted):
        for name in (spec.name, *spec.provides):
            known[spec.blueprint, name] = spec
    found: dict[tuple[BlueprintName, str], StepSpec] = {}
    waiting = list(wanted)
    while waiting:
        spec = waiting.pop()
        if (spec.blueprint, spec.name) in found:
            continue
        found[spec.blueprint, spec.name] = spec
        keys = [(spec.blueprint, name) for name in (*spec.requires, *spec.after)]
        keys += [(BlueprintName.WORKER, "consumer")] if spec.blueprint is BlueprintName.CONSUMER else []
        keys += [(BlueprintName.WORKER, "pool")]
        waiting += [known[key] for key in keys if key in known]
    return tuple(found.values())


def make_worker(maker: StepMaker, steps: Sequence[StepSpec], folder: Path) -> Worker:
    """Return a worker with ``steps`` and what they wait for; its broker would be in ``folder``."""
    plugins = copy.copy(installed())
    pool = plugins.pool(maker.pool) if maker.pool else POOL
    plugins.steps = needed_by(steps, plugins.steps)
    embedded = f"sqlite:///{folder / 'broker.db'}" if "sqlite" in plugins.transports else "memory://"
    app = App("kit", broker_url=maker.broker or embedded)
    return Worker(app, _settings(maker, app, plugins, pool), plugins, pool=pool)


def _settings(maker: StepMaker, app: App, plugins: Plugins, pool: PoolSpec) -> Settings:
    given = {name: ("configured", value) for name, value in maker.configured.items()}
    settings, _ = read_settings(
        [*CORE_SETTINGS, *plugins.settings],
        app=app.declared_settings(),
        app_name=app.name,
        command_line=given,
    )
    negotiated = negotiate(settings, pool, plugins=plugins, tasks={}, platform=current(), best_effort=True)
    return negotiated.settings


@contextmanager
def _errors_of(spec: StepSpec) -> Iterator[list[str]]:
    """Collect what the step raises where a blueprint only logs it."""
    raised: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and isinstance(record.args, tuple) and record.args[0] == spec.name:
                raised.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    logger, collector = logging.getLogger("worker_kernel.blueprint"), Collector()
    logger.addHandler(collector)
    try:
        yield raised
    finally:
        logger.removeHandler(collector)
