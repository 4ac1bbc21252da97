"""The report: stores a fate that was decided elsewhere, and runs no task."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs

from ..application import Envelope
from ..errors import (
    KernelBug,
    KernelError,
    LeaseLost,
    Reject,
    TaskError,
    TaskRevoked,
    TimeLimitExceeded,
    WorkerLostError,
)
from ..job import Job
from ..outcome import Failure, Outcome, OutcomeKind
from . import frames
from .body import decode
from .execute import send_errbacks, store_failure
from .followups import Followups, read_followups
from .meta import FAILURE, REVOKED

if TYPE_CHECKING:
    from .app import App

log = logging.getLogger("worker_kernel.tasks")

_STATES = {
    OutcomeKind.FAILED: FAILURE,
    OutcomeKind.TIMED_OUT: FAILURE,
    OutcomeKind.LOST: FAILURE,
    OutcomeKind.REJECTED: FAILURE,
    OutcomeKind.CANCELLED: REVOKED,
}
_REASONS: dict[OutcomeKind, Exception] = {
    OutcomeKind.FAILED: TaskError("the task failed"),
    OutcomeKind.TIMED_OUT: TimeLimitExceeded(),
    OutcomeKind.LOST: WorkerLostError("what ran the task died"),
    OutcomeKind.REJECTED: Reject("the task was rejected"),
    OutcomeKind.CANCELLED: TaskRevoked("revoked"),
}


class ReportJob(Job):
    """Stores an outcome as the task's fate and sends its errbacks; where the body does not decode, the state alone.

    The outcome of the report is the one that it was given, with ``stored`` telling whether it is now stored.
    """

    is_report = True
    is_async = False
    soft_time_limit = None
    time_limit = None

    def __init__(self, app: App, envelope: Envelope, outcome: Outcome) -> None:
        """Take a message and its fate.

        Raises:
            KernelBug: the outcome is none that could be stored (a value has to be stored where the task ran).
        """
        if outcome.kind not in _STATES or outcome.requeue:
            raise KernelBug(f"a report of {outcome.kind} for {envelope.id}: there is nothing to store")
        self.id = envelope.id
        self.task = envelope.task
        self.envelope = envelope
        self.outcome = outcome
        self._app = app
        self._followups = Followups()

    def prepare(self) -> None:
        """Look for errbacks and the rest of the chain. Never raises an `Exception`."""
        try:
            body = decode(self.envelope, self._app.accepted_types())
            self._followups = read_followups(body.embed, self.envelope.headers, self.id)
        except (KernelError, TaskError) as exc:
            log.info("errbacks of %s[%s] are not known: %s", self.task, self.id, exc)

    def call(self) -> object:
        """Do nothing: a report runs no task."""
        return None

    def finish(self, ending: object) -> Outcome:
        """See `Job.finish`; whatever ``ending`` is, the fate stands. Never raises an `Exception`."""
        del ending
        kind = self.outcome.kind
        failure = self.outcome.failure or Failure.of(_REASONS[kind])
        status = _STATES[kind]
        try:
            stored = store_failure(self._app, self.envelope, failure, self._followups, status=status)
            if stored and status == FAILURE and send_errbacks(self._app, self.envelope, self._followups.errbacks):
                stored = False
        except LeaseLost as exc:
            log.warning("the fate of %s[%s] came too late: %s", self.task, self.id, exc)
            return attrs.evolve(self.outcome, stored=False, fenced=True)
        except Exception as exc:
            log.critical("Task %s[%s] INTERNAL ERROR: %r", self.task, self.id, exc, exc_info=True)
            stored = False
        return attrs.evolve(self.outcome, failure=failure, stored=stored)

    def to_frame(self) -> bytes:
        """See `Job.to_frame`."""
        return frames.pack(self.envelope, self.outcome)
