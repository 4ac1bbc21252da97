"""Reading AMQP in large pieces, so that a burst costs few system calls, and nobody waits for the rest of a frame.

``py-amqp`` reads each frame by three calls for exactly so many bytes, each between two changes of the socket's
timeout. Here what has come is read at once, and the frames that are whole are handed to ``py-amqp``; of one that is not
the beginning is kept until more arrives, and heartbeats find out if it never does.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from typing import Any

PIECE = 16 * 1024
"""Bytes to read at a time: about thirty messages of Celery's, after which the loop sees to what else there is."""
PATIENCE = 0.05
"""Seconds that the loop waits at a time for the rest of a TLS record; over plain TCP it never waits."""

_HEAD = struct.Struct(">BHI")  # type, channel, size of the payload
_END = 0xCE


class AmqpReader:
    """Hands what arrives on a ``py-amqp`` connection to its channels. Belongs to the loop's thread.

    What the connection raises leaves `read` and `drain`. A request that waits for the broker's answer, made by whoever
    and also in the middle of a delivery, reads through ``py-amqp``, and gets first what was read here: all frames keep
    their order. It reads no more than it needs, so that nothing whole is left where no poller sees it.
    """

    def __init__(self, connection: Any) -> None:
        """Take over the reading of ``connection``, a ``py-amqp`` connection that is open."""
        from .amqp_frames import Frames  # which imports py-amqp, and not everybody is on AMQP

        self._connection = connection
        self._transport = connection.transport
        self._socket = connection.sock
        self._is_secured = hasattr(self._socket, "pending")
        self._receive_exactly = self._transport._quick_recv  # noqa: SLF001  (through which py-amqp reads everything)
        self._transport._quick_recv = self._hand_out  # noqa: SLF001
        connection.on_inbound_frame = Frames(connection)  # between two frames, and no message has begun
        self._read = b""
        self._at = 0  # in what was read: where that begins which nobody has had
        self._hub: Any = None
        self._poller: select.poll | None = None

    def watch(self, hub: Any) -> None:
        """Have `read` called by ``hub``, a scope's interface for transports."""
        self._hub = hub
        if self._is_secured:
            self._poller = select.poll()
            self._poller.register(self._socket, select.POLLIN)
        hub.add_reader(self._socket, self.read)

    def soon(self) -> None:
        """Read once, if there is something to be read, without being told by the poller."""
        if self._hub is not None:
            self._hub.call_soon(self.read)

    def read(self) -> None:
        """Read one piece and hand over the frames that are whole by then. Never blocks but for `PATIENCE` with TLS.

        Raises:
            OSError: the connection is lost.
            Exception: what came of a frame: the broker has closed the connection or a channel.
        """
        if not self._is_secured:
            self._receive(socket.MSG_DONTWAIT)
        elif self._socket.pending() or (self._poller is not None and self._poller.poll(0)):
            self._receive_within(PATIENCE)
        self._dispatch()
        if self._is_secured and self._connection.connected and self._socket.pending():
            self._hub.call_soon(self.read)  # decrypted already: the poller does not see it

    def drain(self, timeout: float) -> None:
        """Wait for something to come, up to ``timeout`` seconds (>= 0), and hand over what is whole.

        For loops without a hub. Raises as `read` does.
        """
        self._receive_within(timeout)
        self._dispatch()

    # -- from the socket

    def _receive(self, flags: int = 0) -> None:
        """Read one piece, if there is one."""
        try:
            piece = self._socket.recv(PIECE, flags)
        except (BlockingIOError, InterruptedError, TimeoutError, ssl.SSLWantReadError):
            return
        except OSError:
            self._transport.connected = False
            raise
        if not piece:
            self._transport.connected = False
            raise ConnectionResetError("the broker has closed the connection without a word")
        begun = self._transport._read_buffer  # noqa: SLF001  (what py-amqp keeps of a frame that it waited for in vain)
        self._transport._read_buffer = b""  # noqa: SLF001
        kept = self._read[self._at :]
        self._read = begun + kept + piece if begun or kept else piece
        self._at = 0

    def _receive_within(self, timeout: float) -> None:
        before = self._socket.gettimeout()
        self._socket.settimeout(timeout)
        try:
            self._receive()
        finally:
            self._socket.settimeout(before)

    def _hand_out(self, most: int) -> bytes:
        """Give ``py-amqp`` what was read here, at most ``most`` bytes, and only then what is in the socket."""
        if self._at == len(self._read):
            return bytes(self._receive_exactly(most))
        part = self._read[self._at : self._at + most]
        self._at += len(part)
        return part

    # -- to the channels

    def _dispatch(self) -> None:
        while self._connection.connected:
            frame = self._next()
            if frame is None:
                return
            self._connection.on_inbound_frame(frame)

    def _next(self) -> tuple[int, int, bytes] | None:
        """Take the next frame, if it is whole: its type, its channel and its payload."""
        begin = self._at
        if len(self._read) - begin < _HEAD.size:
            return None
        kind, channel, size = _HEAD.unpack_from(self._read, begin)
        begin += _HEAD.size
        end = begin + size
        if end >= len(self._read):
            return None
        if self._read[end] != _END:
            self._transport.connected = False
            raise ConnectionError("what the broker has sent is not AMQP: a frame does not end where it should")
        self._at = end + 1
        return kind, channel, self._read[begin:end]
