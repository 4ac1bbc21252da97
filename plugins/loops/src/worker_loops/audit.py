"""The slot audit: those granted are those that run and those that are free, by our own count and by the pool's."""

from __future__ import annotations

import logging
from collections.abc import Callable

from worker_kernel import PoolStatistics, Worker

from .dispatch import Dispatch
from .request import Request, State

log = logging.getLogger("worker_loops.audit")

EVERY = 1.0
"""Seconds between two looks."""
PERSISTS = 3
"""Looks in a row at which the pool's word must differ before it counts: what it tells may be under way."""


class Audit:
    """Compares what is known here with what the pool says, and repairs what stays different. On the loop's thread.

    Our own tickets are counted exactly. The pool is asked once a look; what is only late there is given time. A job
    that the pool has and says nothing of any more is *lost*: its slot is free again, and its message meets the fate
    of a lost one, so that it is neither forgotten nor run in a loop.
    """

    def __init__(
        self,
        worker: Worker,
        dispatch: Dispatch,
        ask: Callable[[], PoolStatistics],
        lost: Callable[[Request], None],
    ) -> None:
        """Args: ``ask`` returns what the pool says; ``lost`` is called for a request whose job it has forgotten."""
        self._worker, self._slots = worker, worker.slots
        self._dispatch, self._ask, self._lost = dispatch, ask, lost
        self._looked = float("-inf")
        self._missing: dict[Request, int] = {}
        self._wrong_size = self._wrong_sum = 0
        self.repaired = 0
        """How much had to be put right."""

    def look(self) -> None:
        """Count once. Twice within a moment is once, as when timers catch up after the loop was held."""
        now = self._worker.clock.monotonic()
        if now - self._looked < EVERY / 2:
            return
        self._looked = now
        self._count_tickets()
        if not self._dispatch.jobs and not self._missing and self._slots.limit == self._slots.free:
            return  # idle: what the pool believes of its size shows as soon as it has work
        if self._worker.inbox:
            return  # the pool has told something that was not heard yet
        said = self._ask()
        self._count_slots(said)
        self._count_jobs(said)

    def _count_tickets(self) -> None:
        holders = [request for request in self._dispatch.jobs.values() if request.ticket is not None]
        if len(holders) == self._slots.running:
            return
        self.repaired += 1
        log.error(
            "slot audit: %d slot(s) are taken, but %d job(s) hold one (%s): counted anew",
            self._slots.running,
            len(holders),
            ", ".join(map(str, holders)) or "none",
        )
        self._slots.recount(len(holders))

    def _count_slots(self, said: PoolStatistics) -> None:
        """Granted is what the pool has, or is on its way to have."""
        self._wrong_sum = self._wrong_sum + 1 if said.size != said.running + said.free else 0
        if self._wrong_sum == PERSISTS:
            log.error(
                "slot audit: the pool has %d slot(s), but %d run and %d are free: its count cannot be relied on (%s)",
                said.size,
                said.running,
                said.free,
                ", ".join(f"{slot.task}[{slot.job_id}]" for slot in said.slots if slot.job_id) or "no job",
            )
        self._wrong_size = self._wrong_size + 1 if self._slots.limit not in (said.size, said.limit) else 0
        if self._wrong_size >= PERSISTS:
            self._wrong_size = 0
            self.repaired += 1
            log.error(
                "slot audit: %d slot(s) are granted, but the pool has %d: as many are granted now",
                self._slots.limit,
                said.size,
            )
            self._slots.resize(max(1, said.size))

    def _count_jobs(self, said: PoolStatistics) -> None:
        """Each job that the pool was given runs in one of its slots or waits there."""
        jobs = self._dispatch.jobs
        missing: dict[Request, int] = {}
        if said.running + said.queued < len(jobs):
            listed = {slot.job_id for slot in said.slots}
            idle = said.free > 0 and not said.queued
            for request in jobs.values():
                begun = request.state is not State.SUBMITTED
                if request.envelope.id not in listed and (idle or (begun and request.started)):
                    missing[request] = self._missing.get(request, 0) + 1
        self._missing = missing
        for request, looks in missing.items():
            if looks >= PERSISTS:
                self.repaired += 1
                log.error("slot audit: the pool says nothing any more of %s: it counts as lost", request)
                self._lost(request)
        self._missing = {request: looks for request, looks in missing.items() if looks < PERSISTS}
