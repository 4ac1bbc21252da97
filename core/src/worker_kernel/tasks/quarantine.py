"""The quarantine of a queue, seen by its operator: ``<queue>.quarantine``, read by headers alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import attrs
from kombu import Producer, Queue
from kombu.exceptions import OperationalError

from ..errors import BrokerUnavailable
from ..lazybody import keep_compressed
from ..markings import ATTEMPTS_HEADER, QUARANTINE_HEADER, QUARANTINE_SUFFIX, QUARANTINED_AT_HEADER

OWN_HEADERS = frozenset({QUARANTINE_HEADER, QUARANTINED_AT_HEADER, ATTEMPTS_HEADER, "x-delivery-count", "x-death"})
"""What is not sent again: a message that is retried has never been started."""
PROPERTIES = ("correlation_id", "reply_to", "priority", "delivery_mode", "message_id")
BEGINNING = 200
"""Bytes of the body that `Entry.detail` shows."""


@attrs.define(eq=False)
class Entry:
    """One message in quarantine."""

    queue: str
    """The queue that it was put aside from."""
    message: Any
    """The kombu message."""

    @property
    def headers(self) -> Mapping[str, Any]:
        """All of its headers."""
        return self.message.headers if isinstance(self.message.headers, Mapping) else {}

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its properties."""
        return self.message.properties if isinstance(self.message.properties, Mapping) else {}

    @property
    def id(self) -> str | None:
        """The task's id, as far as headers tell; None: they do not."""
        for found in (self.headers.get("id"), self.properties.get("correlation_id")):
            if isinstance(found, str) and found:
                return found
        return None

    @property
    def task(self) -> str | None:
        """The task's name; None: the headers do not tell."""
        name = self.headers.get("task")
        return name if isinstance(name, str) else None

    @property
    def damaged(self) -> bool:
        """Whether it is no message, only what stood in the place of one: it cannot be sent again."""
        return bool(getattr(self.message, "damaged", False))

    @property
    def reason(self) -> str:
        """Why it was put aside."""
        return str(self.headers.get(QUARANTINE_HEADER, ""))

    @property
    def since(self) -> float | None:
        """When it was put aside, in seconds since the epoch; None: whoever did it has not said."""
        since = self.headers.get(QUARANTINED_AT_HEADER)
        return float(since) if isinstance(since, (int, float)) else None

    def age_in_words(self) -> str:
        """Return how long it has been here: ``12 s``, ``3 min``, ``5 h``, ``2 d``; ``-`` where that is not known."""
        if self.since is None:
            return "-"
        age = max(0.0, time.time() - self.since)
        for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
            if age >= length:
                return f"{age / length:.0f} {unit}"
        return f"{age:.0f} s"

    def summary(self) -> dict[str, object]:
        """Return one row, JSON-safe."""
        return {"id": self.id, "task": self.task, "queue": self.queue, "since": self.since, "reason": self.reason}

    def detail(self) -> dict[str, object]:
        """Return all that is known without decoding the body."""
        body = self.body if isinstance(self.body, str) else bytes(self.body).decode(errors="replace")
        return {
            **self.summary(),
            "content_type": self.message.content_type,
            "content_encoding": self.message.content_encoding,
            "headers": dict(self.headers),
            "properties": dict(self.properties),
            "body_length": len(self.body),
            "body_begins": body[:BEGINNING],
        }

    @property
    def body(self) -> Any:
        """The body as it came, compressed where it is."""
        raw = getattr(self.message, "raw_body", self.message.body)
        return b"" if raw is None else raw


class Quarantine:
    """Goes through the messages of some quarantines, one after the other, and lets a caller decide. A context manager.

    Where the transport's channel has ``browse(queue)`` they stay where they are: it returns messages that nobody holds,
    whose `ack` takes them out, and which are ``damaged`` where they are none. Elsewhere they are taken into our hands,
    and what is not sent again or dropped goes back when the connection ends, however it ends.
    """

    def __init__(self, connection: Any, queues: Sequence[str], shown_url: str) -> None:
        """Remember where to look; nothing is connected before `each`."""
        self._connection = connection
        self._queues = queues
        self._shown_url = shown_url
        self._channel: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.release()

    def each(self, visit: Callable[[Entry], object]) -> None:
        """Show each message to ``visit``, which calls `retry` or `drop` for it or leaves it as it is.

        Raises:
            BrokerUnavailable: the broker cannot be reached, or refuses.
        """
        troubles = (OperationalError, OSError, *self._connection.connection_errors, *self._connection.channel_errors)
        try:
            for queue in self._queues:
                self._each_of(queue, visit)
        except troubles as exc:
            raise BrokerUnavailable(
                f"the broker {self._shown_url} cannot be reached: {type(exc).__name__}: {exc}\n"
                "check that it runs, and -b"
            ) from exc

    def _each_of(self, queue: str, visit: Callable[[Entry], object]) -> None:
        count = self._size(queue + QUARANTINE_SUFFIX)
        if not count:
            return
        # One channel for all: what is fetched is not given back before each has been seen once.
        with self._connection.channel() as channel:
            keep_compressed(channel)
            self._channel = channel
            browse = getattr(channel, "browse", None)
            if browse is not None:
                for message in browse(queue + QUARANTINE_SUFFIX):
                    visit(Entry(queue=queue, message=message))
                return
            place = Queue(queue + QUARANTINE_SUFFIX, channel=channel)
            kept = []
            for _ in range(count):
                message = place.get(no_ack=False)
                if message is None:
                    break
                entry = Entry(queue=queue, message=message)
                visit(entry)
                if not message.acknowledged:
                    kept.append(message)
            for message in kept:
                message.requeue()

    def _size(self, name: str) -> int:
        try:
            with self._connection.channel() as channel:  # one of its own: a queue that does not exist costs its channel
                return int(channel.queue_declare(name, passive=True).message_count)
        except self._connection.channel_errors:
            return 0

    def retry(self, entry: Entry) -> bool:
        """Send a message to its queue again, then take it out of the quarantine; False where it is damaged, and stays.

        Both go over one channel, in this order: what is not sent is not taken out.
        """
        if entry.damaged:
            return False
        message = entry.message
        properties = {name: entry.properties[name] for name in PROPERTIES if entry.properties.get(name) is not None}
        with Producer(self._channel, auto_declare=False) as producer:
            producer.publish(
                entry.body,
                routing_key=entry.queue,
                declare=[Queue(entry.queue)],
                headers={name: value for name, value in entry.headers.items() if name not in OWN_HEADERS},
                content_type=message.content_type or "application/data",
                content_encoding=message.content_encoding or "binary",
                **properties,
            )
        message.ack()
        return True

    def drop(self, entry: Entry) -> bool:
        """Throw a message away."""
        entry.message.ack()
        return True
