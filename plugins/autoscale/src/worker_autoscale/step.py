"""The step ``autoscaler``: brings load, policy and pool together."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, cast

from worker_kernel import (
    AutoscalePolicy,
    Consumer,
    KernelBug,
    Load,
    Pool,
    QueueDepth,
    Step,
    StepContext,
    TimerHandle,
    Timers,
    Worker,
)

from .asking import Asker
from .choosing import choose_policy
from .scaler import Scaler

log = logging.getLogger("worker_autoscale")

INTERVAL = 1.0
"""Seconds between two looks at the load."""
ANSWERS_WITHIN = 5.0
"""Seconds after which a broker that does not answer is one that does not tell."""
SOON = 0.2
"""Seconds after the last look before all slots becoming busy is a reason for one more."""


class Autoscaler:
    """Looks at the load once a second, and when the last free slot is taken. Everything is on the loop's thread.

    The worker's timers drive it, which every loop fires; a thread asks the broker how much waits, and only while there
    is no free slot.
    """

    def __init__(self, worker: Worker, pool: Pool, policy: AutoscalePolicy, timers: Timers) -> None:
        maximum, minimum = cast("tuple[int, int]", worker.settings["worker_autoscale"])
        keepalive = cast("float", worker.settings["worker_autoscale_keepalive"])
        self._worker, self._pool, self._timers = worker, pool, timers
        self.scaler = Scaler(
            pool, policy, size=worker.concurrency, maximum=maximum, minimum=minimum, keepalive=keepalive
        )
        """What makes the pool larger and smaller."""
        self._asker = Asker(self._connect, self._answered)
        self._every = min(INTERVAL, keepalive / 4)
        self._handle: TimerHandle | None = None
        self._looked = self._asked = float("-inf")
        self._pending = False
        self._oldest: dict[str, tuple[object, float]] = {}

    def start(self) -> None:
        """Begin to look."""
        self._handle = self._timers.call_repeatedly(self._every, self.look)
        self._worker.slots.when_full = self._full

    def close(self) -> None:
        """Leave the pool as it is. Idempotent."""
        self._worker.slots.when_full = None
        if self._handle is not None:
            self._handle.cancel()

    def stop(self) -> None:
        """End the thread."""
        self.close()
        self._asker.close()

    def _full(self) -> None:
        """All slots are busy: look now, unless that was just done."""
        if not self._pending and self._worker.clock.monotonic() - self._looked >= SOON:
            self._pending = True
            self._timers.call_later(0.0, self._look_now)

    def _look_now(self) -> None:
        self._pending = False
        self.look()

    def look(self) -> None:
        """Find out what there is to do, and act on it."""
        consumer = cast("Consumer | None", self._worker.blueprint.component("consumer"))
        if consumer is None or self._worker.stop_request is not None:
            return
        self._looked = self._worker.clock.monotonic()
        demand = consumer.demand()
        if self._worker.slots.free == 0 or demand.waiting:
            self._ask(consumer, demand.queues)
        else:
            self._oldest.clear()
            self._decide(consumer, depth=0, age=None)

    def _ask(self, consumer: Consumer, queues: tuple[str, ...]) -> None:
        if self._asker.ask(queues):
            self._asked = self._looked
        elif self._looked - self._asked >= ANSWERS_WITHIN:
            self._decide(consumer, depth=None, age=None)

    def _connect(self) -> Any:
        return self._worker.app.connection().clone(heartbeat=0)  # nobody would send them

    def _answered(self, depth: QueueDepth | None) -> None:
        self._worker.loop_calls.put(lambda: self._act_on(depth))

    def _act_on(self, depth: QueueDepth | None) -> None:
        consumer = cast("Consumer | None", self._worker.blueprint.component("consumer"))
        if consumer is None or self._worker.stop_request is not None:
            return
        if depth is None:
            self._decide(consumer, depth=None, age=None)
        else:
            self._decide(consumer, depth=depth.ready, age=self._age(depth))

    def _age(self, depth: QueueDepth) -> float | None:
        """How long the messages that are next have been seen to be that."""
        now = self._worker.clock.monotonic()
        before, self._oldest = self._oldest, {}
        for queue, token in depth.oldest.items():
            known, since = before.get(queue, (None, now))
            self._oldest[queue] = (token, since if known == token else now)
        return max((now - since for _, since in self._oldest.values()), default=None)

    def _decide(self, consumer: Consumer, *, depth: int | None, age: float | None) -> None:
        demand = consumer.demand()
        scaler = self.scaler
        pids = {slot.pid for slot in self._pool.statistics().slots} - {0, os.getpid()}
        load = Load(
            now=self._worker.clock.monotonic(),
            size=scaler.size,
            busy=self._worker.slots.running,
            waiting=demand.waiting,
            depth=depth,
            age=age,
            runtime=demand.runtime,
            minimum=scaler.minimum,
            maximum=scaler.maximum,
            pids=tuple(sorted(pids)),
        )
        scaler.decide(load)

    def statistics(self) -> Mapping[str, object]:
        """Return bounds and size, JSON-safe, in Celery's words; ``qty`` is what there is to do in all."""
        scaler = self.scaler
        return {
            "max": scaler.maximum,
            "min": scaler.minimum,
            "current": scaler.size,
            "qty": self._worker.slots.running,
            "keepalive": scaler.keepalive,
            "policy": f"{type(scaler.policy).__module__}:{type(scaler.policy).__qualname__}",
            "scaled": {"up": scaler.moves["up"], "down": scaler.moves["down"]},
            **scaler.policy.statistics(),
        }


class AutoscalerStep(Step):
    """Keeps the number of slots between the bounds of ``--autoscale``; its component is the `Autoscaler`."""

    def __init__(self) -> None:
        self._autoscaler: Autoscaler | None = None

    def enabled(self, worker: Worker) -> bool:
        """Only with --autoscale (worker_autoscale)."""
        return worker.settings["worker_autoscale"] is not None

    def create(self, ctx: StepContext) -> Autoscaler:
        """Build the policy.

        Raises:
            PluginNotFound: there is no policy of the name that was asked for.
            PluginBroken: it cannot be imported, or is no `AutoscalePolicy`.
        """
        pool = ctx.get("pool", Pool)  # type: ignore[type-abstract]  # only its instances are meant
        timers = ctx.get("timer", Timers)  # type: ignore[type-abstract]  # a protocol
        self._autoscaler = Autoscaler(ctx.worker, pool, choose_policy(ctx.worker), timers)
        return self._autoscaler

    def start(self) -> None:
        """Begin to look at the load."""
        self.autoscaler.start()

    def close(self) -> None:
        """Leave the pool as it is."""
        self.autoscaler.close()

    def stop(self) -> None:
        """End the thread that asks the broker."""
        self.autoscaler.stop()

    def info(self) -> Mapping[str, object]:
        """Return the bounds, the size, and what the policy sees."""
        return {} if self._autoscaler is None else self._autoscaler.statistics()

    @property
    def autoscaler(self) -> Autoscaler:
        """The autoscaler, once created."""
        if self._autoscaler is None:
            raise KernelBug("the step 'autoscaler' is used before it was created")
        return self._autoscaler
