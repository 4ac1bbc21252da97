"""The steps ``timer`` and ``hub`` of the worker blueprint."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from worker_kernel import Step, StepContext, Worker

from .hub import KombuHub
from .timers import HeapTimers


class TimerStep(Step):
    """Hands over the worker's `HeapTimers`, which both loops fire."""

    def __init__(self) -> None:
        self._timers: HeapTimers | None = None

    def create(self, ctx: StepContext) -> HeapTimers:
        """Return the timers, on the worker's clock."""
        self._timers = HeapTimers(ctx.worker.clock)
        return self._timers

    def info(self) -> Mapping[str, object]:
        """Return how many calls are pending."""
        return {"pending": len(self._timers) if self._timers is not None else 0}


class HubStep(Step):
    """Hands over the worker's `KombuHub` and closes it at the end."""

    def __init__(self) -> None:
        self._hub: KombuHub | None = None

    def enabled(self, worker: Worker) -> bool:
        """Whether the worker runs on an event loop."""
        return worker.use_event_loop

    def create(self, ctx: StepContext) -> KombuHub:
        """Return a new hub on the timers of step ``timer``."""
        self._hub = KombuHub(ctx.get("timer", HeapTimers), ctx.worker.clock)
        return self._hub

    def stop(self) -> None:
        """Run the pending calls and release the poller."""
        if self._hub is not None:
            self._hub.close()

    def info(self) -> Mapping[str, object]:
        """Return the hub's counts."""
        return attrs.asdict(self._hub.statistics()) if self._hub is not None else {}
