"""What becomes of a request now: it may run, it has to wait, or it never runs and its fate is reported."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

from worker_kernel import (
    Failure,
    Outcome,
    OutcomeKind,
    Support,
    TaskNotRegistered,
    TaskOptions,
    TaskRevoked,
    UnsupportedOption,
    Worker,
    WorkerLostError,
    kernel_may_start,
)

from .rates import RateLimiter, interval
from .request import Fate, Request
from .revoked import Revoked


@attrs.frozen(kw_only=True)
class Run:
    """It may run as soon as a slot is free."""


@attrs.frozen(kw_only=True)
class Hold:
    """It has to wait."""

    seconds: float
    """How long (> 0), before it is asked again."""
    why: str
    """For the log."""


@attrs.frozen(kw_only=True)
class Refuse:
    """It never runs here: ``outcome`` is stored, then its message meets ``fate``."""

    outcome: Outcome
    """What its result will say."""
    fate: Fate
    """What becomes of its message."""
    reason: str
    """For the log, and for the quarantine."""


RUN = Run()
Decision = Run | Hold | Refuse


class Admission:
    """Decides, in this order: revoked? too often started? expired? possible on this pool? eta? rate? what hooks say."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._rates = RateLimiter()
        self.revoked = Revoked(
            worker.clock,
            most=worker.settings.get_int("worker_revokes_max") or 1,
            expires=worker.settings.get_float("worker_revoke_expires") or 0.0,
        )
        """Tasks that are not to run here."""
        self._asks_hooks = worker.hooks.listens(kernel_may_start)
        self._cap = worker.settings.get_int("worker_max_attempts") or 0
        self._limits_rates = not worker.settings.get_bool("worker_disable_rate_limits")
        self._default_rate = worker.settings.get_str("task_default_rate_limit")

    def unknown(self, request: Request) -> Refuse:
        """The decision on a task that the application does not have."""
        error = TaskNotRegistered(f"no task {request.envelope.task!r} is registered with {self._worker.app.name}")
        return _refuse(request, OutcomeKind.FAILED, error, Fate.QUARANTINE)

    def refuse_revoked(self, request: Request) -> Refuse | None:
        """Return the decision on a request that was revoked; None: it was not."""
        if request.envelope.id not in self.revoked:
            return None
        return _refuse(request, OutcomeKind.CANCELLED, TaskRevoked("revoked"), Fate.ACK)

    def decide(self, request: Request) -> Decision:
        """Decide on a request, for the first time or after it has waited."""
        envelope = request.envelope
        if self.revoked and (revoked := self.refuse_revoked(request)) is not None:
            return revoked
        if self._cap and envelope.attempts >= self._cap:
            error: Exception = WorkerLostError(
                f"started {envelope.attempts} times and never ended: each time its process died, or its time was up"
            )
            return _refuse(request, OutcomeKind.LOST, error, Fate.QUARANTINE)
        if envelope.expires is not None and self._now() > envelope.expires:
            return _refuse(request, OutcomeKind.CANCELLED, TaskRevoked("expired"), Fate.ACK)
        if envelope.time_limit is not None or envelope.soft_time_limit is not None or request.options.is_async:
            impossible = self._impossible(request)
            if impossible is not None:
                return _refuse(request, OutcomeKind.FAILED, UnsupportedOption(impossible), Fate.ACK)
        if envelope.eta is not None and (left := (envelope.eta - self._now()).total_seconds()) > 0:
            return Hold(seconds=left, why="eta")
        rate = request.options.rate_limit or self._default_rate
        if rate is not None and self._limits_rates and (delay := self._rate_delay(request, rate)) > 0:
            return Hold(seconds=delay, why="rate limit")
        return self._ask_hooks(request) if self._asks_hooks else RUN

    def was_last_attempt(self, request: Request) -> bool:
        """Whether a start that has come to nothing was one as many as a message is given."""
        return bool(self._cap) and request.attempts + 1 >= self._cap

    def forget(self, request: Request) -> None:
        """The request will not run here: give up what was reserved for it."""
        if self._rates.reserved:
            self._rates.forget(request.envelope.task, request.key)

    def _impossible(self, request: Request) -> str | None:
        """Say which option of the message or the task this pool refuses, if any does."""
        pool, envelope = self._worker.pool_spec, request.envelope
        for option in ("soft_time_limit", "time_limit"):
            value = getattr(envelope, option)
            if value is not None and pool.capabilities.supports(option) is Support.REFUSED:
                return f"the message asks for {option}={value}, which pool {pool.name!r} refuses"
        if request.options.is_async and pool.capabilities.async_tasks is Support.REFUSED:
            return f"{envelope.task} is an async def task, which pool {pool.name!r} cannot run"
        return None

    def _rate_delay(self, request: Request, rate: str) -> float:
        spacing = interval(rate)
        if spacing is None:
            return 0.0
        now = self._worker.clock.monotonic()
        return self._rates.delay(request.envelope.task, request.key, spacing, now)

    def _ask_hooks(self, request: Request) -> Decision:
        answers = self._worker.hooks.notify(kernel_may_start, envelope=request.envelope)
        delay = 0.0
        for answer in answers:
            if answer is None:
                continue
            if answer.reject is not None:
                return _refuse(request, OutcomeKind.CANCELLED, TaskRevoked(answer.reject), Fate.ACK)
            delay = max(delay, answer.later or 0.0)
        return Hold(seconds=delay, why="a hook") if delay > 0 else RUN

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._worker.clock.wall(), tz=UTC)


def _refuse(request: Request, kind: OutcomeKind, error: Exception, fate: Fate) -> Refuse:
    failure = Failure.of(error, with_traceback=False)
    outcome = Outcome(job_id=request.envelope.id, kind=kind, failure=failure)
    return Refuse(outcome=outcome, fate=fate, reason=str(error))


def default_options(task: str) -> TaskOptions:
    """The options of a task that does not exist: for reports only."""
    return TaskOptions(name=task)
