"""Heartbeats of an AMQP connection while a task keeps the loop from turning."""

from __future__ import annotations

import _socket
import os
from typing import Any

from worker_kernel import Clock

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
"""The frame: type 8, channel 0, no payload, end."""


class Lifeline:
    """Writes heartbeat frames past the library, from another thread, only where no frame is half-written.

    The loop's thread writes by `write`; `beat` belongs to one other thread. Neither waits for a lock, which in a green
    process no two threads could share: each shows what it is about to do, and then looks at the other. For plain TCP
    only, because nobody can write between the records of TLS.
    """

    def __init__(self, transport: Any, interval: float, clock: Clock) -> None:
        """Take over the writing of ``transport``, an ``amqp`` transport that is connected.

        Args:
            transport: whose ``sendall`` is replaced by one that shows what it does.
            interval: seconds (> 0) between heartbeats, as agreed with the broker.
            clock: where the time comes from.
        """
        self._send_all = transport._write  # noqa: SLF001  (the only place through which all frames go)
        self._clock = clock
        self._pause = interval / 2
        # A descriptor of its own, in a socket that no library has patched; it shares the non-blocking mode.
        self._socket = _socket.socket(fileno=os.dup(transport.sock.fileno()))
        self._writing = 0
        self._beating = False
        self._broken = False
        self._owed = b""
        self._last = clock.monotonic()
        transport._write = self.write  # noqa: SLF001

    def write(self, frames: bytes) -> None:
        """Send all of ``frames``. On the loop's thread; other greenlets may run meanwhile."""
        self._writing += 1
        while self._beating:
            pass  # eight bytes that are copied into a buffer
        try:
            owed, self._owed = self._owed, b""
            self._send_all(owed + bytes(frames) if owed else frames)
        except BaseException:
            self._broken = True  # who knows how much of a frame has left
            raise
        finally:
            self._last = self._clock.monotonic()
            self._writing -= 1

    def beat(self) -> None:
        """Send a heartbeat if one is due. Never blocks; on the watchdog's thread."""
        if self._clock.monotonic() - self._last < self._pause:
            return
        self._beating = True
        try:
            if self._writing or self._broken or self._owed:
                return
            sent = self._socket.send(HEARTBEAT, _socket.MSG_DONTWAIT)
            self._owed = HEARTBEAT[sent:]  # no room for all of it: whoever writes next sends the rest first
            self._last = self._clock.monotonic()
        except OSError:
            self._last = self._clock.monotonic()  # full, or lost: the loop finds out
        finally:
            self._beating = False

    def close(self) -> None:
        """Beat no more. Idempotent."""
        self._broken = True
        while self._beating:
            pass
        self._socket.close()
