"""The desk: every request from its delivery to its fate. What a message goes through is read here, downwards."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import attrs

from worker_kernel import (
    Accepted,
    CancelHow,
    CancelReply,
    Failing,
    Failure,
    Finished,
    Job,
    MessageInvalid,
    Outcome,
    OutcomeKind,
    PoolClosed,
    PoolEvent,
    Resized,
    StopMode,
    StopRequest,
    TaskOptions,
    Timers,
    Worker,
    WorkerLostError,
    kernel_task_accepted,
    kernel_task_finished,
    kernel_task_received,
)

from .admission import Admission, Decision, Hold, Refuse, default_options
from .connection import Generation
from .flow import Flow
from .memory import Memory
from .parking import PARK_FROM, park
from .pools import PoolMap
from .request import Fate, Request, State
from .revoked import Revoked
from .settle import fate_of, queue_of, settle, settle_message
from .unstored import STORE_AGAIN, Unstored

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
            worker.slots,
            buffer=settings.get_int("worker_prefetch_buffer") or 0,
            most_held=settings.get_int("worker_eta_task_limit"),
        )
        self._held: set[Request] = set()
        self._waiting: deque[Request] = deque()
        self._jobs: dict[Job, Request] = {}
        self._active: dict[tuple[str, int], Request] = {}
        self._unstored = Unstored(timers, self._store_again)
        self._unsettled: Memory[tuple[str, int], tuple[Fate, str]] = Memory()
        self._innocent: Memory[tuple[str, int], bool] = Memory()
        self._tells_received = worker.hooks.listens(kernel_task_received)
        self._tells_accepted = worker.hooks.listens(kernel_task_accepted)
        self._tells_finished = worker.hooks.listens(kernel_task_finished)
        self.draining = False
        """Whether a stop has begun: nothing is started any more."""
        self.handed_back = 0
        """Started runs whose message went back to the queue because of a stop."""
        self.settled: Counter[str] = Counter()
        """Messages by fate."""
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
        if envelope.redelivered and self._known(request):
            return
        if generation.courier is not None and envelope.redelivered:
            self._read_count(request)
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
            if request.key not in self._active:
                failure = Failure.of(why, with_traceback=False)
                outcome = Outcome(job_id=why.salvaged.id, kind=OutcomeKind.FAILED, failure=failure, invalid=True)
                self._report(request, outcome, Fate.QUARANTINE, why.reason)
                return
        queue = queue_of(message)
        log.error("message rejected and kept in %s.quarantine: %s", queue, why.reason)
        settle_message(message, Fate.QUARANTINE, queue, why.reason, generation.courier)
        self.settled[Fate.QUARANTINE] += 1

    def _known(self, request: Request) -> bool:
        """Deal with a redelivery of something that runs here, or ran here. Returns whether that was the case."""
        late = self._unsettled.take(request.key)
        if late is not None:
            log.info("redelivery of %s, which has ended here: its message is %s", request, late[0])
            self._settle(request, *late)
            return True
        running = self._active.get(request.key)
        if running is None:
            return False
        if running.generation.alive:
            # Its lease was lost and may be found again; two copies must not run at the same time.
            self._hold(request, PARK_FROM, "still runs here")
        else:
            log.info("redelivery of %s, which still runs here, is adopted", request)
            running.message, running.generation = request.message, request.generation
        return True

    def _read_count(self, request: Request) -> None:
        """Learn from an AMQP redelivery whether one more start is to be counted.

        The broker says only that there was a delivery before, or counts more than those. What was held here, unstarted,
        when a connection was lost is no start.
        """
        request.uncounted = request.key not in self._innocent

    def admit(self, request: Request) -> None:
        """Decide what becomes of a request now; called again after it has waited."""
        if self.draining:
            self._settle(request, Fate.REQUEUE)
            return
        self._act(request, self._admission.decide(request))

    def _act(self, request: Request, decision: Decision) -> None:
        if isinstance(decision, Hold):
            self._hold(request, decision.seconds, decision.why)
        elif isinstance(decision, Refuse):
            expected = decision.outcome.kind is OutcomeKind.CANCELLED  # revoked or expired: somebody wanted it so
            log.log(logging.INFO if expected else logging.ERROR, "Task %s refused: %s", request, decision.reason)
            self._report(request, decision.outcome, decision.fate, decision.reason)
        else:
            request.state = State.WAITING
            self._waiting.append(request)
            self._start_waiting()

    def _hold(self, request: Request, seconds: float, why: str) -> None:
        """Let a request wait: in the broker where it can, else here."""
        if park(request, seconds, crowded=self.flow.crowded):
            log.debug("Task %s parked for %.3f s: %s", request, seconds, why)
            request.state = State.SETTLED
            self.settled["parked"] += 1
            return
        log.debug("Task %s held for %.3f s: %s", request, seconds, why)
        request.state = State.HELD
        self._held.add(request)
        self._count_held()
        request.timer = request.generation.timers.call_later(seconds, self._release, request)

    def _count_held(self) -> None:
        self.flow.held = len(self._held) + self._unstored.unsettled

    def _release(self, request: Request) -> None:
        self._let_go(request)
        self.admit(request)

    def _let_go(self, request: Request) -> None:
        """A request waits no longer."""
        self._held.discard(request)
        self._count_held()
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None

    # -- into the pool --------------------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        """Give jobs to the pool, first come first served, as long as there are slots."""
        while self._waiting and not self.draining:
            revoked = self._admission.refuse_revoked(self._waiting[0])
            if revoked is not None:
                self._act(self._waiting.popleft(), revoked)
                continue
            if self._waiting[0].uncounted and self._waiting[0].options.acks_late:
                self._count_start(self._waiting.popleft())
                continue
            ticket = self._worker.slots.take()
            if ticket is None:
                return
            request = self._waiting.popleft()
            request.ticket = ticket
            if not request.options.acks_late:
                self._acknowledge_early(request)
            self._submit(request, self._app.job(request.envelope, request.options))

    def _count_start(self, request: Request) -> None:
        """Put a copy that says one start more in the place of a redelivered message; the copy is what will run."""
        assert request.generation.courier is not None  # noqa: S101  (only its messages are uncounted)
        log.info("Task %s was delivered before and not settled: %d earlier start(s)", request, request.attempts)
        request.generation.courier.hand_back(request.message, request.envelope.queue, request.attempts)
        self._admission.forget(request)
        request.state = State.SETTLED
        self.settled["counted"] += 1

    def _acknowledge_early(self, request: Request) -> None:
        """At most once: the broker must have forgotten the message before the task begins."""
        request.message.ack()
        request.generation.flush()
        request.acknowledged = True
        # Nobody holds the message any more, so nobody's hold on it can be asked for when the result is stored.
        request.envelope = attrs.evolve(request.envelope, fence=None)
        self.flow.early += 1

    def _submit(self, request: Request, job: Job) -> None:
        self._innocent.take(request.key)
        request.state = State.REPORTING if job.is_report else State.SUBMITTED
        request.job = job
        self._jobs[job] = request
        self._active[request.key] = request
        try:
            self._pools.for_request(request).submit(job)
        except PoolClosed:
            self._leave_pool(request)
            self._settle(request, Fate.REQUEUE)

    def _leave_pool(self, request: Request) -> None:
        if request.job is not None:
            self._jobs.pop(request.job, None)
        if self._active.get(request.key) is request:
            del self._active[request.key]
        if request.ticket is not None:
            request.ticket.release()
            request.ticket = None
            if request.acknowledged:
                self.flow.early -= 1

    # -- out of the pool ------------------------------------------------------------------------------------------

    def on_events(self, events: list[PoolEvent]) -> None:
        """Act on what the pool told, in its order."""
        for event in events:
            match event:
                case Accepted(job=job, slot=slot):
                    request = self._jobs.get(job)
                    if request is not None and not job.is_report:
                        request.state, request.started = State.RUNNING, True
                        request.pid, request.since = slot.pid, self._worker.clock.wall()
                        self.started[request.envelope.task] += 1
                        log.debug("Task accepted: %s pid:%d", request, slot.pid)
                        if self._tells_accepted:
                            self._worker.hooks.notify(kernel_task_accepted, envelope=request.envelope, slot=slot)
                case Finished(job=job, outcome=outcome):
                    request = self._jobs.get(job)
                    if request is None:
                        log.error("the pool finished a job that it does not have: %s[%s]", job.task, job.id)
                    else:
                        self._leave_pool(request)
                        self._ended(request, job, outcome)
                case Resized(size=size):
                    self._worker.slots.resize(size)
                case Failing(reason=reason, exit_code=exit_code):
                    stop = StopRequest(mode=StopMode.WARM, reason=reason, exit_code=exit_code, at_once=True)
                    self._worker.request_stop(stop)
        self._start_waiting()

    def _ended(self, request: Request, job: Job, outcome: Outcome) -> None:
        if job.is_report:
            self._reported(request, outcome)
        elif outcome.fenced:
            log.warning(
                "Task %s: its lease had passed to somebody else; its result and message are left alone", request
            )
            self._settle(request, Fate.NONE)
        elif outcome.kind is OutcomeKind.CANCELLED and not request.started and self.draining:
            revoked = self._admission.refuse_revoked(request)
            if revoked is None:
                self._settle(request, Fate.REQUEUE)
            else:
                self._act(request, revoked)
        elif outcome.stored:
            self._finish(request, outcome, fate_of(outcome, request.options), str(outcome.failure or ""))
        elif outcome.kind is OutcomeKind.LOST and request.options.reject_on_worker_lost and not request.acknowledged:
            self._log_end(request, outcome)
            if self._admission.was_last_attempt(request):
                self._report(request, outcome, Fate.QUARANTINE, str(outcome.failure or outcome.kind))
            else:
                self._settle(request, Fate.RETURN)
        elif outcome.kind in (OutcomeKind.TIMED_OUT, OutcomeKind.CANCELLED, OutcomeKind.LOST, OutcomeKind.FAILED):
            self._log_end(request, outcome)
            self._report(request, outcome, fate_of(outcome, request.options), str(outcome.failure or outcome.kind))
        elif request.acknowledged:
            log.error("Task %s %s, but its result could not be stored and is lost", request, outcome.kind)
            self._settle(request, Fate.NONE)
        else:
            log.error("Task %s %s, but its result could not be stored: its message goes back", request, outcome.kind)
            self._settle(request, Fate.REQUEUE)

    def _log_end(self, request: Request, outcome: Outcome) -> None:
        if outcome.kind is OutcomeKind.TIMED_OUT:
            log.error("Hard time limit exceeded for %s after %.1f s", request, outcome.runtime)
        else:
            log.warning("Task %s %s: %s", request, outcome.kind, outcome.failure)

    def _report(self, request: Request, outcome: Outcome, fate: Fate, reason: str) -> None:
        """Have a fate stored that no slot could store; the message meets ``fate`` once it is."""
        request.fate, request.reason, request.decided = fate, reason, outcome
        self._submit(request, self._app.report(request.envelope, outcome))

    def _reported(self, request: Request, outcome: Outcome) -> None:
        if outcome.stored:
            self._finish(request, outcome, request.fate, request.reason)
        elif outcome.fenced:
            self._settle(request, Fate.NONE)
        elif not self.draining:
            log.error("the fate of %s could not be stored; trying again in %.0f s", request, STORE_AGAIN)
            # As it was decided: what ended the report itself (its child was killed) is not the task's fate.
            request.job = self._app.report(request.envelope, request.decided or outcome)
            self._active[request.key] = request  # a redelivery of it is adopted meanwhile
            self._unstored.add(request)
            self._count_held()
        elif request.acknowledged:
            log.error("the fate of %s could not be stored and is lost: %s", request, request.reason)
            self._settle(request, Fate.NONE)
        else:
            self._settle(request, Fate.REQUEUE)

    def _store_again(self, request: Request) -> None:
        self._count_held()
        assert request.job is not None  # noqa: S101  (the report)
        self._submit(request, request.job)

    def _finish(self, request: Request, outcome: Outcome, fate: Fate, reason: str) -> None:
        if self._tells_finished:
            self._worker.hooks.notify(kernel_task_finished, envelope=request.envelope, outcome=outcome)
        self._settle(request, fate, reason)

    def _settle(self, request: Request, fate: Fate, reason: str = "") -> None:
        """The one place where requests end."""
        self._admission.forget(request)
        if not settle(request, fate, reason):
            self._unsettled.keep(request.key, (fate, reason))
        if fate is Fate.QUARANTINE:
            log.error("Task %s kept in %s.quarantine: %s", request, request.envelope.queue, reason)
        self.settled[fate] += 1

    # -- control ----------------------------------------------------------------------------------------------------

    def requests(self) -> list[Request]:
        """Return every request that is not settled: held, waiting, and in the pool."""
        held = sorted(self._held, key=lambda one: one.key)
        return [*held, *self._waiting, *(one for one in self._jobs.values() if one not in self._held)]

    def refuse_revoked(self, request: Request) -> bool:
        """Refuse a revoked request that has not been given to the pool; whether that was so."""
        refusal = self._admission.refuse_revoked(request)
        if refusal is None or not (request in self._held or request in self._waiting):
            return False
        if request in self._waiting:
            self._waiting.remove(request)
        else:
            self._let_go(request)
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
        unsettled = len(self._held) + len(self._waiting) + sum(not one.acknowledged for one in self._jobs.values())
        return not self.draining and self._worker.slots.free > 0 and unsettled < self.flow.window

    # -- connections come and go, and the worker stops ---------------------------------------------------------------

    def connection_lost(self) -> None:
        """Forget what the broker will deliver again; what runs goes on, and is adopted when its redelivery comes."""
        for request in [*self._held, *self._waiting]:
            if request.timer is not None:
                request.timer.cancel()
            self._admission.forget(request)
            request.state = State.SETTLED
            if request.generation.courier is not None:
                self._innocent.keep(request.key, True)
        self._held.clear()
        self._waiting.clear()
        self._count_held()
        self.flow.reset()

    def drain(self) -> None:
        """Start nothing more, and hand back what has not started. What runs, runs on. Idempotent."""
        self.draining = True
        self._unstored.try_now()  # the last time
        for request in sorted(self._held, key=lambda held: held.key):
            if request.timer is not None:
                request.timer.cancel()
            self._settle(request, Fate.REQUEUE)
        self._held.clear()
        self._count_held()
        while self._waiting:
            self._settle(self._waiting.popleft(), Fate.REQUEUE)
        for request in list(self._jobs.values()):
            if request.state is State.SUBMITTED and not request.acknowledged:
                # Its `finished` says whether it was in time; if not, it runs, and is waited for.
                self._pools.for_request(request).cancel(request.envelope.id, CancelHow.WAITING)

    def abandon(self, pools: Callable[[], None], take: Callable[[], list[PoolEvent]]) -> None:
        """End what runs and hand back what is acknowledged late; the rest has its loss stored.

        Args:
            pools: ends the pools' jobs; afterwards each has been reported.
            take: returns what the pools have told.
        """
        self.drain()
        before = list(self._jobs.values())
        self.on_events(take())  # what has ended by itself keeps its own ending
        running = [request for request in before if request.job in self._jobs]
        pools()
        for event in take():
            request = self._jobs.get(event.job) if isinstance(event, (Accepted, Finished)) else None
            if request is not None and isinstance(event, Accepted):
                request.started = True
            elif request is not None and isinstance(event, Finished):
                self._leave_pool(request)
                self._abandoned(request, event.job, event.outcome)
        for request in running:
            if request.job in self._jobs:  # a pool that broke its promise to report: nothing is lost with it
                assert request.job is not None  # noqa: S101  (it was in the pool)
                self._leave_pool(request)
                self._abandoned(request, request.job, Outcome(job_id=request.envelope.id, kind=OutcomeKind.LOST))

    def _abandoned(self, request: Request, job: Job, outcome: Outcome) -> None:
        ended = outcome.kind not in (OutcomeKind.CANCELLED, OutcomeKind.LOST)
        if job.is_report or ended or not request.started:
            self._ended(request, job, outcome)
        elif request.acknowledged:
            lost = Failure.of(WorkerLostError("the worker was stopped while the task ran"), with_traceback=False)
            report = Outcome(job_id=outcome.job_id, kind=OutcomeKind.LOST, failure=lost)
            log.warning("Task %s was lost in the stop: it had been acknowledged before its run", request)
            self._finish(request, self._app.report(request.envelope, report).run(), Fate.NONE, "")
        else:
            self.handed_back += 1
            log.warning("Task %s is handed back unfinished", request)
            self._settle(request, Fate.REQUEUE)

    @property
    def busy(self) -> int:
        """Jobs that the pool has, reports included."""
        return len(self._jobs)

    def statistics(self) -> dict[str, object]:
        """Return counts, JSON-safe."""
        states = Counter(request.state for request in self._jobs.values())
        return {
            "held": len(self._held),
            "waiting": len(self._waiting),
            **{str(state): states[state] for state in (State.SUBMITTED, State.RUNNING, State.REPORTING)},
            "window": self.flow.window,
            "settled": {str(fate): count for fate, count in sorted(self.settled.items())},
        }
