"""Who reads the child's pipe: the main thread while it has nothing to run, else, before long, the control thread.

A job that comes to an idle child is read and run by one thread, so no other has to be woken for it. When the main
thread is still at work a tick later, the control thread takes the pipe over, and reads, looks and speaks in its place
until the main thread asks for it.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable

TICK = 0.01
"""Seconds that the main thread may be at work before the control thread stands in for it; then, between two looks."""
QUIET = 5
"""Ticks without work after which the control thread sleeps: to be woken costs the next job more than a few ticks do."""


class Custody:
    """The right to read the pipe, and the means to pass it on. Between `leave` and the next tick nobody has it."""

    def __init__(self, pipe: int) -> None:
        """Args: ``pipe`` is the descriptor that is readable when the worker has written."""
        self._right = threading.Lock()
        self._passed = threading.Lock()
        """Released when the right has been passed on as it is, taken: nobody can come in between."""
        self._passed.acquire()
        self._at_work = threading.Event()
        """Wakes the control thread, which sleeps as long as the main thread has nothing to run."""
        self._worked = False
        """Whether the main thread has been at work since the last tick."""
        self._asked, self._ask = socket.socketpair()
        self._poller = select.poll()
        for end in (pipe, self._asked.fileno()):
            self._poller.register(end, select.POLLIN)

    def close(self) -> None:
        """Release the descriptors; no thread is in here any more."""
        self._asked.close()
        self._ask.close()

    # -- the main thread

    def take(self) -> None:
        """Get the right to read, from the control thread if need be."""
        if not self._right.acquire(blocking=False):
            self._ask.send(b"!")
            self._passed.acquire()

    def leave(self) -> None:
        """Go to work, and let somebody else read."""
        self._right.release()
        self._worked = True
        if not self._at_work.is_set():
            self._at_work.set()

    # -- the control thread

    def watch(self, read: Callable[[], bool], look: Callable[[], None], idle: Callable[[], None]) -> None:
        """Stand in for the main thread whenever it is at work for long. Returns when the worker is gone.

        Args:
            read: reads the pipe; False: the worker is gone.
            look: looks at what runs; called at each tick while the main thread is at work.
            idle: called when it is no more.
        """
        quiet = 0
        while True:
            self._at_work.wait()
            time.sleep(TICK)
            if not self._right.acquire(blocking=False):
                quiet = 0 if self._worked else quiet + 1
                self._worked = False
                if quiet < QUIET:
                    continue
                quiet = 0
                idle()
                self._at_work.clear()
                if not self._right.locked():  # the main thread has left just now, and may have found the event set
                    self._at_work.set()
                continue
            if not self._stand_in(read, look):
                return
            self._passed.release()

    def _stand_in(self, read: Callable[[], bool], look: Callable[[], None]) -> bool:
        """Read until the main thread asks for the right; False: the worker is gone."""
        while True:
            look()
            ready = [fd for fd, _ in self._poller.poll(TICK * 1000)]
            if self._asked.fileno() in ready:
                self._asked.recv(1)
                return True
            if ready and not read():
                return False
