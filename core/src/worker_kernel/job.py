"""One run of a task, as pools see it."""

from __future__ import annotations

import abc
from contextlib import AbstractContextManager, nullcontext

from .outcome import Outcome


class Job(abc.ABC):
    """One run of a task: what a pool is handed.

    A pool that calls plain functions needs `run` alone. One that awaits, or that crosses a process border, composes
    `prepare`, `call` and `finish` itself. A job is run at most once. Only one thread (greenlet) uses it at a time.
    """

    id: str
    """The task id. A retry, or a redelivery, is another job with the same id."""
    task: str
    """The task's name."""
    soft_time_limit: float | None
    """Seconds after which `SoftTimeLimitExceeded` is raised in the task; None: the pool's own default."""
    time_limit: float | None
    """Seconds after which the task is ended; None: the pool's own default."""
    is_async: bool
    """Whether `call` returns an awaitable that the pool must await."""
    is_report: bool
    """A report stores a fate that was decided elsewhere; it is short, has no limits, and counts as no run."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Decode the body. Whatever it raises belongs into `finish`."""

    @abc.abstractmethod
    def call(self) -> object:
        """Run the task's function and return its value, or an awaitable where `is_async`.

        This is the only part of a job that limits and cancellation may interrupt.
        """

    @abc.abstractmethod
    def finish(self, ending: object) -> Outcome:
        """Say how the run ended: store the result, send callbacks, and return the outcome.

        Must be called exactly once, where the task ran, also for a job that was never called. Not called for a job
        that was given up while it ran: somebody else has told its outcome, and a report stores it.

        Args:
            ending: the value that the task returned, or, wrapped in `Raised`, what was raised by `prepare` or `call`.
        """

    @abc.abstractmethod
    def to_frame(self) -> bytes:
        """Return the job as bytes for another process; `Application.job_from_frame` reads them."""

    def run(self, window: AbstractContextManager[object] | None = None) -> Outcome:
        """Prepare, call and finish. Never raises an `Exception`, nor what the task raised.

        Args:
            window: entered just around `call`: a pool arms limits and cancellation on entry and disarms them on
                exit, so that nothing is raised while a result is stored. What entering or leaving it raises counts
                as raised by the task.
        """
        ending: object
        try:
            self.prepare()
            with window or nullcontext():
                ending = self.call()
        except BaseException as exc:  # noqa: BLE001  (SystemExit and the like fail the task, never the slot)
            ending = Raised(exc)
        return self.finish(ending)


class Raised:
    """Marks what a job raised, so that a task may return an exception as its value."""

    __slots__ = ("exception",)

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception
