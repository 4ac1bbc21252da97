"""The application: where tasks are declared, sent from, and what a worker runs."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar, Unpack, cast, overload

from ..application import BrokerInfo, Envelope, TaskOptions
from ..clock import Clock, SystemClock
from ..core_settings import CORE_SETTINGS
from ..errors import KernelError, TaskNotRegistered, UsageError
from ..job import Job
from ..outcome import Outcome
from ..plugins.loading import Plugins
from ..settings import Settings
from ..sources import read_settings
from . import frames
from .body import Body
from .configuration import Configuration
from .context import Outgoing, Request, running_task
from .envelope import parse
from .execute import TaskJob
from .message import Invocation, SendOptions, compose
from .meta import header_text
from .naming import find_origin, nearest, task_name
from .replies import ReplyStore
from .report import ReportJob
from .results import AsyncResult, ResultStore
from .task import Declaration, Task

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("worker_kernel.tasks")

_FALLBACK = {
    "acks_late": "task_acks_late",
    "acks_on_failure": "task_acks_on_failure",
    "acks_on_timeout": "task_acks_on_timeout",
    "reject_on_worker_lost": "task_reject_on_worker_lost",
    "rate_limit": "task_default_rate_limit",
}


class App:
    """Tasks, and the broker and result store that they go through. Satisfies the `Application` protocol.

    Making one reads and connects nothing: settings are read when they are first needed, or handed over by the worker.
    Thread-safe. Connections belong to the process that opened them; a forked child opens its own.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        broker_url: str | None = None,
        result_backend: str | None = None,
        **settings: Any,
    ) -> None:
        """Make an application.

        Args:
            name: for the banner, and for the names of tasks in a shell; None: the module's name.
            broker_url: None: as the file or the environment say, else the embedded broker.
            result_backend: None: as the file or the environment say, else the broker's own store.
            **settings: any setting, see ``kernel settings``. What is wrong with them is told when they are read.
        """
        caller = str(sys._getframe(1).f_globals.get("__name__", ""))  # noqa: SLF001  (inspect.stack reads source files)
        self.name = name or caller.rpartition(".")[2] or "app"
        self.clock: Clock = SystemClock()
        """Where the time comes from; tests may replace it."""
        self.join_blocks = True
        """Whether waiting for a result inside a task is refused."""
        self._main = name
        self._module = caller
        self._origin: str | None = None
        given = {"broker_url": broker_url, "result_backend": result_backend, **settings}
        self._declared = {key: value for key, value in given.items() if value is not None}
        self._tasks: dict[str, Task[..., Any]] = {}
        self._options: Mapping[str, TaskOptions] | None = None
        self._lock = threading.RLock()
        self._configuration: Configuration | None = None

    # -- tasks ------------------------------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, R]) -> Task[P, R]: ...

    @overload
    def task(self, **options: Any) -> Callable[[Callable[..., R]], Task[..., R]]: ...

    def task(self, function: Any = None, **options: Any) -> Any:
        """Declare a task: ``@app.task`` or ``@app.task(name=..., bind=True, ...)``, see `Declaration`.

        Raises:
            TypeError: an option is unknown; names the closest.
            ValueError: an option is out of range.
            UsageError: another function has that name already.
        """
        if function is None:
            Declaration.read(options)  # where the mistake is, not where the function ends
            return functools.partial(self._register, options=options)
        return self._register(function, options=options)

    def _register(self, function: Callable[..., R], options: Mapping[str, Any]) -> Task[..., R]:
        declaration = Declaration.read(options)
        name = declaration.name or task_name(function.__module__, function.__qualname__, self._main)
        task: Task[..., R] = Task(self, function, name, declaration)
        with self._lock:
            known = self._tasks.get(name)
            if known is not None and _place(known.function) != _place(function):
                raise UsageError(
                    f"two functions want to be the task {name!r}: {_place(known.function)} and {_place(function)}\n"
                    "give one of them another name with @app.task(name=...)"
                )
            self._tasks[name] = task
            self._options = None
        return task

    def find_task(self, name: str) -> Task[..., Any]:
        """Return a task by name.

        Raises:
            TaskNotRegistered: there is none; names the closest.
        """
        task = self._tasks.get(name)
        if task is None:
            close = nearest(name, self._tasks)
            hint = f"; did you mean {close!r}?" if close else ""
            raise TaskNotRegistered(f"application {self.name!r} has no task {name!r}{hint}")
        return task

    # -- sending ----------------------------------------------------------------------------------------------------

    def send_task(
        self,
        name: str,
        args: Sequence[object] | None = None,
        kwargs: Mapping[str, object] | None = None,
        **options: Unpack[SendOptions],
    ) -> AsyncResult:
        """Send a task by name; this application need not have it.

        Raises:
            TypeError: the arguments cannot be serialised, or an option is unknown.
            ValueError: an option is out of range.
            BrokerUnavailable: the broker cannot be reached.
        """
        invocation = self.plan(name, args, kwargs, **options)
        self._configured().publisher.publish(
            compose(invocation), invocation.queue, policy=invocation.retry_policy if invocation.retry else None
        )
        running = running_task()
        if running is not None:
            running.sent.append(invocation.id)
        return AsyncResult(invocation.id, self)

    def plan(
        self,
        name: str,
        args: Sequence[object] | None,
        kwargs: Mapping[str, object] | None,
        *,
        retries: int = 0,
        **options: Unpack[SendOptions],
    ) -> Invocation:
        """Return the checked call; nothing is sent. A call made inside a task becomes its child. See `send_task`."""
        settings = self.settings
        running = running_task()
        given = dict(options)
        if given.get("ignore_result") is None:
            given["ignore_result"] = settings.get_bool("task_ignore_result")
        given["serializer"] = given.get("serializer") or settings.get_str("task_serializer")
        if given.get("retry") is None:
            given["retry"] = settings.get_bool("task_publish_retry")
        given["retry_policy"] = {
            **cast("Mapping[str, Any]", settings["task_publish_retry_policy"]),
            **cast("Mapping[str, Any]", given.get("retry_policy") or {}),
        }
        if running is not None:
            given["root_id"] = given.get("root_id") or running.root_id or running.id
            given["parent_id"] = given.get("parent_id") or running.id
        if not given.get("reply_to"):
            given["reply_to"] = self._reply_to(running)
        zone = self._configured().zone
        return Invocation.plan(
            name,
            args,
            kwargs,
            now=self.clock.wall(),
            default_queue=settings.get_str("task_default_queue") or "celery",
            retries=retries,
            zone=zone,
            written_in=UTC if settings.get_bool("enable_utc") else zone,
            **cast("SendOptions", given),
        )

    def _reply_to(self, running: Request | None) -> str | None:
        """Return where a result is to be sent: to who sent the running task, else here, where results are replies."""
        if running is not None and running.reply_to:
            return running.reply_to
        store = self.result_store()
        return store.reply_to if isinstance(store, ReplyStore) else None

    def send(self, outgoing: Outgoing) -> None:
        """Send a finished message, trying again as the settings say.

        Raises:
            BrokerUnavailable: the broker cannot be reached.
        """
        settings = self.settings
        policy = cast("Mapping[str, float | None]", settings["task_publish_retry_policy"])
        self._configured().publisher.publish(
            outgoing.message, outgoing.queue, policy=policy if settings.get_bool("task_publish_retry") else None
        )

    def AsyncResult(self, id: str) -> AsyncResult:  # noqa: A002, N802  (Celery's names)
        """Return the result of the task with this id; nothing is looked up yet."""
        return AsyncResult(id, self)

    # -- the Application protocol -----------------------------------------------------------------------------------

    @property
    def origin(self) -> str | None:
        """See `Application.origin`. Set by whoever loaded the application, else searched for."""
        if self._origin is None:
            self._origin = find_origin(self, self._module)
        return self._origin

    @origin.setter
    def origin(self, value: str | None) -> None:
        self._origin = value

    def declared_settings(self) -> Mapping[str, object]:
        """See `Application.declared_settings`."""
        return dict(self._declared)

    def configure(self, settings: Settings, plugins: Plugins, *, join_blocks: bool = True) -> None:
        """See `Application.configure`. What was read or opened before is dropped."""
        with self._lock:
            self.close()
            self.join_blocks = join_blocks
            self._options = None
            self._configuration = Configuration(settings, plugins)

    @property
    def settings(self) -> Settings:
        """The effective settings: the worker's, or read now from code, file and environment.

        Raises:
            SettingsError: one or more are wrong.
        """
        return self._configured().settings

    def tasks(self) -> Mapping[str, TaskOptions]:
        """See `Application.tasks`. Before `configure`, options that tasks leave open have their defaults."""
        options = self._options
        if options is None:
            with self._lock:
                configuration = self._configuration
                settings = None if configuration is None else configuration.settings
                fallback = {} if settings is None else {option: settings[name] for option, name in _FALLBACK.items()}
                known = {name: task.options(fallback) for name, task in sorted(self._tasks.items())}
                options = self._options = MappingProxyType(known)
        return options

    def broker(self) -> BrokerInfo:
        """See `Application.broker`."""
        return self._configured().address.info

    def connection(self) -> Any:
        """See `Application.connection`."""
        return self._configured().connection()

    def queues(self) -> Sequence[Any]:
        """See `Application.queues`: those of ``-Q`` or the default one, without those of ``-X``.

        Raises:
            UsageError: nothing is left.
        """
        settings = self.settings
        names = cast("Sequence[str]", settings["worker_queues"] or (settings.get_str("task_default_queue"),))
        excluded = cast("Sequence[str]", settings["worker_exclude_queues"] or ())
        left = [name for name in dict.fromkeys(names) if name not in excluded]
        if not left:
            raise UsageError(
                f"no queue is left to consume from: {', '.join(names)} without {', '.join(excluded)}\n"
                "name others with -Q, or take some from -X"
            )
        return [self._configured().queue(name) for name in left]

    def parse(self, message: Any) -> Envelope:
        """See `Application.parse`."""
        return parse(message, self._configured().zone)

    def job(self, envelope: Envelope, options: TaskOptions) -> Job:
        """See `Application.job`."""
        return TaskJob(self, envelope, options)

    def report(self, envelope: Envelope, outcome: Outcome) -> Job:
        """See `Application.report`."""
        return ReportJob(self, envelope, outcome)

    def job_from_frame(self, frame: bytes) -> Job:
        """See `Application.job_from_frame`."""
        envelope, outcome = frames.unpack(frame, self._configured().zone)
        if outcome is not None:
            return self.report(envelope, outcome)
        options = self.tasks().get(envelope.task)
        # A task that this process lacks fails in `Job.prepare`, with its name.
        return self.job(envelope, options or TaskOptions(name=envelope.task))

    def preload(self) -> None:
        """See `Application.preload`."""
        import kombu.connection  # noqa: F401

        with contextlib.suppress(KernelError):
            self.result_store()

    def check_result_store(self) -> None:
        """See `Application.check_result_store`."""
        store = self.result_store()
        if store is not None:
            store.get("worker-kernel-check")

    def close(self) -> None:
        """See `Application.close`. What is asked for afterwards is opened again."""
        configuration = self._configuration
        if configuration is not None:
            configuration.close()

    # -- for jobs and results ---------------------------------------------------------------------------------------

    def result_store(self) -> ResultStore | None:
        """Return the result store, not necessarily opened; None where results are not kept.

        Raises:
            StoreUnknown: ``result_backend`` names a store that does not exist.
            PluginBroken: its plugin cannot be loaded.
        """
        return self._configured().result_store()

    def ignores_result(self, envelope: Envelope) -> bool:
        """Whether the result of this message is not to be stored: by its header, its task, the setting."""
        said = envelope.headers.get("ignore_result")
        if not isinstance(said, bool):
            task = self._tasks.get(envelope.task)
            said = None if task is None else task.declaration.ignore_result
        return self._configured().ignores_results if said is None else said

    def tracks_started(self) -> bool:
        """Whether STARTED is stored."""
        return self._configured().tracks_started

    def accepted_types(self) -> frozenset[str]:
        """Return the content types that bodies may have.

        Raises:
            SettingsError: ``accept_content`` names a serializer that kombu does not know.
        """
        return self._configured().accepted_types

    @property
    def node_name(self) -> str:
        """The worker's name, as far as the settings tell."""
        return self._configured().node_name

    def request_of(self, envelope: Envelope, body: Body) -> Request:
        """Return what the task sees of its message."""
        headers, properties = envelope.headers, envelope.properties
        limits = headers.get("timelimit")
        return Request(
            id=envelope.id,
            task=envelope.task,
            args=body.args,
            kwargs=body.kwargs,
            retries=envelope.retries,
            eta=None if envelope.eta is None else envelope.eta.isoformat(),
            expires=None if envelope.expires is None else envelope.expires.isoformat(),
            timelimit=(envelope.time_limit, envelope.soft_time_limit) if limits else (None, None),
            headers=headers,
            properties=properties,
            delivery_info=envelope.delivery_info,
            queue=envelope.queue or None,
            hostname=self.node_name,
            root_id=header_text(headers, "root_id") or envelope.id,
            parent_id=header_text(headers, "parent_id"),
            group=header_text(headers, "group"),
            reply_to=properties.get("reply_to"),
            correlation_id=properties.get("correlation_id"),
            ignore_result=self.ignores_result(envelope),
            called_directly=False,
            embed=body.embed,
        )

    def __repr__(self) -> str:
        return f"<App: {self.name}>"

    def _configured(self) -> Configuration:
        configuration = self._configuration
        if configuration is None:
            with self._lock:
                if self._configuration is None:
                    self._configuration = self._read()
                    self._options = None
                configuration = self._configuration
        return configuration

    def _read(self) -> Configuration:
        plugins = Plugins.load()
        settings, warnings = read_settings([*CORE_SETTINGS, *plugins.settings], app=self._declared, app_name=self.name)
        for warning in warnings:
            log.warning(warning)
        return Configuration(settings, plugins)


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{function.__module__}.{function.__qualname__}{where}"
