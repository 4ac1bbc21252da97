"""How a job ended."""

from __future__ import annotations

import enum
import traceback as tracebacks

import attrs

from .errors import TaskRevoked
from .records import record


class OutcomeKind(enum.StrEnum):
    """The ends a job can have."""

    SUCCEEDED = "succeeded"
    """The task returned."""
    FAILED = "failed"
    """The task raised, or could not be begun (undecodable body, wrong arguments)."""
    RETRIED = "retried"
    """The task has been sent again and this run is over."""
    REJECTED = "rejected"
    """The task raised `Reject`; see `Outcome.requeue`."""
    IGNORED = "ignored"
    """The task raised `Ignore`: nothing is stored."""
    TIMED_OUT = "timed out"
    """The hard time limit ended the task."""
    CANCELLED = "cancelled"
    """The job was cancelled, before or while it ran. Never reported as a success."""
    LOST = "lost"
    """Whatever ran the job died with it."""


@attrs.frozen(kw_only=True)
class Failure:
    """An exception as plain data: it can cross a process border and be stored without being unpickled."""

    type: str
    """The class's qualified name."""
    module: str
    """The module of the class."""
    args: tuple[object, ...] = ()
    """The exception's arguments; those that JSON cannot carry stand as their ``repr``."""
    traceback: str = ""
    """The formatted traceback, possibly empty."""

    @classmethod
    def of(cls, exc: BaseException, *, with_traceback: bool = True) -> Failure:
        """Return the failure that describes ``exc``. Never raises, also when an argument's ``repr`` does."""
        text = ""
        if with_traceback and exc.__traceback__ is not None:
            try:
                text = "".join(tracebacks.format_exception(exc))
            except Exception:  # noqa: BLE001  (a hostile __str__ must not hide the failure itself)
                text = "".join(tracebacks.format_tb(exc.__traceback__))
        return cls(
            type=type(exc).__qualname__,
            module=type(exc).__module__,
            args=tuple(_plain(argument) for argument in exc.args),
            traceback=text,
        )

    def __str__(self) -> str:
        inner = ", ".join(repr(argument) for argument in self.args)
        return f"{self.type}({inner})"


def _plain(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  (user code)
        return f"<{type(value).__qualname__} whose repr failed>"


@record(kw_only=True)
class Outcome:
    """How one job ended. Plain data: safe to share between threads and to send between processes."""

    job_id: str
    """The task id."""
    kind: OutcomeKind
    """Which end it was."""
    stored: bool = False
    """Whether the result is where it belongs (or none is wanted). False asks the consumer for a report job."""
    failure: Failure | None = None
    """What was raised, for all kinds but succeeded and ignored."""
    requeue: bool = False
    """With REJECTED: whether the task asked for its message to go back to the queue."""
    runtime: float = 0.0
    """Seconds between the job's start and its end."""
    result: str = ""
    """A shortened ``repr`` of the value that the task returned, for the log. At most 1024 characters."""
    invalid: bool = False
    """With FAILED: the message is at fault, not the task: its body cannot be understood. It is kept in quarantine."""
    expected: bool = False
    """With FAILED: whether the task had announced this exception in ``throws``."""
    fenced: bool = False
    """The store refused the result because the message's lease has passed to somebody else: do not settle it."""

    @property
    def failed(self) -> bool:
        """Whether a pool counts it among its failures: it failed, timed out or was lost."""
        return self.kind in (OutcomeKind.FAILED, OutcomeKind.TIMED_OUT, OutcomeKind.LOST)

    @classmethod
    def never_started(cls, job_id: str) -> Outcome:
        """Return the outcome of a job that was cancelled while it waited in the pool."""
        return cls(job_id=job_id, kind=OutcomeKind.CANCELLED, failure=Failure.of(TaskRevoked("cancelled")))
