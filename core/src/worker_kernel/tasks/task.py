"""Tasks: functions with a name, options, and ways to be called elsewhere."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack, cast

import attrs

from .. import kinds
from ..application import TaskOptions
from ..errors import MaxRetriesExceeded, Retry
from .context import Outgoing, Request, current_request, working_on
from .message import CallOptions, Invocation, SendOptions, check_names, compose, seconds
from .results import AsyncResult
from .signature import signature

if TYPE_CHECKING:
    from .app import App

P = ParamSpec("P")
R = TypeVar("R")

_BROKERS_HEADERS = ("x-kernel-", "x-death", "x-delivery-count", "x-first-death", "x-last-death")
"""What a broker or worker wrote about one delivery, and what a retry must not carry on."""
_PROTOCOL_HEADERS = frozenset({
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
    "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "compression", "redelivered",
})  # fmt: skip


@attrs.frozen(kw_only=True)
class Declaration:
    """The options of a task, as given to ``@app.task``. None: the app's setting of the same name decides."""

    name: str | None = None
    """The task's name; None: module and function."""
    bind: bool = False
    """Whether the function takes the task itself as its first argument."""
    acks_late: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    max_retries: int | None = 3
    """How often ``retry`` may be asked for (>= 0); None: without end."""
    default_retry_delay: float = 180.0
    """Seconds before a retry that says nothing else (>= 0)."""
    soft_time_limit: float | None = None
    """Seconds (> 0)."""
    time_limit: float | None = None
    """Seconds (> 0)."""
    rate_limit: str | None = None
    """``10``, ``10/s``, ``10/m``, ``10/h``."""
    ignore_result: bool | None = None
    priority: int | None = None
    """0 to 255."""
    queue: str | None = None
    """Where its messages go; None: ``task_default_queue``."""
    throws: tuple[type[BaseException], ...] = ()
    """Exceptions that are expected: logged without a traceback."""
    serializer: str | None = None
    """None: ``task_serializer``."""
    autoretry_for: tuple[type[BaseException], ...] = ()
    """Exceptions that lead to a retry by themselves."""
    retry_backoff: float = 0
    """Seconds before the first automatic retry, doubled each time; True is 1; 0: ``default_retry_delay``."""
    retry_backoff_max: float = 600.0
    """The most seconds that ``retry_backoff`` comes to."""
    retry_jitter: bool = True
    """Whether to wait a random part of what ``retry_backoff`` says."""
    workload: str | None = None
    """``cpu``: it computes; ``io``: it waits, and all that it waits in lets other greenlets run. ``-P auto`` asks."""

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Declaration:
        """Check the options of a task.

        Raises:
            TypeError: an option is unknown (names the closest), or of the wrong type.
            ValueError: a value is out of range.
        """
        check_names("option of a task", options, [field.name for field in attrs.fields(cls)])
        given = dict(options)
        for name in ("throws", "autoretry_for"):
            kinds_ = given.get(name) or ()
            given[name] = (
                kinds_ if isinstance(kinds_, tuple) else (kinds_,) if inspect.isclass(kinds_) else tuple(kinds_)
            )
            if not all(inspect.isclass(kind) and issubclass(kind, BaseException) for kind in given[name]):
                raise TypeError(f"{name} takes exception classes, not {kinds_!r}")
        for name in ("soft_time_limit", "time_limit"):
            seconds(name, given)
        soft, hard = given.get("soft_time_limit"), given.get("time_limit")
        if soft is not None and hard is not None and soft > hard:
            raise ValueError(f"soft_time_limit ({soft} s) must not be above time_limit ({hard} s)")
        if given.get("rate_limit"):
            try:
                given["rate_limit"] = kinds.rate(given["rate_limit"])
            except ValueError as exc:
                raise ValueError(f"rate_limit is {given['rate_limit']!r}: it takes {exc}") from None
        else:
            given["rate_limit"] = None
        if given.get("workload") not in (None, "cpu", "io"):
            raise ValueError(f"workload takes 'cpu', 'io' or None, not {given['workload']!r}")
        retries = given.get("max_retries", 3)
        if retries is not None and (isinstance(retries, bool) or not isinstance(retries, int) or retries < 0):
            raise ValueError(f"max_retries takes a whole number >= 0 or None, not {retries!r}")
        return cls(**given)


class Task(Generic[P, R]):
    """A function that can be called here, or by a worker.

    Immutable but for what it counts; safe to use from any thread, greenlet or asyncio task. `request` is the run that
    *this* thread, greenlet or asyncio task is in.
    """

    def __init__(self, app: App, function: Callable[..., R], name: str, declaration: Declaration) -> None:
        """Wrap ``function``. Users call `App.task` instead."""
        functools.update_wrapper(self, function)
        self.app = app
        self.name = name
        """The name that messages carry."""
        self.function = function
        """What was decorated."""
        self.declaration = declaration
        self.is_async = inspect.iscoroutinefunction(function)
        """Whether it is ``async def``."""
        self._takes = _takes(function, declaration.bind)
        self._least, self._most = _positional(self._takes)

    @property
    def max_retries(self) -> int | None:
        """How often ``retry`` may be asked for; None: without end."""
        return self.declaration.max_retries

    @property
    def request(self) -> Request:
        """The run that the caller is in; blank, with ``called_directly``, where there is none."""
        return current_request(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now. Nothing is sent or stored."""
        request = Request(task=self.name, args=args, kwargs=kwargs)
        if self.is_async:
            return cast("R", self.run_async(request))
        return self.run(request)

    def run(self, request: Request) -> R:
        """Call the function with the request's arguments, with ``self.request`` set to it."""
        with working_on(self, request):
            return self.function(*self._bound(request), **request.kwargs)

    async def run_async(self, request: Request) -> object:
        """Await the function with the request's arguments, with ``self.request`` set to it."""
        with working_on(self, request):
            return await cast("Coroutine[Any, Any, object]", self.function(*self._bound(request), **request.kwargs))

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult:
        """Send the task, to be run by a worker. See `apply_async`."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[object] | None = None,
        kwargs: Mapping[str, object] | None = None,
        **options: Unpack[SendOptions],
    ) -> AsyncResult:
        """Send the task, to be run by a worker.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            **options: see `SendOptions`; they win over the task's own.

        Raises:
            TypeError: the function does not take these arguments, they cannot be serialised, or an option is unknown.
            ValueError: an option is out of range.
            BrokerUnavailable: the broker cannot be reached.
        """
        if self._takes is not None and isinstance(args, (list, tuple, type(None))) and (kwargs or not self._fits(args)):
            try:
                self._takes.bind(*(args or ()), **(kwargs or {}))
            except TypeError as exc:
                raise TypeError(f"task {self.name}: {exc}") from None
        return self.app.send_task(self.name, args, kwargs, **self.send_options(options))

    def _fits(self, args: Sequence[object] | None) -> bool:
        """Whether the function takes so many positional arguments alone, as far as that is told by their number."""
        return self._least <= len(args or ()) <= self._most

    def send_options(self, options: SendOptions) -> SendOptions:
        """Return the options of a call, completed by the task's own."""
        own: SendOptions = {
            "queue": self.declaration.queue,
            "priority": self.declaration.priority,
            "serializer": self.declaration.serializer,
            "ignore_result": self.declaration.ignore_result,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return cast("SendOptions", {**{name: value for name, value in own.items() if value is not None}, **given})

    def s(self, *args: object, **kwargs: object) -> dict[str, Any]:
        """Return a call as data, for ``link``, ``link_error`` and ``chain``; it is given what comes before it."""
        return self.signature(args, kwargs)

    def si(self, *args: object, **kwargs: object) -> dict[str, Any]:
        """Like `s`, but it is called with just these arguments."""
        return self.signature(args, kwargs, immutable=True)

    def signature(
        self, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None, *, immutable: bool = False
    ) -> dict[str, Any]:
        """Return a call as data, with the task's own options."""
        return signature(self.name, args, kwargs or {}, immutable=immutable, **self.send_options({}))

    def retry(
        self,
        args: Sequence[object] | None = None,
        kwargs: Mapping[str, object] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Retry:
        """Have the task run again, with the same id, and end this run.

        The message goes to the queue that this one came from. It is sent once the run is over and the state RETRY is
        stored, so that no time limit interrupts it; if the broker cannot be reached then, this message goes back to
        the queue instead.

        Args:
            args: positional arguments; None: those of this run.
            kwargs: keyword arguments; None: those of this run.
            exc: why; raised itself when there have been too many retries.
            throw: False returns the `Retry` instead of raising it.
            eta: when to run again.
            countdown: seconds until it may run again; less than 0: at once, as with Celery; None:
                ``default_retry_delay``.
            max_retries: instead of the task's own; None: the task's own.
            **options: what to change in the call, see `CallOptions`.

        Raises:
            Retry: ends the run.
            MaxRetriesExceeded: there have been too many, and ``exc`` was not given.
            BaseException: ``exc``, when there have been too many, or when the function was called directly.
        """
        request = self.request
        if request.called_directly:
            raise exc or Retry("the task was called directly: there is nothing to retry")
        limit = self.declaration.max_retries if max_retries is None else max_retries
        if limit is not None and request.retries + 1 > limit:
            self._too_many(request, exc)
        if eta is None and countdown is None:
            countdown = self.declaration.default_retry_delay
        elif isinstance(countdown, (int, float)) and countdown < 0:  # a deadline that has passed meanwhile
            countdown = 0
        call = cast("SendOptions", {**self._call_again(request), "eta": eta, "countdown": countdown, **options})
        invocation: Invocation = self.app.plan(
            self.name,
            request.args if args is None else args,
            request.kwargs if kwargs is None else kwargs,
            retries=request.retries + 1,
            **call,
        )
        request.retry_messages.append(Outgoing(message=compose(invocation), queue=invocation.queue))
        when = eta if countdown is None else countdown
        text = f"Retry at {when}" if isinstance(when, datetime) else f"Retry in {when}s"
        signal = Retry(text if exc is None else f"{text}: {exc!r}", exc=exc, when=when)
        if throw:
            raise signal
        return signal

    def retry_by_itself(self, request: Request, exc: BaseException) -> Retry | None:
        """Return the retry that ``autoretry_for`` asks for, or None; raises as `retry` does."""
        declared = self.declaration
        if not isinstance(exc, declared.autoretry_for):
            return None
        countdown: float | None = None
        if declared.retry_backoff:
            countdown = min(declared.retry_backoff_max, declared.retry_backoff * 2 ** min(request.retries, 64))
            if declared.retry_jitter:
                countdown = random.uniform(0, countdown)  # noqa: S311  (spreads load, guards nothing)
        with working_on(self, request):
            return self.retry(exc=exc, countdown=countdown, throw=False)

    def options(self, fallback: Mapping[str, Any]) -> TaskOptions:
        """Return what the worker needs to know; ``fallback`` has the values of options that the task leaves open."""
        declared = self.declaration
        open_options = ("acks_late", "acks_on_failure", "acks_on_timeout", "reject_on_worker_lost", "rate_limit")
        values = {name: getattr(declared, name) for name in open_options}
        settled = {name: fallback.get(name) if value is None else value for name, value in values.items()}
        return TaskOptions(
            name=self.name,
            soft_time_limit=declared.soft_time_limit,
            time_limit=declared.time_limit,
            is_async=self.is_async,
            workload=declared.workload,
            **{name: value for name, value in settled.items() if value is not None},
        )

    def __repr__(self) -> str:
        return f"<Task: {self.name}>"

    def _bound(self, request: Request) -> Sequence[object]:
        return (self, *request.args) if self.declaration.bind else request.args

    def _too_many(self, request: Request, exc: BaseException | None) -> NoReturn:
        if exc is not None:
            raise exc
        raise MaxRetriesExceeded(
            f"Can't retry {self.name}[{request.id}] args:{request.args!r} kwargs:{dict(request.kwargs)!r}"
        )

    def _call_again(self, request: Request) -> dict[str, Any]:
        """Return the options that repeat the call which led to ``request``."""
        hard, soft = request.timelimit
        own_headers = {
            name: value
            for name, value in request.headers.items()
            if name not in _PROTOCOL_HEADERS and not name.startswith(_BROKERS_HEADERS)
        }
        return {
            "task_id": request.id,
            "queue": request.queue or None,
            "priority": request.delivery_info.get("priority"),
            "expires": datetime.fromisoformat(request.expires) if request.expires else None,
            "time_limit": hard,
            "soft_time_limit": soft,
            "headers": own_headers,
            "root_id": request.root_id,
            "parent_id": request.parent_id,
            "group_id": request.group,
            "group_index": request.headers.get("group_index"),
            "shadow": request.headers.get("shadow"),
            "reply_to": request.reply_to,
            "ignore_result": request.ignore_result,
            "link": request.embed.get("callbacks"),
            "link_error": request.embed.get("errbacks"),
            "chain": request.embed.get("chain"),
            "chord": request.embed.get("chord"),
            "serializer": self.declaration.serializer,
        }


def _positional(takes: inspect.Signature | None) -> tuple[int, int]:
    """Return how few and how many positional arguments are right, without any others; (1, 0): that is never right."""
    parameters = [] if takes is None else list(takes.parameters.values())
    if any(one.kind is one.KEYWORD_ONLY and one.default is one.empty for one in parameters):
        return 1, 0
    plain = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return sum(one.default is one.empty for one in plain), len(plain)


def _takes(function: Callable[..., object], bind: bool) -> inspect.Signature | None:
    """Return what callers may pass; None where it cannot be told."""
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    return found.replace(parameters=list(found.parameters.values())[1:]) if bind else found
