"""One delivery from the broker, and the fate of its message."""

from __future__ import annotations

import enum
from typing import Any

import attrs

from worker_kernel import Envelope, Job, Outcome, TaskOptions, TimerHandle

from .connection import Generation


class Fate(enum.StrEnum):
    """What becomes of a message. Each message meets exactly one."""

    ACK = "acknowledged"
    """The broker may forget it."""
    REQUEUE = "handed back"
    """It goes back to its queue, as if it had never been started."""
    RETURN = "returned"
    """It goes back to its queue, and the start that has come to nothing is counted, where the broker can tell."""
    DISCARD = "rejected"
    """Rejected without requeueing: to the dead-letter exchange of its queue, where there is one."""
    QUARANTINE = "quarantined"
    """Moved to ``<queue>.quarantine``."""
    NONE = "left alone"
    """Somebody else holds it now, or it was acknowledged before."""


class State(enum.StrEnum):
    """How far a request has come."""

    HELD = "held"
    """Waits for its time (eta, rate limit, a hook's delay)."""
    WAITING = "waiting"
    """Waits for a slot."""
    SUBMITTED = "submitted"
    """The pool has it."""
    RUNNING = "running"
    """A slot has started it."""
    REPORTING = "reporting"
    """Its fate is decided and being stored by a report job."""
    SETTLED = "settled"
    """Its message has met its fate."""


@attrs.define(eq=False)
class Request:
    """One delivery. Belongs to the loop's thread."""

    envelope: Envelope
    """What its headers say."""
    message: Any
    """The kombu message; replaced when a redelivery of it is adopted."""
    options: TaskOptions
    """The task's options; those of a task that does not exist are the defaults."""
    generation: Generation
    """The connection that its message belongs to."""
    state: State = State.HELD
    """How far it has come."""
    job: Job | None = None
    """The job that the pool has, or the report."""
    ticket: Any = None
    """The right to run, from `Slots.take`; None for reports, and while it waits here or ahead in the pool."""
    timer: TimerHandle | None = None
    """What it waits for while it is held."""
    started: bool = False
    """Whether a slot has ever started it."""
    uncounted: bool = False
    """Whether the broker only says that it was delivered before: an earlier start, which is counted before the next."""
    pid: int | None = None
    """The process it runs in, once it has started."""
    since: float | None = None
    """When it was seen to have started, in seconds since the epoch."""
    acknowledged: bool = False
    """Whether its message was settled ahead of its run (``acks_late=False``)."""
    fate: Fate = Fate.ACK
    """While it is REPORTING: what becomes of its message afterwards."""
    reason: str = ""
    """With QUARANTINE: why."""
    decided: Outcome | None = None
    """While it is REPORTING: the fate of the task that is to be stored."""
    key: tuple[str, int] = attrs.field(
        init=False, default=attrs.Factory(lambda self: (self.envelope.id, self.envelope.retries), takes_self=True)
    )
    """What tells it from others: a retry has the same id, a redelivery has the same key."""

    @property
    def attempts(self) -> int:
        """Starts that were never settled, with the one that is not counted yet."""
        return self.envelope.attempts + self.uncounted

    def __str__(self) -> str:
        return f"{self.envelope.task}[{self.envelope.id}]"
