"""The kernel's own step ``pool``: builds the chosen pool and gives it a life cycle."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from threading import Lock
from typing import TYPE_CHECKING

import attrs

from .bootrecord import Booted, BootRecord
from .bootsteps import Step, StepContext
from .capabilities import Support
from .errors import KernelBug
from .hub import Hub
from .inbox import PoolInbox
from .pool import Pool, PoolConfig, PoolListener
from .slots import Slots

if TYPE_CHECKING:
    from .worker import Worker

MAX_RESTARTS = 100
"""Abnormal ends of slots that a pool on the hub bears, as with Celery; a threaded one has no such limit there."""


class PoolStep(Step):
    """Creates the pool as the creation flow of the design has it.

    ``threaded`` is true without an event loop or on Windows. Threaded: the pool may hold jobs back by itself
    (``putlocks = worker_pool_putlocks and threaded``). Not threaded: slots come from the kernel's own count, which
    only the hub's thread uses and which therefore needs no lock.
    """

    def __init__(self) -> None:
        self._pool: Pool | None = None
        self._hub: Hub | None = None
        self._ahead: object = None

    def get_ahead(self, worker: Worker) -> None:
        """Let the pool do what is best done before anything is opened; see `Pool.get_ahead`."""
        worker.app.preload()
        config = self._config(worker, PoolInbox(), threaded=True)
        self._ahead = self._class(worker).get_ahead(config)

    def create(self, ctx: StepContext) -> Pool:
        """Import the pool's class and build it; nothing is started yet."""
        worker = ctx.worker
        hub = ctx.find("hub", Hub)  # type: ignore[type-abstract]  # a protocol: not checked at run time
        threaded = hub is None or worker.platform.windows
        worker.slots = Slots(worker.concurrency, Lock() if threaded else nullcontext())
        worker.inbox = PoolInbox()
        self._pool = self._class(worker)(self._config(worker, worker.inbox, threaded=threaded))
        self._hub = None if threaded else hub
        return self._pool

    def _class(self, worker: Worker) -> type[Pool]:
        cls = worker.plugins.load_object(worker.pool_spec.cls)
        if not (isinstance(cls, type) and issubclass(cls, Pool)):
            raise KernelBug(f"{worker.pool_spec.cls} of pool {worker.pool_spec.name!r} is not a Pool")
        return cls

    def _config(self, worker: Worker, listener: PoolListener, *, threaded: bool) -> PoolConfig:
        settings = worker.settings
        hooks = Booted(app=worker.app, hooks=worker.hooks, plugins=worker.plugins)
        return PoolConfig(
            limit=worker.concurrency,
            listener=listener,
            app=worker.app,
            node_name=worker.node_name,
            threaded=threaded,
            putlocks=settings.get_bool("worker_pool_putlocks") and threaded,
            semaphore=None if threaded else (lambda: worker.slots.free),
            soft_time_limit=settings.get_float("task_soft_time_limit"),
            time_limit=settings.get_float("task_time_limit"),
            max_tasks_per_child=settings.get_int("worker_max_tasks_per_child"),
            max_memory_per_child=_bytes(settings.get_int("worker_max_memory_per_child")),
            memory_limit=_bytes(settings.get_int("worker_memory_limit_per_child")),
            max_restarts=None if threaded else MAX_RESTARTS,
            allow_restart=settings.get_bool("worker_pool_restarts"),
            lost_wait=settings.get_float("worker_lost_wait") or 0.0,
            limit_grace=settings.get_float("worker_limit_grace") or 0.0,
            zombie_budget=settings.get_int("worker_zombie_budget") or 0,
            processes=settings.get_int("worker_processes"),
            hosted=worker.pool_spec.inner,
            boot=_boot_record(worker),
            ahead=self._ahead,
            strategy=settings.get_str("worker_optimization"),
            options={name: settings[name] for name in settings},
            clock=worker.clock,
            slot_start=hooks.slot_start,
            slot_end=hooks.slot_end,
            child_init=hooks.child_init,
            child_exit=hooks.child_exit,
            upkeep=worker.upkeep.run,
        )

    def start(self) -> None:
        """Start the pool and put it on the hub."""
        self.pool.start()
        if self._hub is not None:
            self.register_with_event_loop(self._hub)

    def register_with_event_loop(self, hub: Hub) -> None:
        """Let the pool put its file descriptors and timers on the hub."""
        self.pool.register_with_event_loop(hub)

    def close(self) -> None:
        """Take no more jobs."""
        self.pool.close()

    def stop(self) -> None:
        """Release the pool; the consumer has drained it, so that nothing runs any more unless it cannot be ended."""
        if not self.pool.stop(timeout=0.0):
            self.pool.terminate()

    def terminate(self) -> None:
        """End whatever runs."""
        self.pool.terminate()

    def info(self) -> Mapping[str, object]:
        """Return the pool's statistics."""
        return attrs.asdict(self.pool.statistics())

    @property
    def pool(self) -> Pool:
        """The pool, once created."""
        if self._pool is None:
            raise KernelBug("the step 'pool' is used before it was created")
        return self._pool


def _boot_record(worker: Worker) -> BootRecord | None:
    """Return how child processes get the application; None where there are none, or they are forked and have it."""
    spec = worker.pool_spec
    if spec.capabilities.processes is Support.REFUSED or worker.settings["worker_pool_start_method"] == "fork":
        return None
    record = BootRecord.of(worker.app, worker.settings, worker.plugins)
    return attrs.evolve(record, join_blocks=(spec.inner or spec).capabilities.join_blocks)


def _bytes(kib: int | None) -> int | None:
    return None if kib is None else kib * 1024
