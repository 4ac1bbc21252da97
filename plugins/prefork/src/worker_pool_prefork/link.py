"""The child's end of the pipe: whole frames out from any thread, frames in for one at a time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable

from .frames import FrameReader, News, news_frame

_CHUNK = 64 * 1024


class Link:
    """Sends frames, from any thread, each in one piece; receives frames, in one thread at a time.

    Only methods of sockets are used, so that it works, and yields, where a green library has replaced them. Both ways
    block without a timeout: one would cost a call of the system for each frame.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take the socket over."""
        self._sock = sock
        self._lock = threading.Lock()
        self._reader = FrameReader()

    def fileno(self) -> int:
        """The descriptor, readable when `receive` does not block."""
        return self._sock.fileno()

    def send(self, frame: bytes) -> None:
        """Send a frame, waiting as long as the worker does not read.

        Raises:
            OSError: the worker is gone.
        """
        with self._lock:
            self._sock.sendall(frame)

    def tell(self, *news: News) -> None:
        """Send news. Raises as `send` does."""
        self.send(news_frame(news))

    def receive(self) -> Iterable[tuple[int, bytes]] | None:
        """Wait for the worker, and return the frames that are whole by now, often none; None: the worker is gone."""
        try:
            data = self._sock.recv(_CHUNK)
        except OSError:
            return None
        return self._reader.feed(data) if data else None
