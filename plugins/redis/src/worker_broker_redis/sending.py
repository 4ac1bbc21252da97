"""Where envelopes go out: one connection for all that a transport sends, however long it lies idle in between."""

from __future__ import annotations

from typing import Any

from .connections import Exclusive


class Sender:
    """Puts envelopes into lists, on a connection of its own. Belongs to one thread at a time."""

    def __init__(self, pool: Any) -> None:
        """Args: ``pool`` is where the connection comes from, with the first message."""
        self._pool = pool
        self._connection: Exclusive | None = None

    def push(self, key: str, raw: str) -> None:
        """Put an envelope into a list, to be taken after all others.

        Raises:
            redis.ConnectionError: the connection is lost; it may be there or not.
            redis.ResponseError: the server refuses.
        """
        if self._connection is not None and self._connection.is_lost():
            self._connection.give_back()
            self._connection = None
        if self._connection is None:
            self._connection = Exclusive(self._pool)
        (reply,) = self._connection.call(("LPUSH", key, raw))
        if isinstance(reply, Exception):
            raise reply

    def close(self) -> None:
        """Disconnect; the next message connects again. Idempotent; in a forked child the parent's connection stays."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
