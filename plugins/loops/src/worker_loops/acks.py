"""Acknowledgements of one AMQP channel, gathered: one frame settles all of a batch that have nothing open before them.

The delivery tags of a channel are consecutive numbers. A broker that is told "this one and all before it" must not hear
it while an earlier message is still being worked on; so whatever settles a message of the channel is seen here.

RabbitMQ does not answer an acknowledgement. When the connection is lost, what was not sent and what was sent last may
be delivered again, and is not to be run again.
"""

from __future__ import annotations

import bisect
import struct
from collections import deque
from typing import Any

_ACK = struct.Struct(">BHIHHQBB")
_METHOD, _BASIC, _BASIC_ACK, _PAYLOAD, _END = 1, 60, 80, 13, 0xCE

REMEMBERED = 4096
"""Acknowledgements of which it is not known whether the broker has heard: at most as many as its window is wide."""


class Acks:
    """Knows which messages of a channel are open, and keeps acknowledgements back until `flush`.

    Only what is acknowledged by `later` is kept back; what else settles a message of the channel does so at once.
    Belongs to the loop's thread, which must not wait for anything before it has flushed: the broker's window is not
    free yet.
    """

    def __init__(self, channel: Any) -> None:
        """Begin with ``channel``, a ``py-amqp`` channel that was just opened; its methods that settle are replaced."""
        self._channel = channel
        self._ack, self._reject = channel.basic_ack, channel.basic_reject
        channel.basic_ack, channel.basic_reject = self._on_ack, self._on_reject
        self._seen = 0  # the highest tag that was settled
        self._open: dict[int, None] = {}  # those below it that were not, in ascending order
        self._unsent: dict[int, tuple[str, int]] = {}
        self._sent: deque[tuple[str, int]] = deque(maxlen=REMEMBERED)
        self._gathering: tuple[str, int] | None = None

    def later(self, message: Any, key: tuple[str, int]) -> None:
        """Acknowledge a kombu message of the channel with the next `flush`.

        Args:
            message: the message.
            key: its request's.
        """
        self._gathering = key
        try:
            message.ack()  # and so the message knows
        finally:
            self._gathering = None

    def flush(self) -> None:
        """Send what is kept back, in one write.

        Raises:
            OSError: the connection is lost. The broker may have heard of some; all are still unsent.
        """
        if not self._unsent:
            return
        tags = sorted(self._unsent)
        lowest_open = next(iter(self._open), None)
        before = len(tags) if lowest_open is None else bisect.bisect(tags, lowest_open)
        frames = [self._frame(tag, multiple=False) for tag in tags[before:]]
        if before:
            frames.insert(0, self._frame(tags[before - 1], multiple=before > 1))
        connection = self._channel.connection
        if connection is None:
            raise ConnectionError("the channel was closed before its messages were acknowledged")
        connection.transport.write(b"".join(frames))
        connection.bytes_sent += 1  # what py-amqp knows by that something was sent, for heartbeats
        self._sent.extend(self._unsent.values())
        self._unsent.clear()

    def remember(self, key: tuple[str, int]) -> None:
        """The message of a request was acknowledged at once."""
        self._sent.append(key)

    def take_unheard(self) -> list[tuple[str, int]]:
        """Return the keys of requests whose acknowledgement the broker may not have heard: the channel is lost."""
        keys = [*self._sent, *self._unsent.values()]
        self._sent.clear()
        self._unsent.clear()
        return keys

    def _frame(self, tag: int, *, multiple: bool) -> bytes:
        return _ACK.pack(_METHOD, self._channel.channel_id, _PAYLOAD, _BASIC, _BASIC_ACK, tag, multiple, _END)

    def _on_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        if multiple:
            raise ValueError("several messages at once are acknowledged by flush alone, which knows what is open")
        self._settled(delivery_tag)
        if self._gathering is None:
            self._ack(delivery_tag)
        else:
            self._unsent[delivery_tag] = self._gathering

    def _on_reject(self, delivery_tag: int, requeue: bool) -> None:
        self._settled(delivery_tag)
        self._reject(delivery_tag, requeue=requeue)

    def _settled(self, tag: int) -> None:
        if tag <= self._seen:
            self._open.pop(tag, None)
            return
        self._open.update(dict.fromkeys(range(self._seen + 1, tag)))
        self._seen = tag
