"""What the worker knows of an application: a small protocol, so that others than ours can be adapted by a plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from .job import Job
from .outcome import Outcome
from .records import record
from .settings import Settings

if TYPE_CHECKING:
    from .plugins.loading import Plugins


@record(kw_only=True)
class Fence:
    """Proves to a result store that the message is still ours: a store of the same authority refuses a stale token."""

    authority: str
    """Who can judge the token: for the embedded broker the canonical path of its file."""
    token: str
    """Unique for each delivery."""


@attrs.frozen(kw_only=True)
class TaskOptions:
    """What the worker needs to know of a task. Options that are None fall back to the worker's settings."""

    name: str
    """The task's name."""
    acks_late: bool = True
    """Acknowledge after the run (at least once) or, when False, before it (at most once)."""
    acks_on_failure: bool = True
    """With ``acks_late``: acknowledge also when the task failed; False rejects the message without requeueing it."""
    acks_on_timeout: bool = True
    """With ``acks_late``: acknowledge also when the hard limit ended the task; False hands it back, to be run again."""
    reject_on_worker_lost: bool = True
    """Hand the message back when whatever ran the task died; False is Celery's default: FAILURE at the first loss."""
    rate_limit: str | None = None
    """``"10"``, ``"10/s"``, ``"10/m"``, ``"10/h"``; None: no limit."""
    soft_time_limit: float | None = None
    """Seconds."""
    time_limit: float | None = None
    """Seconds."""
    is_async: bool = False
    """Whether its function is ``async def``."""
    workload: str | None = None
    """``cpu``: it computes; ``io``: it waits most of the time; None: it does not say. ``-P auto`` asks."""


@record(kw_only=True)
class Envelope:
    """A message as far as its headers tell. The body is kept as it came, and decoded where the task runs."""

    id: str
    """The task id."""
    task: str
    """The task's name."""
    queue: str
    """The queue it was taken from."""
    headers: Mapping[str, Any]
    """All headers as they came (version 2), or as built from a version 1 body."""
    body: bytes | str | memoryview
    """The raw body."""
    content_type: str
    """For example ``application/json``."""
    content_encoding: str
    """For example ``utf-8``."""
    properties: Mapping[str, Any]
    """The message's properties (``reply_to``, ``correlation_id``, ``priority``, ...)."""
    delivery_info: Mapping[str, Any]
    """Exchange and routing key."""
    retries: int = 0
    """How often the task has been retried."""
    eta: datetime | None = None
    """Not to be run before this (aware)."""
    expires: datetime | None = None
    """Not to be run after this (aware)."""
    soft_time_limit: float | None = None
    """From the message's ``timelimit`` header, in seconds."""
    time_limit: float | None = None
    """From the message's ``timelimit`` header, in seconds."""
    redelivered: bool = False
    """Whether the broker delivered it before."""
    attempts: int = 0
    """Earlier starts that never settled, where the broker counts them."""
    fence: Fence | None = None
    """Proof that the message is ours, where the transport has one."""
    wire: bytes | None = attrs.field(default=None, eq=False, repr=False)
    """The whole message as one text, where its transport has that: another process can read all of it from there."""


@attrs.frozen(kw_only=True)
class BrokerInfo:
    """What loop choice and the banner need to know of the broker, without connecting to it."""

    url: str
    """With the password masked."""
    driver: str
    """``sqlite``, ``redis``, ``amqp``, ..."""
    asynchronous: bool
    """Whether the transport can be driven by the hub."""


class Application(Protocol):
    """What the worker runs. One worker has one application.

    Until `configure` nothing may be connected or opened. Methods are called on the loop's thread unless they say
    otherwise.
    """

    name: str
    """For the banner."""
    origin: str | None
    """``module:attr`` by which another process can load the same application; None where there is no such name."""

    def declared_settings(self) -> Mapping[str, object]:
        """Return the settings that the application's code gave, by name."""
        ...

    def configure(self, settings: Settings, plugins: Plugins, *, join_blocks: bool = True) -> None:
        """Take over the effective settings. Called once, before anything else but `declared_settings` and `tasks`.

        Args:
            settings: the effective settings.
            plugins: where transports and result stores are looked up.
            join_blocks: whether waiting for a result inside a task must be refused (see `Capabilities.join_blocks`).
        """
        ...

    def tasks(self) -> Mapping[str, TaskOptions]:
        """Return all tasks by name, sorted."""
        ...

    def broker(self) -> BrokerInfo:
        """Describe the broker without connecting to it.

        Raises:
            UsageError: the URL names no known transport.
        """
        ...

    def connection(self) -> Any:
        """Return a new, unconnected ``kombu.Connection`` to the broker."""
        ...

    def queues(self) -> Sequence[Any]:
        """Return the ``kombu.Queue`` objects to consume from."""
        ...

    def parse(self, message: Any) -> Envelope:
        """Read a ``kombu.Message`` by its headers only; a version 1 body is decoded, JSON only, size-limited.

        Raises:
            MessageInvalid: it cannot be understood. No other exception escapes, whatever the message holds.
        """
        ...

    def job(self, envelope: Envelope, options: TaskOptions) -> Job:
        """Return the job that runs the task."""
        ...

    def report(self, envelope: Envelope, outcome: Outcome) -> Job:
        """Return a job that stores ``outcome`` as the task's fate and sends its errbacks; it runs no task."""
        ...

    def job_from_frame(self, frame: bytes) -> Job:
        """Return the job that `Job.to_frame` wrote, possibly in another process."""
        ...

    def preload(self) -> None:
        """Import what jobs need beside the tasks, so that processes that are forked afterwards share it.

        Opens and connects nothing. What cannot be imported is not told here: `check_result_store` does.
        """
        ...

    def check_result_store(self) -> None:
        """Open the result store, so that a wrong URL shows at boot.

        Raises:
            StoreUnavailable: it cannot be opened, or does not exist.
        """
        ...

    def close(self) -> None:
        """Close the result store and connections. Idempotent."""
        ...
