"""What the end of a job means for its message, and what has to be reported first."""

from __future__ import annotations

import logging
from collections import Counter

from worker_kernel import (
    Failure,
    Job,
    Outcome,
    OutcomeKind,
    Timers,
    Worker,
    WorkerLostError,
    kernel_task_finished,
)

from .admission import Admission
from .dispatch import Dispatch
from .flow import Flow
from .memory import Memory
from .request import Fate, Request
from .settle import fate_of, settle
from .unstored import STORE_AGAIN, Unstored

log = logging.getLogger("worker_loops.tasks")


def _runs_again(request: Request, outcome: Outcome) -> bool:
    """Whether a run that came to nothing is to be made once more, if the message has a start left."""
    if request.acknowledged:
        return False
    if outcome.kind is OutcomeKind.TIMED_OUT:
        return not request.options.acks_on_timeout
    return outcome.kind is OutcomeKind.LOST and request.options.reject_on_worker_lost


class Endings:
    """Settles what ends: at once where the result is stored, else when a report of it is. On the loop's thread."""

    def __init__(self, worker: Worker, admission: Admission, dispatch: Dispatch, flow: Flow, timers: Timers) -> None:
        self._worker, self._app = worker, worker.app
        self._admission, self._dispatch, self._flow = admission, dispatch, flow
        self._unstored = Unstored(timers, self._store_again)
        self._tells_finished = worker.hooks.listens(kernel_task_finished)
        self.late: Memory[tuple[str, int], tuple[Fate, str]] = Memory()
        """The fates of messages whose connection was lost before the broker knew: for their redelivery."""
        self.handed_back = 0
        """Started runs whose message went back to the queue because of a stop."""
        self.settled: Counter[str] = Counter()
        """Messages by fate."""

    def ended(self, request: Request, job: Job, outcome: Outcome) -> None:
        """A job has ended, and its slot is free."""
        if outcome.kind is OutcomeKind.SUCCEEDED and outcome.stored and not job.is_report and not outcome.fenced:
            if self._tells_finished:
                self._worker.hooks.notify(kernel_task_finished, envelope=request.envelope, outcome=outcome)
            self.settle(request, Fate.ACK)
        elif job.is_report:
            self._reported(request, outcome)
        elif outcome.fenced:
            log.warning(
                "Task %s: its lease had passed to somebody else; its result and message are left alone", request
            )
            self.settle(request, Fate.NONE)
        elif outcome.kind is OutcomeKind.CANCELLED and not (request.started or request.acknowledged):
            # Taken back, here or by a stop, or in place of a namesake: pools go by ids, and an id may come twice.
            refusal = self._admission.refuse_revoked(request)
            if refusal is None:
                self.settle(request, Fate.REQUEUE)
            else:
                log.info("Task %s refused: %s", request, refusal.reason)
                self.report(request, refusal.outcome, refusal.fate, refusal.reason)
        elif outcome.stored:
            self._finish(request, outcome, fate_of(outcome, request.options), str(outcome.failure or ""))
        elif _runs_again(request, outcome):
            self._log_end(request, outcome)
            if self._admission.was_last_attempt(request):
                self.report(request, outcome, Fate.QUARANTINE, str(outcome.failure or outcome.kind))
            else:
                self.settle(request, Fate.RETURN)
        elif outcome.kind in (OutcomeKind.TIMED_OUT, OutcomeKind.CANCELLED, OutcomeKind.LOST, OutcomeKind.FAILED):
            self._log_end(request, outcome)
            self.report(request, outcome, fate_of(outcome, request.options), str(outcome.failure or outcome.kind))
        elif request.acknowledged:
            log.error("Task %s %s, but its result could not be stored and is lost", request, outcome.kind)
            self.settle(request, Fate.NONE)
        else:
            log.error("Task %s %s, but its result could not be stored: its message goes back", request, outcome.kind)
            self.settle(request, Fate.REQUEUE)

    def _log_end(self, request: Request, outcome: Outcome) -> None:
        if outcome.kind is OutcomeKind.TIMED_OUT:
            log.error("Hard time limit exceeded for %s after %.1f s", request, outcome.runtime)
        else:
            log.warning("Task %s %s: %s", request, outcome.kind, outcome.failure)

    # -- reports

    def report(self, request: Request, outcome: Outcome, fate: Fate, reason: str) -> None:
        """Have a fate stored that no slot could store; the message meets ``fate`` once it is."""
        request.fate, request.reason, request.decided = fate, reason, outcome
        self._dispatch.submit(request, self._app.report(request.envelope, outcome))

    def _reported(self, request: Request, outcome: Outcome) -> None:
        if outcome.stored:
            self._finish(request, outcome, request.fate, request.reason)
        elif outcome.fenced:
            self.settle(request, Fate.NONE)
        elif not self._dispatch.draining:
            log.error("the fate of %s could not be stored; trying again in %.0f s", request, STORE_AGAIN)
            # As it was decided: what ended the report itself (its child was killed) is not the task's fate.
            request.job = self._app.report(request.envelope, request.decided or outcome)
            self._dispatch.active[request.key] = request  # a redelivery of it is adopted meanwhile
            self._unstored.add(request)
            self._flow.unstored = self._unstored.unsettled
        elif request.acknowledged:
            log.error("the fate of %s could not be stored and is lost: %s", request, request.reason)
            self.settle(request, Fate.NONE)
        else:
            self.settle(request, Fate.REQUEUE)

    def store_now(self) -> None:
        """Try once more, now, to store what could not be stored."""
        self._unstored.try_now()

    def _store_again(self, request: Request) -> None:
        self._flow.unstored = self._unstored.unsettled
        assert request.job is not None  # noqa: S101  (the report)
        self._dispatch.submit(request, request.job)

    # -- the end

    def _finish(self, request: Request, outcome: Outcome, fate: Fate, reason: str) -> None:
        if self._tells_finished:
            self._worker.hooks.notify(kernel_task_finished, envelope=request.envelope, outcome=outcome)
        self.settle(request, fate, reason)

    def settle(self, request: Request, fate: Fate, reason: str = "") -> None:
        """The one place where requests end."""
        self._admission.forget(request)
        if not settle(request, fate, reason):
            self.late.keep(request.key, (fate, reason))
        if fate is Fate.QUARANTINE:
            log.error("Task %s kept in %s.quarantine: %s", request, request.envelope.queue, reason)
        self.settled[fate] += 1

    def abandoned(self, request: Request, job: Job, outcome: Outcome) -> None:
        """A cold stop has ended a job, or it was just ending by itself."""
        ended = outcome.kind not in (OutcomeKind.CANCELLED, OutcomeKind.LOST)
        if job.is_report or ended or not request.started:
            self.ended(request, job, outcome)
        elif request.acknowledged:
            lost = Failure.of(WorkerLostError("the worker was stopped while the task ran"), with_traceback=False)
            report = Outcome(job_id=outcome.job_id, kind=OutcomeKind.LOST, failure=lost)
            log.warning("Task %s was lost in the stop: it had been acknowledged before its run", request)
            self._finish(request, self._app.report(request.envelope, report).run(), Fate.NONE, "")
        else:
            self.handed_back += 1
            log.warning("Task %s is handed back unfinished", request)
            self.settle(request, Fate.REQUEUE)
