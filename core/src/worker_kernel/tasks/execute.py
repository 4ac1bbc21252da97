"""The job: one run of a task, from the raw body to the stored result."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from ..application import Envelope, TaskOptions
from ..errors import (
    Ignore,
    JobKilled,
    KernelBug,
    LeaseLost,
    MessageInvalid,
    Reject,
    Retry,
    StoreUnavailable,
    TaskRevoked,
    TimeLimitExceeded,
    UnsupportedOption,
    WorkerLostError,
)
from ..job import Job, Raised
from ..outcome import Failure, Outcome, OutcomeKind
from . import frames
from .body import decode
from .canvas import Dispatch
from .chords import fail_signature, pass_on, return_part
from .context import Outgoing, Request
from .followups import NOTHING, Followups, read_followups
from .forked import end_fork
from .message import short_repr
from .meta import FAILURE, RETRY, REVOKED, STARTED, SUCCESS, exception_record, plain, record
from .storing import begin_chords, chord_store, composed, send_all, send_calls, store_state, write

if TYPE_CHECKING:
    from .app import App
    from .task import Task

log = logging.getLogger("worker_kernel.tasks")

_ENDED_FROM_OUTSIDE = frozenset({OutcomeKind.TIMED_OUT, OutcomeKind.CANCELLED, OutcomeKind.LOST})


class TaskJob(Job):
    """Runs a task of an `App`. See `Job` for who may call what, and where."""

    is_report = False

    def __init__(self, app: App, envelope: Envelope, options: TaskOptions) -> None:
        """Take a message; nothing of its body is looked at before `prepare`."""
        self.id = envelope.id
        self.task = envelope.task
        self.soft_time_limit = options.soft_time_limit if envelope.soft_time_limit is None else envelope.soft_time_limit
        self.time_limit = options.time_limit if envelope.time_limit is None else envelope.time_limit
        self.is_async = options.is_async
        self.envelope = envelope
        self.options = options
        self._app = app
        self._began = app.clock.monotonic()
        self._runtime = 0.0
        self._task: Task[..., Any] | None = None
        self._request: Request | None = None
        self._followups = NOTHING
        self._called = False

    def prepare(self) -> None:
        """See `Job.prepare`.

        Raises:
            TaskNotRegistered: the application has no such task.
            MessageInvalid: the body cannot be decoded.
            UnsupportedOption: the message asks for what is not supported, such as a chord.
            LeaseLost: the message has passed into other hands.
        """
        self._began = self._app.clock.monotonic()
        self._task = self._app.find_task(self.task)
        body = decode(self.envelope, self._app.accepted_types())
        self._followups = read_followups(body.embed, self.envelope.headers, self.id)
        if self._followups is not NOTHING and self._followups.needs_chords:
            chord_store(self._app)
        self._request = self._app.request_of(self.envelope, body)
        if self._app.tracks_started() and not self._app.ignores_result(self.envelope):
            self._store_started()

    def call(self) -> object:
        """See `Job.call`."""
        if self._task is None or self._request is None:
            raise KernelBug(f"job {self.id} was called without having been prepared")
        self._called = True
        if self.is_async:
            return self._task.run_async(self._request)
        pid = os.getpid()
        try:
            return self._task.run(self._request)
        finally:
            if os.getpid() != pid:
                end_fork(self.task, sys.exception())

    def finish(self, ending: object) -> Outcome:
        """See `Job.finish`. Never raises an `Exception`."""
        self._runtime = self._app.clock.monotonic() - self._began
        try:
            return self._with_retries(self._ended(ending))
        except LeaseLost as exc:
            log.warning("Task %s[%s] was too late: %s", self.task, self.id, exc)
            return self._outcome(OutcomeKind.FAILED, Failure.of(exc), stored=False, fenced=True)
        except Exception as exc:
            log.critical("Task %s[%s] INTERNAL ERROR: %r", self.task, self.id, exc, exc_info=True)
            return self._outcome(OutcomeKind.FAILED, Failure.of(exc), stored=False)

    def to_frame(self) -> bytes:
        """See `Job.to_frame`."""
        return frames.pack(self.envelope)

    def _ended(self, ending: object) -> Outcome:
        if not isinstance(ending, Raised):
            return self._succeeded(ending)
        exc = ending.exception
        if isinstance(exc, LeaseLost) and not self._called:
            raise exc
        if isinstance(exc, JobKilled):
            return self._killed(exc)
        if isinstance(exc, Ignore):
            log.info("Task %s[%s] ignored", self.task, self.id)
            return self._outcome(OutcomeKind.IGNORED)
        if isinstance(exc, Reject):
            return self._rejected(exc)
        if not isinstance(exc, Retry) and self._task is not None and self._request is not None:
            where = exc.__traceback__
            try:
                exc = self._task.retry_by_itself(self._request, exc) or exc
            except Exception as refusal:  # noqa: BLE001  (one retry too many, or arguments that cannot be sent again)
                # What the task raised is told from where it raised it, not from where we asked whether to retry.
                exc = exc.with_traceback(where) if refusal is exc else refusal
        return self._retried(exc) if isinstance(exc, Retry) else self._failed(exc)

    # -- the ends ---------------------------------------------------------------------------------------------------

    def _succeeded(self, value: object) -> Outcome:
        if self._followups is NOTHING:
            return self._succeeded_alone(value)
        callbacks, part = self._followups.callbacks, self._followups.part
        ignored = self._app.ignores_result(self.envelope)
        try:
            result = plain(value) if callbacks.calls or part or not ignored else None
            messages = [composed(self._app, call, self.envelope) for call in callbacks.given(result)]
        except (TypeError, ValueError) as exc:
            return self._failed(exc)
        request = self._request or Request()
        children = [(child, self.id) for child in [*request.sent, *(call.id for call in callbacks.calls)]]
        shown = short_repr(value)
        try:
            begin_chords(self._app, self.envelope, callbacks)
        except StoreUnavailable:
            return self._outcome(OutcomeKind.SUCCEEDED, stored=False, result=shown)
        if not self.options.acks_late and (error := send_all(self._app, messages, self.envelope, "callbacks")):
            return self._failed(error)
        stored = store_state(self._app, self.envelope, SUCCESS, result, children=children, ignored=ignored)
        # Sent once the store has agreed that the message is still ours; unsettled, it comes back if this fails.
        if stored and self.options.acks_late and (error := send_all(self._app, messages, self.envelope, "callbacks")):
            return self._outcome(OutcomeKind.REJECTED, Failure.of(error), requeue=True)
        if stored and part:
            try:
                missed = return_part(self._app, self.envelope, part, self.id, SUCCESS, result)
            except StoreUnavailable:
                stored, missed = False, None
            if missed and self.options.acks_late:
                return self._outcome(OutcomeKind.REJECTED, Failure.of(missed), requeue=True)
        log.info("Task %s[%s] succeeded in %.6fs: %s", self.task, self.id, self._runtime, shown)
        return self._outcome(OutcomeKind.SUCCEEDED, stored=stored, result=shown)

    def _succeeded_alone(self, value: object) -> Outcome:
        """As `_succeeded`, for the many messages that ask for nothing to be sent."""
        ignored = self._app.ignores_result(self.envelope)
        try:
            result = None if ignored else plain(value)
        except (TypeError, ValueError) as exc:
            return self._failed(exc)
        sent = self._request.sent if self._request is not None else ()
        children = [(child, self.id) for child in sent]
        stored = ignored or store_state(self._app, self.envelope, SUCCESS, result, children=children)
        shown = short_repr(value)
        log.info("Task %s[%s] succeeded in %.6fs: %s", self.task, self.id, self._runtime, shown)
        return self._outcome(OutcomeKind.SUCCEEDED, stored=stored, result=shown)

    def _failed(self, exc: BaseException, kind: OutcomeKind = OutcomeKind.FAILED) -> Outcome:
        expected = self._task is not None and isinstance(exc, self._task.declaration.throws)
        failure = Failure.of(exc)
        if kind is OutcomeKind.REJECTED:
            log.warning("Task %s[%s] %s", self.task, self.id, failure)
        elif expected:
            log.info("Task %s[%s] raised expected: %s", self.task, self.id, failure)
        else:
            log.error("Task %s[%s] raised unexpected: %s\n%s", self.task, self.id, failure, failure.traceback)
        stored = store_failure(self._app, self.envelope, failure, self._followups)
        if stored and (error := self._send_errbacks()) and self.options.acks_late:
            return self._outcome(OutcomeKind.REJECTED, Failure.of(error), requeue=True)
        invalid = isinstance(exc, MessageInvalid) and not self._called
        return self._outcome(kind, failure, stored=stored, expected=expected, invalid=invalid)

    def _killed(self, exc: JobKilled) -> Outcome:
        if exc.reason == "time_limit":
            limit = self.time_limit if exc.limit is None else exc.limit
            failure = Failure.of(TimeLimitExceeded(limit).with_traceback(exc.__traceback__))
            if self.options.acks_late and not self.options.acks_on_timeout:
                # Nothing is stored: the message goes back. The worker logs it and, if this was the last run, stores it.
                return self._outcome(OutcomeKind.TIMED_OUT, failure, stored=False)
            log.error("Hard time limit (%ss) exceeded for %s[%s]", limit, self.task, self.id)
            stored = store_failure(self._app, self.envelope, failure, self._followups)
            if stored:
                self._send_errbacks()
            return self._outcome(OutcomeKind.TIMED_OUT, failure, stored=stored)
        if exc.reason == "stop":
            # Nothing is stored: the message goes back, and whoever runs it next stores its result.
            return self._outcome(OutcomeKind.LOST, Failure.of(WorkerLostError("the worker stopped")), stored=False)
        log.warning("Task %s[%s] was cancelled while it ran", self.task, self.id)
        failure = Failure.of(TaskRevoked("terminated"))
        stored = store_failure(self._app, self.envelope, failure, self._followups, status=REVOKED)
        return self._outcome(OutcomeKind.CANCELLED, failure, stored=stored)

    def _rejected(self, exc: Reject) -> Outcome:
        if not exc.requeue:
            return self._failed(exc, OutcomeKind.REJECTED)
        log.warning("Task %s[%s] %s", self.task, self.id, Failure.of(exc))
        if not self.options.acks_late:
            # Its message is acknowledged already and cannot go back: a copy goes instead.
            copy = Outgoing(message=frames.copy_of(self.envelope), queue=self.envelope.queue)
            if error := send_all(self._app, [copy], self.envelope, "a copy"):
                return self._failed(error)
        return self._outcome(OutcomeKind.REJECTED, Failure.of(exc), requeue=True)

    def _retried(self, exc: Retry) -> Outcome:
        failure = Failure.of(exc.exc if exc.exc is not None else exc)
        log.info("Task %s[%s] retry: %s", self.task, self.id, exc)
        # Stored first: the next run may end before we could, and its state must be the last.
        # Stored or not: it is a state in passing, and what could not be stored now is no use later.
        store_state(
            self._app,
            self.envelope,
            RETRY,
            exception_record(failure),
            traceback=failure.traceback or None,
            ignored=self._app.ignores_result(self.envelope),
        )
        return self._outcome(OutcomeKind.RETRIED, failure)

    def _with_retries(self, outcome: Outcome) -> Outcome:
        """Send what ``self.retry()`` asked for, also where the task went on to end by itself in another way.

        Not where the message goes back: the next run asks again. Not where the run was ended from outside.
        """
        if self._request is None or outcome.requeue or not outcome.stored or outcome.kind in _ENDED_FROM_OUTSIDE:
            return outcome
        messages = self._request.retry_messages
        if not messages:
            return outcome
        pending, messages[:] = list(messages), []
        error = send_all(self._app, pending, self.envelope, "the retry")
        if error is None:
            return outcome
        if self.options.acks_late:
            return self._outcome(OutcomeKind.REJECTED, Failure.of(error), requeue=True)
        return self._failed(error)

    # -- what they are made of --------------------------------------------------------------------------------------

    def _outcome(
        self, kind: OutcomeKind, failure: Failure | None = None, *, stored: bool = True, **more: Any
    ) -> Outcome:
        return Outcome(job_id=self.id, kind=kind, failure=failure, stored=stored, runtime=self._runtime, **more)

    def _send_errbacks(self) -> Exception | None:
        return send_errbacks(self._app, self.envelope, self._followups.errbacks)

    def _store_started(self) -> None:
        store = self._app.result_store()
        if store is None:
            return
        result = {"pid": os.getpid(), "hostname": self._app.node_name}
        meta = record(self.id, STARTED, result, now=self._app.clock.wall(), headers=self.envelope.headers)
        try:
            write(store, meta, self.envelope)
        except LeaseLost:
            raise
        except Exception as exc:  # noqa: BLE001  (a plugin's store; a state in passing, what matters is the end)
            log.warning("state STARTED of %s[%s] could not be stored: %s", self.task, self.id, exc)


def store_failure(
    app: App, envelope: Envelope, failure: Failure, followups: Followups, *, status: str = FAILURE
) -> bool:
    """Store a failure of a task and of the rest of its chain, and tell the chords that wait; see `store_state`."""
    result, traceback = exception_record(failure), failure.traceback or None
    ignored = app.ignores_result(envelope)
    if not store_state(app, envelope, status, result, traceback=traceback, ignored=ignored):
        return False
    try:
        error = pass_on(app, envelope, followups.heirs, status, result, traceback)
        if error is None and followups.part is not None:
            error = return_part(app, envelope, followups.part, envelope.id, status, result)
    except StoreUnavailable:
        return False
    except UnsupportedOption:
        # Nobody counts the parts, so that this one is enough to know that the body is never sent.
        error = fail_signature(app, envelope, followups.part and followups.part.chord, failure)
    return error is None


def send_errbacks(app: App, envelope: Envelope, errbacks: Dispatch) -> Exception | None:
    """Send errbacks with the id of the task that failed; return the error, logged, at which that ended."""
    try:
        return send_calls(app, envelope, errbacks, envelope.id, "errbacks")
    except (TypeError, ValueError, UnsupportedOption) as exc:
        log.error("errbacks of %s[%s] cannot be sent: %s", envelope.task, envelope.id, exc)
        return None  # trying again would not help
    except StoreUnavailable as exc:
        return exc
