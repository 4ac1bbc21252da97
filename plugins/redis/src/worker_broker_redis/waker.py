"""Ends a wait from another thread."""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Waker:
    """A descriptor that can be read after `wake`. `wake` may be called from any thread, all else from the owner's."""

    def __init__(self) -> None:
        # Sockets, because one that is closed knows it: a late `wake` cannot write into what got its number since.
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._read.fileno()

    def wake(self) -> None:
        """Make the descriptor readable. Never blocks, never raises."""
        try:
            self._write.send(b".")
        except OSError:
            pass  # full, so it is readable; or closed

    def drain(self) -> None:
        """Make the descriptor unreadable again."""
        try:
            while self._read.recv(4096):
                pass
        except OSError:
            pass  # empty

    def close(self) -> None:
        """Give up the descriptors. Idempotent."""
        self._read.close()
        self._write.close()


def wait(descriptors: Iterable[int], timeout: float) -> None:
    """Wait until one of the descriptors can be read, at most `timeout` seconds (0 or more)."""
    with selectors.DefaultSelector() as selector:
        for descriptor in set(descriptors):
            selector.register(descriptor, selectors.EVENT_READ)
        selector.select(timeout)
