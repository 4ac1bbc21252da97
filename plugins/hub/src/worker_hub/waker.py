"""Interrupts a poller from another thread or from a signal handler."""

from __future__ import annotations

import contextlib
import socket


class Waker:
    """A pair of sockets: a byte in one makes the other readable.

    `wake` may be called from any thread and from signal handlers: it takes no lock, never blocks and never raises.
    Everything else belongs to the thread that polls.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        """Return the descriptor to poll for reading; -1 once closed."""
        return self._reader.fileno()

    def wake(self) -> bool:
        """Make the descriptor readable; return whether that took a byte, which it does not while one is under way.

        Threads that call at the same moment may send a byte each: the flag is only there to save system calls.
        """
        if self._rung:
            return False
        self._rung = True
        try:
            self._writer.send(b"\0")
        except OSError:
            pass  # full, so it is readable already; or closed, so nobody polls any more
        return True

    def drain(self) -> None:
        """Make the descriptor unreadable again.

        The order matters: were the flag cleared first, a byte sent in between could be read here with the flag still
        set, and no later call would send another.
        """
        with contextlib.suppress(BlockingIOError):
            while len(self._reader.recv(4096)) == 4096:
                pass
        self._rung = False

    def close(self) -> None:
        """Give up both sockets. Idempotent."""
        self._reader.close()
        self._writer.close()
