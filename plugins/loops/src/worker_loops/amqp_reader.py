"""Reading AMQP on the hub, so that a peer that goes silent in the middle of a frame cannot hold the loop.

kombu's own reader asks py-amqp not to wait at all, and py-amqp then spins until the rest of a frame has come. Here it
waits for a moment, and keeps what it has of the frame until more arrives; heartbeats find out if it never does.
"""

from __future__ import annotations

import select
from typing import Any

PATIENCE = 0.05
"""Seconds that the loop waits for the rest of a frame at a time."""


class AmqpReader:
    """Hands what arrives on a ``py-amqp`` connection to its channels, a method at a time. Belongs to the loop's thread.

    What the connection raises leaves the hub's turn.
    """

    def __init__(self, connection: Any, hub: Any) -> None:
        """Watch ``connection``, which is open, on ``hub``, a scope's interface for transports."""
        self._connection = connection
        self._hub = hub
        self._socket = connection.sock
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)
        hub.add_reader(self._socket, self.read)

    def soon(self) -> None:
        """Read once, if there is something to be read, without being told by the poller."""
        self._hub.call_soon(self.read)

    def read(self) -> None:
        """Read one method and what belongs to it, then ask to be called again for the next."""
        if not self._readable():
            return
        try:
            self._connection.drain_events(timeout=PATIENCE)
        except TimeoutError:
            return  # the rest has not come yet
        self._hub.call_soon(self.read)

    def _readable(self) -> bool:
        pending = getattr(self._socket, "pending", None)  # what TLS has decrypted already, the poller does not see
        return bool((pending is not None and pending()) or self._poller.poll(0))
