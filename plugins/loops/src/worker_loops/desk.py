"""The desk: every request from its delivery to its fate. What a message goes through is read here, downwards."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from worker_kernel import (
    Accepted,
    CancelHow,
    CancelReply,
    Failure,
    Finished,
    Job,
    MessageInvalid,
    Outcome,
    OutcomeKind,
    PoolEvent,
    Resized,
    Slot,
    StopMode,
    StopRequest,
    TaskOptions,
    Timers,
    Worker,
    WorkerLostError,
    kernel_task_accepted,
    kernel_task_received,
)

from .admission import RUN, Admission, Decision, Hold, Refuse, default_options
from .audit import Audit
from .buffer import Buffer
from .connection import Generation
from .dispatch import Dispatch
from .endings import Endings
from .flow import Flow
from .holding import Holding
from .parking import PARK_FROM
from .pools import PoolMap
from .request import Fate, Request, State
from .revoked import Revoked
from .settle import queue_of, settle_message

log = logging.getLogger("worker_loops.tasks")


class Desk:
    """Takes deliveries, gives jobs to the pool, and settles what ends. Outlives connections.

    Everything runs on the loop's thread. At every moment each request is held, waiting, in the pool, being reported,
    or settled, and each ticket that is out belongs to exactly one request in the pool.
    """

    def __init__(self, worker: Worker, pools: PoolMap, timers: Timers) -> None:
        settings = worker.settings
        self._worker = worker
        self._app = worker.app
        self._options: dict[str, TaskOptions] = dict(worker.app.tasks())
        self._pools = pools
        self._admission = Admission(worker)
        self.flow = Flow(
            worker.slots, buffer=Buffer.of(settings, worker.slots), most_held=settings.get_int("worker_eta_task_limit")
        )
        self._holding = Holding(self.flow, self.admit)
        self._dispatch = Dispatch(worker, pools, self.flow, timers, divert=self._divert, returned=self._hand_back)
        self._endings = Endings(worker, self._admission, self._dispatch, self.flow, timers)
        self.audit = Audit(worker, self._dispatch, pools.statistics, self._forgotten)
        """Counts slots, see `Audit.look`."""
        self._tells_received = worker.hooks.listens(kernel_task_received)
        self._tells_accepted = worker.hooks.listens(kernel_task_accepted)
        self.deliveries = 0
        """Messages that have come in."""
        self.started: Counter[str] = Counter()
        """Runs by task."""

    # -- a message comes in --------------------------------------------------------------------------------------

    def on_message(self, message: Any, generation: Generation) -> None:
        """Take a delivery. Nothing that a message holds makes this raise; a lost connection does."""
        self.deliveries += 1
        try:
            envelope = self._app.parse(message)
        except MessageInvalid as exc:
            self._invalid(message, exc, generation)
            return
        options = self._options.get(envelope.task)
        request = Request(
            envelope=envelope,
            message=message,
            options=options or default_options(envelope.task),
            generation=generation,
        )
        if envelope.redelivered and self._comes_again(request):
            return
        log.info("Task %s received", request)
        if options is None:
            self._act(request, self._admission.unknown(request))
            return
        if self._tells_received:
            self._worker.hooks.notify(kernel_task_received, envelope=envelope)
        self.admit(request)

    def _invalid(self, message: Any, why: MessageInvalid, generation: Generation) -> None:
        """Keep what cannot be understood in quarantine, and tell the sender where it is known under which id."""
        if why.salvaged is not None:
            options = default_options(why.salvaged.task)
            request = Request(envelope=why.salvaged, message=message, options=options, generation=generation)
            if request.key not in self._dispatch.active:
                failure = Failure.of(why, with_traceback=False)
                outcome = Outcome(job_id=why.salvaged.id, kind=OutcomeKind.FAILED, failure=failure, invalid=True)
                self._endings.report(request, outcome, Fate.QUARANTINE, why.reason)
                return
        queue = queue_of(message)
        log.error("message rejected and kept in %s.quarantine: %s", queue, why.reason)
        settle_message(message, Fate.QUARANTINE, queue, why.reason, generation.courier)
        self._endings.settled[Fate.QUARANTINE] += 1

    def _comes_again(self, request: Request) -> bool:
        """Deal with a redelivery. Returns whether it was of something that runs here, or ran here."""
        if self._known(request):
            return True
        if request.generation.courier is not None:
            # AMQP says only that there was a delivery before, or counts more than those. What was held here,
            # unstarted, when a connection was lost is no start.
            request.uncounted = request.key not in self._dispatch.innocent
        if request.attempts:
            # Where a process may have died of a task, no message is to be held that could die with it unstarted.
            self.flow.buffer.doubt()
        return False

    def _known(self, request: Request) -> bool:
        late = self._endings.late.take(request.key)
        if late is not None:
            log.info("redelivery of %s, which has ended here: its message is %s", request, late[0])
            self._endings.settle(request, *late)
            return True
        running = self._dispatch.active.get(request.key)
        if running is None:
            return False
        if running.generation.alive:
            # Its lease was lost and may be found again; two copies must not run at the same time.
            self._hold(request, PARK_FROM, "still runs here")
        else:
            log.info("redelivery of %s, which still runs here, is adopted", request)
            running.message, running.generation = request.message, request.generation
        return True

    def admit(self, request: Request) -> None:
        """Decide what becomes of a request now; called again after it has waited."""
        if self._dispatch.draining:
            self._hand_back(request)
            return
        decision = self._admission.decide(request)
        if decision is RUN:
            self._dispatch.put(request)
        else:
            self._act(request, decision)

    def _act(self, request: Request, decision: Decision) -> None:
        if isinstance(decision, Hold):
            self._hold(request, decision.seconds, decision.why)
        elif isinstance(decision, Refuse):
            expected = decision.outcome.kind is OutcomeKind.CANCELLED  # revoked or expired: somebody wanted it so
            log.log(logging.INFO if expected else logging.ERROR, "Task %s refused: %s", request, decision.reason)
            self._endings.report(request, decision.outcome, decision.fate, decision.reason)

    def _hold(self, request: Request, seconds: float, why: str) -> None:
        if not self._holding.hold(request, seconds, why):
            self._endings.settled["parked"] += 1

    # -- into the pool, and out of it ----------------------------------------------------------------------------

    def _divert(self, request: Request) -> bool:
        """Let a request that is next go another way, where it was revoked or a start of it is still to be counted."""
        if not self._admission.revoked and not request.uncounted:
            return False
        revoked = self._admission.refuse_revoked(request)
        if revoked is not None:
            self._act(request, revoked)
        elif request.uncounted and request.options.acks_late:
            self._count_start(request)
        else:
            return False
        return True

    def _count_start(self, request: Request) -> None:
        """Put a copy that says one start more in the place of a redelivered message; the copy is what will run."""
        assert request.generation.courier is not None  # noqa: S101  (only its messages are uncounted)
        log.info("Task %s was delivered before and not settled: %d earlier start(s)", request, request.attempts)
        request.generation.courier.hand_back(request.message, request.envelope.queue, request.attempts)
        self._admission.forget(request)
        request.state = State.SETTLED
        self._endings.settled["counted"] += 1

    def _hand_back(self, request: Request) -> None:
        self._endings.settle(request, Fate.REQUEUE)

    def on_events(self, events: list[PoolEvent]) -> None:
        """Act on what the pool told, in its order; then give it what it has room for, once."""
        now, tells = self._worker.clock.wall(), self._tells_accepted or log.isEnabledFor(logging.DEBUG)
        for event in events:
            if isinstance(event, Finished):
                self._finished(event.job, event.outcome)
            elif isinstance(event, Accepted):
                request = self._accepted(event.job, event.slot, now)
                if tells and request is not None:
                    self._tell_accepted(request, event.slot)
            elif isinstance(event, Resized):
                self._worker.slots.resize(event.size)
                self.flow.buffer.resize()
            else:
                self._worker.request_stop(
                    StopRequest(mode=StopMode.WARM, reason=event.reason, exit_code=event.exit_code, at_once=True)
                )
        self._dispatch.measure()
        self._dispatch.start_waiting()

    def _accepted(self, job: Job, slot: Slot, now: float) -> Request | None:
        request = self._dispatch.jobs.get(job)
        if request is None or job.is_report:
            return None
        request.state, request.started = State.RUNNING, True
        request.pid, request.since = slot.pid, now
        self.started[request.envelope.task] += 1
        return request

    def _tell_accepted(self, request: Request, slot: Slot) -> None:
        log.debug("Task accepted: %s pid:%d", request, slot.pid)
        if self._tells_accepted:
            self._worker.hooks.notify(kernel_task_accepted, envelope=request.envelope, slot=slot)

    def _finished(self, job: Job, outcome: Outcome) -> None:
        request = self._dispatch.jobs.get(job)
        if request is None:
            log.error("the pool finished a job that it does not have: %s[%s]", job.task, job.id)
            return
        if request.started:
            self.flow.buffer.pace.ran(outcome.runtime)
        self._dispatch.leave(request)
        self._endings.ended(request, job, outcome)

    def _forgotten(self, request: Request) -> None:
        """The pool has forgotten a job: it meets the fate of one whose process died."""
        assert request.job is not None  # noqa: S101  (it was given to the pool)
        failure = Failure.of(WorkerLostError("the pool does not know of it any more"), with_traceback=False)
        self._dispatch.leave(request)
        lost = Outcome(job_id=request.envelope.id, kind=OutcomeKind.LOST, failure=failure)
        self._endings.ended(request, request.job, lost)
        self._dispatch.start_waiting()

    @property
    def stalled(self) -> bool:
        """Whether `hand_back` is to be called, once the broker knows the window."""
        return self._dispatch.stalled

    def hand_back(self) -> None:
        """Hand back what waits behind long jobs."""
        self._dispatch.hand_back()

    # -- control ----------------------------------------------------------------------------------------------------

    def requests(self) -> list[Request]:
        """Return every request that is not settled: held, waiting, and in the pool."""
        inside = (one for one in self._dispatch.jobs.values() if one not in self._holding)
        return [*self._holding.requests(), *self._dispatch.waiting, *inside]

    def refuse_revoked(self, request: Request) -> bool:
        """Refuse a revoked request that has not been given to the pool; whether that was so."""
        refusal = self._admission.refuse_revoked(request)
        if refusal is None or not (request in self._holding or request in self._dispatch.waiting):
            return False
        if request in self._dispatch.waiting:
            self._dispatch.waiting.remove(request)
        else:
            self._holding.let_go(request)
        self._act(request, refusal)
        return True

    def cancel(self, request: Request, how: CancelHow) -> CancelReply:
        """Have the pool end a request's job; see `Pool.cancel`."""
        return self._pools.for_request(request).cancel(request.envelope.id, how)

    @property
    def revoked(self) -> Revoked:
        """What is remembered as revoked."""
        return self._admission.revoked

    def options_of(self, task: str) -> TaskOptions | None:
        """Return the options that hold for a task now; None: there is no such task."""
        return self._options.get(task)

    def override(self, options: TaskOptions) -> None:
        """Let other options hold for a task, from its next delivery on, until the worker ends."""
        self._options[options.name] = options

    @property
    def has_room(self) -> bool:
        """Whether a message that the broker delivered now would be within the window, and find a slot."""
        unsettled = len(self._holding) + len(self._dispatch.waiting)
        unsettled += sum(not one.acknowledged for one in self._dispatch.jobs.values())
        return not self._dispatch.draining and self._worker.slots.free > 0 and unsettled < self.flow.window

    # -- connections come and go, and the worker stops ---------------------------------------------------------------

    def connection_lost(self, unheard: Iterable[tuple[str, int]] = ()) -> None:
        """Forget what the broker will deliver again; what runs goes on, and is adopted when its redelivery comes.

        Args:
            unheard: the keys of requests that were acknowledged, of which the broker may not know.
        """
        for key in unheard:
            self._endings.late.keep(key, (Fate.ACK, ""))
        for request in [*self._holding.let_all_go(), *self._dispatch.waiting]:
            self._admission.forget(request)
            request.state = State.SETTLED
            if request.generation.courier is not None:
                self._dispatch.innocent.keep(request.key, True)
        self._dispatch.waiting.clear()
        self.flow.reset()

    def drain(self) -> None:
        """Start nothing more, and hand back what has not started. What runs, runs on. Idempotent."""
        self._dispatch.draining = True
        self._endings.store_now()  # the last time
        for request in self._holding.let_all_go():
            self._hand_back(request)
        while self._dispatch.waiting:
            self._hand_back(self._dispatch.waiting.popleft())
        for request in list(self._dispatch.jobs.values()):
            if request.state is State.SUBMITTED and not request.acknowledged:
                # Its `finished` says whether it was in time; if not, it runs, and is waited for.
                self._dispatch.take_back(request)

    def abandon(self, pools: Callable[[], None], take: Callable[[], list[PoolEvent]]) -> None:
        """End what runs and hand back what is acknowledged late; the rest has its loss stored.

        Args:
            pools: ends the pools' jobs; afterwards each has been reported.
            take: returns what the pools have told.
        """
        self.drain()
        jobs = self._dispatch.jobs
        before = list(jobs.values())
        self.on_events(take())  # what has ended by itself keeps its own ending
        running = [request for request in before if request.job in jobs]
        pools()
        for event in take():
            request = jobs.get(event.job) if isinstance(event, (Accepted, Finished)) else None
            if request is not None and isinstance(event, Accepted):
                request.started = True
            elif request is not None and isinstance(event, Finished):
                self._dispatch.leave(request)
                self._endings.abandoned(request, event.job, event.outcome)
        for request in running:
            if request.job in jobs:  # a pool that broke its promise to report: nothing is lost with it
                assert request.job is not None  # noqa: S101  (it was in the pool)
                self._dispatch.leave(request)
                lost = Outcome(job_id=request.envelope.id, kind=OutcomeKind.LOST)
                self._endings.abandoned(request, request.job, lost)

    @property
    def handed_back(self) -> int:
        """Started runs whose message went back to the queue because of a stop."""
        return self._endings.handed_back

    @property
    def busy(self) -> int:
        """Jobs that the pool has, reports included."""
        return len(self._dispatch.jobs)

    @property
    def waiting(self) -> int:
        """Messages that could run, had they a slot."""
        return len(self._dispatch.waiting) + self._dispatch.ahead

    def statistics(self) -> dict[str, object]:
        """Return counts, JSON-safe."""
        return {
            "held": len(self._holding),
            **self._dispatch.statistics(),
            "window": self.flow.window,
            "buffer": self.flow.buffer.statistics(),
            "repaired": self.audit.repaired,
            "settled": {str(fate): count for fate, count in sorted(self._endings.settled.items())},
        }
