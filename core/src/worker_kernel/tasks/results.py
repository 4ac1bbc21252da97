"""Results: where they are kept (`ResultStore`, from plugins) and how a caller waits for one (`AsyncResult`)."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..application import Fence
from ..errors import StoreUnavailable, Unsupported
from .context import running_task
from .meta import EXCEPTION_STATES, FAILURE, PENDING, READY_STATES, REVOKED, SUCCESS, Meta, exception_from, revived

if TYPE_CHECKING:
    from .app import App
    from .chords import ChordPart, JoinedChord


class ResultStore(abc.ABC):
    """Keeps what became of tasks, in Celery's layout (see `meta.Meta`).

    Thread-safe. Opened on first use, per process: a store that was made before a fork opens anew in the child. A
    plugin's store need not inherit from this class; it must do what it says.
    """

    @abc.abstractmethod
    def __init__(self, url: str, expires: float | None = None) -> None:
        """Remember where the store is; nothing is opened.

        Args:
            url: as the user wrote it.
            expires: seconds for which a result is kept; None or 0: for ever.

        Raises:
            UsageError: the URL cannot be understood.
        """

    @abc.abstractmethod
    def store(self, meta: Mapping[str, object], *, fence: Fence | None = None) -> None:
        """Write a task's state. A SUCCESS that is there stays, as with Celery.

        Args:
            meta: JSON-safe, with ``task_id`` and ``status``.
            fence: proof that the message is still the caller's; one of another authority is not looked at.

        Raises:
            LeaseLost: the message has passed into other hands; nothing was written.
            StoreUnavailable: the store does not serve at the moment.
        """

    @abc.abstractmethod
    def get(self, task_id: str) -> Meta | None:
        """Return the task's state as it was stored; None where there is none, or it has expired.

        Raises:
            StoreUnavailable: the store does not serve at the moment.
        """

    @abc.abstractmethod
    def wait(self, task_id: str, timeout: float | None = None) -> Meta | None:
        """Block until the task's state is final and return it; None when it was not within ``timeout`` seconds.

        Raises:
            StoreUnavailable: the store does not serve at the moment.
        """

    @abc.abstractmethod
    def forget(self, task_id: str) -> None:
        """Remove what is stored of the task, if anything.

        Raises:
            StoreUnavailable: the store does not serve at the moment.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close the store. Idempotent; the next use opens it again."""

    keeps_chords: bool = False
    """Whether it counts the parts of chords; if so it has the three methods below."""

    def chord_size(self, group_id: str, size: int) -> None:
        """Say how many parts a chord waits for. Begins it anew where there was one of this id.

        Raises:
            StoreUnavailable: the store does not serve at the moment.
        """
        raise Unsupported("chords", type(self).__name__)

    def chord_part(self, part: ChordPart) -> JoinedChord | None:
        """Keep a part, once, and return all of them to the one caller who is to send the body; None to all others.

        A caller who got them and does not call `chord_sent` loses the right to send after a while; the next one who
        brings any part again, as a redelivered message does, has it then.

        Raises:
            StoreUnavailable: the store does not serve at the moment.
        """
        raise Unsupported("chords", type(self).__name__)

    def chord_sent(self, joined: JoinedChord) -> None:
        """Forget a chord whose body has been sent. Parts that come late are forgotten as well.

        Raises:
            StoreUnavailable: the store does not serve at the moment.
        """
        raise Unsupported("chords", type(self).__name__)


class AsyncResult:
    """What becomes of one task. Cheap to make, asks the store when it is asked; thread-safe.

    Every attribute but ``id`` raises `StoreUnavailable` where the app keeps no results.
    """

    def __init__(self, id: str, app: App) -> None:  # noqa: A002  (Celery's name)
        """Name a task.

        Args:
            id: the task's id; nothing is looked up.
            app: whose result store to ask.
        """
        self.id = id
        """The task's id."""
        self.app = app
        self._final: Meta | None = None

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        *,
        disable_sync_subtasks: bool = True,
    ) -> object:
        """Wait for the task to end and return its value.

        Args:
            timeout: seconds to wait (>= 0); None: for ever.
            propagate: raise the task's exception; False returns it instead.
            interval: taken because Celery's callers pass it; the store wakes us, nothing is polled.
            disable_sync_subtasks: False allows to wait inside a task on a pool where that occupies a slot.

        Raises:
            TimeoutError: the task did not end in time.
            RuntimeError: called inside a task, where waiting for another may wait for ever.
            StoreUnavailable: there is no result store, or it does not serve.
            Exception: the task's own, where it failed.
        """
        del interval
        if disable_sync_subtasks and running_task() and self.app.join_blocks:
            raise RuntimeError(
                f"result.get() of {self.id} inside a task waits in a slot for another slot, and may wait for ever; "
                "use link= or pass disable_sync_subtasks=False"
            )
        meta = self._final or self._store().wait(self.id, timeout)
        if meta is None:
            raise TimeoutError(f"task {self.id} did not end within {timeout} s")
        self._keep(meta)
        if meta["status"] not in EXCEPTION_STATES:
            return revived(meta["result"])
        failure = exception_from(meta["result"])
        if propagate:
            raise failure
        return failure

    wait = get
    """Celery's older name."""

    @property
    def state(self) -> str:
        """``PENDING``, ``STARTED``, ``RETRY``, ``SUCCESS``, ``FAILURE`` or ``REVOKED``."""
        return str(self._meta()["status"])

    @property
    def status(self) -> str:
        """The same as `state`."""
        return self.state

    @property
    def result(self) -> object:
        """The task's value, or the exception it raised; None while it has not ended."""
        meta = self._meta()
        return exception_from(meta["result"]) if meta["status"] in EXCEPTION_STATES else revived(meta["result"])

    @property
    def info(self) -> object:
        """The same as `result`."""
        return self.result

    @property
    def traceback(self) -> str | None:
        """The formatted traceback of a failed task, or None."""
        text = self._meta().get("traceback")
        return None if text is None else str(text)

    @property
    def date_done(self) -> datetime | None:
        """When the task ended (aware), or None."""
        text = self._meta().get("date_done")
        return datetime.fromisoformat(text) if isinstance(text, str) else None

    @property
    def children(self) -> list[AsyncResult]:
        """The tasks that this one sent, as far as it told before it ended."""
        children = self._meta().get("children") or ()
        return [AsyncResult(child[0][0], self.app) for child in children]

    def ready(self) -> bool:
        """Whether the task has ended."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """Whether the task has returned."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """Whether the task has failed."""
        return self.state == FAILURE

    def revoked(self) -> bool:
        """Whether the task was cancelled, or had expired."""
        return self.state == REVOKED

    def forget(self) -> None:
        """Remove what is stored of the task."""
        self._final = None
        self._store().forget(self.id)

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"

    def __str__(self) -> str:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _meta(self) -> Mapping[str, Any]:
        if self._final is not None:
            return self._final
        meta = self._store().get(self.id)
        if meta is None:
            return {"status": PENDING, "result": None}
        self._keep(meta)
        return meta

    def _keep(self, meta: Meta) -> None:
        if meta["status"] in READY_STATES:
            self._final = meta

    def _store(self) -> ResultStore:
        store = self.app.result_store()
        if store is None:
            raise StoreUnavailable(
                f"the result of {self.id} cannot be read: no result store is configured\n"
                "set result_backend, or use a broker that keeps results, such as sqlite:///"
            )
        return store
