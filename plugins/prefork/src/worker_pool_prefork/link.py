"""The child's end of the pipe: whole frames out from any thread, frames in for one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable

from .frames import FrameReader, News, news_frame

_CHUNK = 256 * 1024
IDLE = 3600.0
"""Seconds to wait for a frame where there is nothing else to do."""


class Link:
    """Sends frames, from any thread, each in one piece; receives frames, in one thread.

    Only methods of sockets are used, so that it works, and yields, where a green library has replaced them.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take the socket over."""
        self._sock = sock
        self._sock.settimeout(IDLE)
        self._timeout = IDLE
        self._lock = threading.Lock()
        self._reader = FrameReader()

    def send(self, frame: bytes) -> None:
        """Send a frame, waiting as long as the worker does not read.

        Raises:
            OSError: the worker is gone.
        """
        with self._lock:
            rest = memoryview(frame)
            while rest:
                try:
                    rest = rest[self._sock.send(rest) :]
                except TimeoutError:
                    continue  # nothing was sent; the timeout is the reader's

    def tell(self, *news: News) -> None:
        """Send news. Raises as `send` does."""
        self.send(news_frame(news))

    def receive(self, timeout: float) -> Iterable[tuple[int, bytes]] | None:
        """Wait up to ``timeout`` seconds (> 0) and return the frames that have come; None: the worker is gone."""
        if timeout != self._timeout:
            self._sock.settimeout(timeout)
            self._timeout = timeout
        try:
            data = self._sock.recv(_CHUNK)
        except TimeoutError:
            return ()
        except OSError:
            return None
        return self._reader.feed(data) if data else None
