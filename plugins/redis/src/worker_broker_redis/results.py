"""The result store: Celery's keys, Celery's layout, and its way to tell who waits."""

from __future__ import annotations

import json
import math
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from worker_kernel import LeaseLost, ResultStore, StoreUnavailable

from . import chords, scripts
from .address import Address
from .connections import LOST, disconnect, pool
from .queues import SEPARATOR, Keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker_kernel import ChordPart, Fence, JoinedChord

READY_STATES = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
PREFIX = "celery-task-meta-"
SAFETY_NET = 5.0
"""Seconds after which a waiting reader looks anyway."""
RETRIES = 2
"""Times that a command is tried again on a new connection: a stored result stays the same when stored twice."""


class RedisResultStore(ResultStore):
    """Results of tasks as Celery keeps them: ``SETEX celery-task-meta-<id>``, and ``PUBLISH`` to that channel.

    Thread-safe; connected on first use, and anew in a forked child. Each `wait` has a connection of its own while it
    waits. Keeps chords.
    """

    keeps_chords = True

    def __init__(self, url: str, expires: float | None = None) -> None:
        """Remember where the server is; nothing is connected.

        Args:
            url: As the broker's.
            expires: Seconds for which a result is kept, rounded up; None, 0 or inf: for ever.

        Raises:
            InvalidUrl: see `Address.from_url`.
        """
        self.address = Address.from_url(url)
        """The server and the options."""
        self.expires = math.ceil(expires) if expires and math.isfinite(expires) else None
        """Seconds; None: for ever."""
        self._keys = Keys("")
        self._lock = threading.Lock()
        self._client: Any = None

    def store(self, meta: Mapping[str, object], *, fence: Fence | None = None) -> None:
        """Write a task's state, and tell who waits. A SUCCESS that is there stays, as with Celery.

        Args:
            meta: Celery's layout, with ``task_id`` and ``status``; safe for JSON.
            fence: Proof that the message is in no other hands, looked at in the step that writes. One of another
                authority than this database proves nothing here and is not looked at.

        Raises:
            LeaseLost: the message has passed into other hands; nothing was written.
            StoreUnavailable: the server does not serve.
        """
        task_id, status = str(meta["task_id"]), str(meta["status"])
        holder = identity = ""
        if fence is not None and fence.authority == self.address.authority:
            holder, _, identity = fence.token.partition(SEPARATOR)
        keys = [PREFIX + task_id, self._keys.holders]
        arguments = [json.dumps(dict(meta)), self.expires or 0, identity, holder]
        said = self._run(scripts.STORE, keys, arguments)
        if said == b"late":
            raise LeaseLost(
                f"the result of task {task_id} ({status}) came after its message had passed into other hands: "
                "it was not stored"
            )

    def get(self, task_id: str) -> dict[str, Any] | None:
        """The task's state as it was stored; None when there is none, or it has expired.

        Raises:
            StoreUnavailable: the server does not serve, or holds something else under the key.
        """
        with self._server() as client:
            return _meta(client.get(PREFIX + task_id))

    def wait(self, task_id: str, timeout: float | None = None) -> dict[str, Any] | None:
        """Block until the task has succeeded, failed or was revoked, and return its state.

        Args:
            task_id: The task.
            timeout: Seconds, 0 or more; None: for ever.

        Returns:
            The state, or None when it was not final in time.

        Raises:
            StoreUnavailable: the server does not serve.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        found = self.get(task_id)
        if _is_final(found) or time.monotonic() >= deadline:
            return found if _is_final(found) else None
        with self._server() as client, client.pubsub() as subscriber:
            subscriber.subscribe(PREFIX + task_id)
            subscriber.get_message(timeout=self.address.socket_timeout)  # what comes from now on is told
            while True:
                found = _meta(client.get(PREFIX + task_id))
                left = deadline - time.monotonic()
                if _is_final(found) or left <= 0:
                    return found if _is_final(found) else None
                subscriber.get_message(timeout=min(left, SAFETY_NET))

    def forget(self, task_id: str) -> None:
        """Remove what is stored of the task, if anything, a SUCCESS too.

        Raises:
            StoreUnavailable: the server does not serve.
        """
        with self._server() as client:
            client.delete(PREFIX + task_id)

    def chord_size(self, group_id: str, size: int) -> None:
        """See `ResultStore.chord_size`."""
        with self._server() as client:
            chords.begin(client, group_id, size, self.expires)

    def chord_part(self, part: ChordPart) -> JoinedChord | None:
        """See `ResultStore.chord_part`; parts that Celery's workers have brought count as well."""
        return chords.bring(self._run, part, self.expires)

    def chord_sent(self, joined: JoinedChord) -> None:
        """See `ResultStore.chord_sent`."""
        chords.sent(self._run, joined)

    def close(self) -> None:
        """Disconnect. Idempotent; the next use connects again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            disconnect(client.connection_pool)

    def _run(self, script: scripts.Script, keys: list[str], arguments: list[Any]) -> Any:
        with self._server() as client:
            try:
                return client.evalsha(script.sha, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:
                return client.eval(script.text, len(keys), *keys, *arguments)

    @contextmanager
    def _server(self) -> Iterator[Any]:
        try:
            with self._lock:
                if self._client is None:
                    retry = Retry(ExponentialBackoff(cap=1.0, base=0.05), RETRIES)
                    self._client = redis.Redis(connection_pool=pool(self.address, retry=retry))
                client = self._client
            yield client
        except (redis.exceptions.RedisError, *LOST) as error:
            raise StoreUnavailable(f"the result store at {self.address.authority} does not serve: {error}") from error


def _meta(value: bytes | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        return dict(json.loads(value))
    except (ValueError, TypeError) as error:
        raise StoreUnavailable(f"what is stored is no result in JSON: {error}") from error


def _is_final(meta: Mapping[str, object] | None) -> bool:
    return meta is not None and meta.get("status") in READY_STATES
