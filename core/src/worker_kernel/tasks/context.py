"""The running task's own view of its message: ``self.request``."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import attrs

from ..records import record
from .message import WireMessage


@attrs.frozen(kw_only=True)
class Outgoing:
    """A message and the queue that it is for."""

    message: WireMessage
    """What to send."""
    queue: str
    """Where to."""


@attrs.define(kw_only=True, eq=False)
class Request:
    """What a task can know of the run it is in. Names are Celery's. Belongs to the thread that runs the task."""

    id: str | None = None
    """The task id; None where the function was called directly."""
    task: str = ""
    """The task's name."""
    args: tuple[object, ...] = ()
    """Positional arguments, as they came."""
    kwargs: Mapping[str, object] = attrs.field(factory=dict)
    """Keyword arguments, as they came."""
    retries: int = 0
    """How often the task has been retried."""
    eta: str | None = None
    """As it stands in the message, ISO 8601."""
    expires: str | None = None
    """As it stands in the message, ISO 8601."""
    timelimit: tuple[float | None, float | None] = (None, None)
    """Hard and soft limit of the message, in seconds."""
    headers: Mapping[str, Any] = attrs.field(factory=dict)
    """All headers of the message."""
    properties: Mapping[str, Any] = attrs.field(factory=dict)
    """The message's properties."""
    delivery_info: Mapping[str, Any] = attrs.field(factory=dict)
    """``exchange``, ``routing_key``, ``priority``, ``redelivered``."""
    queue: str | None = None
    """The queue the message was taken from."""
    hostname: str | None = None
    """The worker's node name."""
    root_id: str | None = None
    """The id of the first task of the chain of calls that led here."""
    parent_id: str | None = None
    """The id of the task that sent this one."""
    group: str | None = None
    """The id of the group it belongs to."""
    reply_to: str | None = None
    correlation_id: str | None = None
    ignore_result: bool = False
    """Whether the result of this run is not stored."""
    is_eager: bool = False
    """Always False: tasks are not run in the caller's process by ``delay``."""
    called_directly: bool = True
    """Whether the function was called, rather than run from a message."""
    embed: Mapping[str, Any] = attrs.field(factory=dict)
    """Callbacks, errbacks and chain, as in the message."""
    sent: list[str] = attrs.field(factory=list)
    """The ids of the tasks that this run has sent."""
    retry_messages: list[Outgoing] = attrs.field(factory=list)
    """What ``self.retry()`` asked for; sent when the run is over, where no time limit can interrupt it."""


@record(kw_only=True)
class Running:
    """A task and the request it works on."""

    task: object
    """Which `Task`."""
    request: Request
    """What it sees as its own."""
    job: Request | None
    """The request that came from a message: its own, or that of the task which called it directly."""


_current: ContextVar[Running | None] = ContextVar("worker_kernel.running", default=None)
"""Per thread, greenlet and asyncio task; context variables have to live in a module."""


def current_request(task: object) -> Request:
    """Return the request that ``task`` works on here; a blank one where it was called directly, or not at all."""
    running = _current.get()
    return running.request if running is not None and running.task is task else Request()


def running_task() -> Request | None:
    """Return the request of whatever task runs here from a message, or None."""
    running = _current.get()
    return running.job if running is not None else None


class working_on:  # noqa: N801  (reads as what it does: with working_on(task, request))
    """Makes ``request`` the one that ``task`` sees as its own, in this thread, greenlet or asyncio task."""

    __slots__ = ("_running", "_token")

    def __init__(self, task: object, request: Request) -> None:
        job = running_task() if request.called_directly else request
        self._running = Running(task=task, request=request, job=job)

    def __enter__(self) -> None:
        self._token = _current.set(self._running)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
