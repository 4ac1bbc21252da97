"""From the desk into the pool: first come, first served, a job for each slot, some ahead where the pool likes it."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable

import attrs

from worker_kernel import CancelHow, Job, PoolClosed, Ticket, Timers, Worker

from .flow import Flow
from .memory import Memory
from .pace import HORIZON
from .pools import PoolMap
from .request import Request, State

log = logging.getLogger("worker_loops.tasks")

PATIENCE = 2 * HORIZON
"""Seconds without any job's end after which what waits here is better off elsewhere."""


class Dispatch:
    """What waits for a slot, and what the pool has. Belongs to the loop's thread.

    A job in the pool holds a ticket, the right to run, or it is *ahead*: the pool has it so that it need not wait for
    the next one. A ticket that comes free goes to the oldest job ahead; so nothing is ahead while a slot is free. Only
    what is acknowledged late goes ahead, since it may be taken back.
    """

    def __init__(
        self,
        worker: Worker,
        pools: PoolMap,
        flow: Flow,
        timers: Timers,
        *,
        divert: Callable[[Request], bool],
        returned: Callable[[Request], None],
    ) -> None:
        """Begin with nothing.

        Args:
            worker: for its slots and its application.
            pools: where jobs go.
            flow: what the broker is to be told; its buffer follows from how the jobs end.
            timers: for what waits too long.
            divert: called for a request that is next, before it gets a slot; whether it went another way.
            returned: called for a request that comes back, or that a closed pool did not take.
        """
        self._slots, self._app = worker.slots, worker.app
        self._pools, self._flow, self._timers = pools, flow, timers
        self._divert, self._returned = divert, returned
        self._ahead: dict[Request, None] = {}
        self._most_ahead = 0
        self._ended = 0
        self._watching = False
        self.waiting: deque[Request] = deque()
        """Those that have no slot yet."""
        self.jobs: dict[Job, Request] = {}
        """Those that the pool has, reports included."""
        self.active: dict[tuple[str, int], Request] = {}
        """The same by what tells a redelivery; and those whose report is to be tried again."""
        self.innocent: Memory[tuple[str, int], bool] = Memory()
        """Those that were here, unstarted, when a connection was lost."""
        self.draining = False
        """Whether a stop has begun: nothing is started any more."""
        self.stalled = False
        """Whether what has no slot is to be handed back, once the broker knows of the smaller window."""

    def put(self, request: Request) -> None:
        """A request may run as soon as there is a slot."""
        request.state = State.WAITING
        self.waiting.append(request)
        self.start_waiting()

    def start_waiting(self) -> None:
        """Give jobs to the pool, as long as there are slots, and as many ahead as it likes."""
        while self._ahead and self._slots.free:
            self._promote()
        while self.waiting and not self.draining:
            request, free = self.waiting[0], self._slots.free
            if not free and not (len(self._ahead) < self._most_ahead and request.options.acks_late):
                break
            self.waiting.popleft()
            if self._divert(request):
                continue
            if free:
                request.ticket = self._slots.take()
            else:
                self._ahead[request] = None
            if not request.options.acks_late:
                self._acknowledge_early(request)
            self.submit(request, self._app.job(request.envelope, request.options))
        if (self.waiting or self._ahead) and not self._watching and self._flow.buffer.adaptive:
            self._watch()

    def _promote(self) -> None:
        """Give a free slot to the oldest job ahead."""
        self._hand_over(self._slots.take())

    def _hand_over(self, ticket: Ticket | None) -> None:
        """Give the right to run to the oldest job ahead."""
        heir = next(iter(self._ahead))
        del self._ahead[heir]
        heir.ticket = ticket

    def _acknowledge_early(self, request: Request) -> None:
        """At most once: the broker must have forgotten the message before the task begins."""
        request.message.ack()
        request.generation.flush()
        if request.generation.acks is not None:
            request.generation.acks.remember(request.key)
        request.acknowledged = True
        # Nobody holds the message any more, so nobody's hold on it can be asked for when the result is stored.
        request.envelope = attrs.evolve(request.envelope, fence=None)
        self._flow.early += 1

    def submit(self, request: Request, job: Job) -> None:
        """Give a job to the pool: one that has a slot or is ahead, or a report, which needs none."""
        if self.innocent:
            self.innocent.take(request.key)
        request.state = State.REPORTING if job.is_report else State.SUBMITTED
        request.job = job
        self.jobs[job] = request
        self.active[request.key] = request
        try:
            self._pools.for_request(request).submit(job)
        except PoolClosed:
            self.leave(request)
            self._returned(request)

    def leave(self, request: Request) -> None:
        """The pool has a request's job no more."""
        self._ended += 1
        if request.job is not None:
            self.jobs.pop(request.job, None)
        if self.active.get(request.key) is request:
            del self.active[request.key]
        if request.ticket is None:
            self._ahead.pop(request, None)
            return
        ticket, request.ticket = request.ticket, None
        if request.acknowledged:
            self._flow.early -= 1
        if self._ahead and self._slots.running <= self._slots.limit:  # else there are too many, after a shrink
            self._hand_over(ticket)
        else:
            ticket.release()

    # -- how much is held here, and for how long

    def measure(self) -> None:
        """Let the buffer follow the runs that have ended, and the number of slots."""
        buffer = self._flow.buffer
        buffer.look()
        self._most_ahead = self._pools.backlog(buffer.pace.average) if buffer.size else 0

    def _watch(self) -> None:
        self._watching = True
        self._timers.call_later(PATIENCE, self._look, self._ended)

    def _look(self, ended: int) -> None:
        """Find out whether anything has ended since; if not, nothing is to wait behind what runs."""
        self._watching = False
        if self.draining or not (self.waiting or self._ahead):
            return
        if self._ended == ended:
            self._flow.buffer.doubt()
            self._most_ahead = 0
            self.stalled = True
        else:
            self._watch()

    def hand_back(self) -> None:
        """Let others have what waits behind long jobs. The broker knows already that less is wanted here."""
        self.stalled = False
        surplus = list(self.waiting)
        self.waiting.clear()
        if surplus:
            log.info("%d message(s) that wait behind long tasks are handed back", len(surplus))
        if surplus and surplus[0].generation.courier is None:
            surplus.reverse()  # each goes to the head of its queue
        for request in surplus:
            self._returned(request)
        for request in list(self._ahead):
            if request.state is State.SUBMITTED:
                self.take_back(request)

    def take_back(self, request: Request) -> None:
        """Ask the pool for a job that it has not started. Its `finished` says whether that was in time."""
        self._pools.for_request(request).cancel(request.envelope.id, CancelHow.WAITING)

    @property
    def ahead(self) -> int:
        """Jobs that the pool has without a slot for them."""
        return len(self._ahead)

    def statistics(self) -> dict[str, object]:
        """Return counts, JSON-safe."""
        states = Counter(request.state for request in self.jobs.values())
        return {
            "waiting": len(self.waiting),
            **{str(state): states[state] for state in (State.SUBMITTED, State.RUNNING, State.REPORTING)},
            "ahead": self.ahead,
        }
