"""``rpc://``: results are sent to who asked, as Celery's backend of that name does, and kept nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import kombu

from ..application import Envelope, Fence
from ..errors import BrokerUnavailable, StoreUnavailable
from .message import WireMessage
from .meta import READY_STATES, SUCCESS, Meta
from .publishing import Publisher
from .results import ResultStore

REMEMBERED = 10_000
"""Tasks whose last known state is kept here; of the oldest nothing is known any more, as if they had expired."""
TURN = 1.0
"""Seconds that one thread reads for all that wait, before another may take over."""
MOMENT = 0.05
"""Seconds that a look which is not to wait may take."""


class ReplyStore(ResultStore):
    """Sends each state to the queue that the message's ``reply_to`` names, and reads those that come to its own.

    A state can be read only through the application object that sent the task, in the same process; there are no
    groups and no chords. A message without ``reply_to`` has its result dropped. The queue of replies outlives lost
    connections; it is deleted by `close`, or by the broker after ``expires`` seconds without a reader.

    Thread-safe: of the threads that wait, one reads for all. A forked child has a queue of its own.
    """

    def __init__(
        self, url: str, expires: float | None = None, *, publisher: Publisher, connect: Callable[[], Any]
    ) -> None:
        """Remember how to send and to connect; nothing is opened.

        Args:
            url: ``rpc://``; the broker is the application's.
            expires: seconds for which an unread result is kept in the broker; None or 0: for ever.
            publisher: sends the states.
            connect: returns an unconnected ``kombu.Connection``.
        """
        self._expires = expires or None
        self._publisher = publisher
        self._connect = connect
        self._begin()
        self._left_to_parent: list[Any] = []

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._metas: OrderedDict[str, Meta] = OrderedDict()
        self._reading = False
        self._queue: str | None = None
        self._connection: Any = None
        self._consumer: Any = None

    @property
    def reply_to(self) -> str:
        """The queue that replies to this process are sent to; declared on first use.

        Raises:
            StoreUnavailable: the broker cannot be reached.
        """
        with self._mine():
            if self._queue is None:
                name = str(uuid.uuid4())
                with self._troubles("declare its queue"), self._connect() as connection:
                    self._replies(name)(connection.default_channel).declare()
                self._queue = name
            return self._queue

    def reply(self, meta: Mapping[str, object], envelope: Envelope) -> None:
        """Send a state to whoever sent the message; nothing where it names nobody.

        Raises:
            StoreUnavailable: the broker did not take it.
        """
        address = envelope.properties.get("reply_to")
        if not isinstance(address, str) or not address:
            return
        message = WireMessage(
            headers={},
            properties={"correlation_id": str(meta["task_id"]), "delivery_mode": 1},
            body=json.dumps(meta).encode("utf-8"),
            content_type="application/json",
            content_encoding="utf-8",
            compression=None,
        )
        try:
            self._publisher.publish(message, address, policy=None, declare=False)
        except BrokerUnavailable as exc:
            raise StoreUnavailable(f"the result cannot be sent to {address}: {exc}") from exc

    def store(self, meta: Mapping[str, object], *, fence: Fence | None = None) -> None:
        """See `ResultStore.store`: what was not asked for by a message can only be remembered here."""
        with self._mine():
            self._remember(dict(meta))

    def get(self, task_id: str) -> Meta | None:
        """See `ResultStore.get`: the last state that has come."""
        with self._mine():
            if self._queue is None:
                return self._metas.get(task_id)
        self._take_turn(MOMENT)
        with self._changed:
            return self._metas.get(task_id)

    def wait(self, task_id: str, timeout: float | None = None) -> Meta | None:
        """See `ResultStore.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._mine():
                meta = self._metas.get(task_id)
            if meta is not None and meta["status"] in READY_STATES:
                return meta
            left = TURN if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return None
            self._take_turn(min(left, TURN))

    def forget(self, task_id: str) -> None:
        """See `ResultStore.forget`."""
        with self._mine():
            self._metas.pop(task_id, None)

    def close(self) -> None:
        """See `ResultStore.close`. The queue of replies goes with it, and with it what is on its way."""
        with self._mine():
            name, self._queue = self._queue, None
            connection, self._connection, self._consumer = self._connection, None, None
        if name is None:
            return
        with contextlib.suppress(StoreUnavailable), self._troubles("delete its queue"):
            if connection is not None:
                connection.close()
            with self._connect() as other:
                self._replies(name)(other.default_channel).delete()

    # -- reading ----------------------------------------------------------------------------------------------------

    def _take_turn(self, seconds: float) -> None:
        """Read for at most ``seconds``, or wait as long for the thread that does."""
        with self._mine():
            if self._reading:
                self._changed.wait(seconds)
                return
            self._reading = True
        try:
            self._read(seconds)
        finally:
            with self._changed:
                self._reading = False
                self._changed.notify_all()

    def _read(self, seconds: float) -> None:
        with self._troubles("read its queue"):
            try:
                if self._consumer is None:
                    self._open()
                self._connection.drain_events(timeout=seconds)
                while seconds == MOMENT:  # all that is there, for one that does not wait
                    self._connection.drain_events(timeout=MOMENT)
            except TimeoutError:
                pass
            except BaseException:
                connection, self._connection, self._consumer = self._connection, None, None
                if connection is not None:
                    connection.collect()
                raise

    def _open(self) -> None:
        queue = self._replies(self.reply_to)
        self._connection = self._connect()
        channel = self._connection.default_channel
        self._consumer = kombu.Consumer(channel, [queue], on_message=self._on_message, no_ack=False)
        self._consumer.consume()

    def _on_message(self, message: Any) -> None:
        try:
            meta = json.loads(message.body)
            known = isinstance(meta, dict) and isinstance(meta["task_id"], str) and isinstance(meta["status"], str)
        except (ValueError, KeyError, TypeError):
            known = False  # anybody can send to a queue
        if known:
            with self._changed:
                self._remember({"result": None, **meta})
                self._changed.notify_all()
        message.ack()  # only now: what is on its way when the connection is cut comes again

    def _remember(self, meta: Meta) -> None:
        task_id = str(meta["task_id"])
        old = self._metas.pop(task_id, None)
        self._metas[task_id] = old if old is not None and old["status"] == SUCCESS else meta
        while len(self._metas) > REMEMBERED:
            self._metas.popitem(last=False)

    def _replies(self, name: str) -> Any:
        return kombu.Queue(name, exchange=kombu.Exchange(""), routing_key=name, durable=True, expires=self._expires)

    def _mine(self) -> threading.Condition:
        if self._pid != os.getpid():
            # A forked child: see Publisher.
            self._left_to_parent.append((self._connection, self._consumer))
            self._begin()
        return self._changed

    @contextlib.contextmanager
    def _troubles(self, what: str) -> Any:
        try:
            yield
        except TimeoutError:
            raise
        except Exception as exc:
            raise StoreUnavailable(f"the result store rpc:// cannot {what}: {type(exc).__name__}: {exc}") from exc
