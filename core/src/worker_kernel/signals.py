"""Stop signals, as messages that any thread can read."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import Any, Self

from .errors import KernelBug

READ_AT_ONCE = 4096
"""Bytes, and so signals, per read."""


class SignalMailbox:
    """Takes signals in, for a loop that reads them when it gets to it.

    The interpreter's own C handler writes the number of each signal into a socket at the moment it arrives
    (``signal.set_wakeup_fd``), whatever the main thread is doing. So a loop in a second thread sees a signal at once
    by polling `fileno` and calling `read`, even while the main thread is inside a C call that does not return; and a
    loop in the main thread is interrupted in its poll. The Python handlers only call ``wake``.

    From `install` on no signal is lost, up to some hundred that nobody reads. A signal that arrives twice is read
    twice: what the second one means is for the reader to decide.

    `install` and `restore` belong to the main thread, `read` to one thread at a time, of which there may be any. A
    forked child has the handlers of before `install` from its first moment on, and does not write into its parent's
    mailbox. On Windows the Python handlers run only when the main thread runs Python, but the numbers arrive all the
    same.

    Args:
        names: signals to receive (``SIGTERM``, ...); those that the platform does not have are left out.
        wake: called by the handlers, in the main thread, between any two instructions of it: may only set flags and
            wake things. None: nothing is called.
    """

    def __init__(self, names: Iterable[str], wake: Callable[[], object] | None = None) -> None:
        self.wake = wake
        """See the class; may be replaced at any time."""
        self._names = {int(getattr(signal, name)): name for name in names if hasattr(signal, name)}
        self._reader: socket.socket | None = None
        self._writer: socket.socket | None = None
        self._previous: dict[int, Any] = {}
        self._previous_fd = -1
        self._unread: list[str] = []
        self._guards_forks = False
        self._forking = threading.local()

    def install(self) -> None:
        """Begin to receive. Whoever used ``signal.set_wakeup_fd`` before gets nothing until `restore`.

        Raises:
            KernelBug: not called in the main thread, which alone may do this, or installed already.
            OSError: one of the signals cannot be handled (``SIGKILL``); nothing is installed then.
        """
        if threading.current_thread() is not threading.main_thread():
            raise KernelBug("signals can be received only by what runs in the main thread")
        if self._writer is not None:
            raise KernelBug("the signal mailbox is installed already")
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        # First the place for the numbers, then the handlers: a signal between the two would be handled and lost.
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        try:
            for number in self._names:
                self._previous[number] = signal.signal(number, self._handle)
        except OSError:
            self.restore()
            raise
        if not self._guards_forks:
            self._guards_forks = True
            _guard_forks(self)

    def restore(self) -> None:
        """Put the previous handlers and wake-up descriptor back. Idempotent; in the main thread.

        What has arrived and was not read yet can still be read.
        """
        self._put_back()
        self._unread = self.read()
        self._close()

    def fileno(self) -> int:
        """Return the descriptor that is readable while there are signals to read; -1 where not installed."""
        return -1 if self._reader is None else self._reader.fileno()

    def read(self) -> list[str]:
        """Return the names of the signals that arrived since the last call, in their order. Never blocks."""
        names, self._unread = self._unread, []
        with contextlib.suppress(BlockingIOError):
            while self._reader is not None:
                numbers = self._reader.recv(READ_AT_ONCE)
                # The numbers of signals that somebody else handles arrive here, too.
                names.extend(self._names[number] for number in numbers if number in self._names)
        return names

    def before_fork(self) -> None:
        """Hold the signals back in the forking thread, so that none reaches a child that is still half its parent."""
        if self._writer is not None:
            self._forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._names)

    def after_fork_in_parent(self) -> None:
        """Let the signals in again."""
        mask = self._forking.__dict__.pop("mask", None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def after_fork_in_child(self) -> None:
        """Like `restore`, but nothing is read, because the socket is the parent's as well; then let the signals in."""
        self._put_back()
        self._close()
        self._unread = []
        self.after_fork_in_parent()

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()

    def _put_back(self) -> None:
        if self._writer is None:
            return
        for number, handler in self._previous.items():
            # None: the previous handler was not installed from Python, and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()
        try:
            signal.set_wakeup_fd(self._previous_fd)
        except (OSError, ValueError):
            signal.set_wakeup_fd(-1)  # the previous one was closed meanwhile

    def _close(self) -> None:
        for end in (self._reader, self._writer):
            if end is not None:
                end.close()
        self._reader = self._writer = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.wake is not None:
            self.wake()


def _guard_forks(mailbox: SignalMailbox) -> None:
    """Have forked children leave ``mailbox`` to their parent: both would write into the same socket otherwise."""
    if hasattr(os, "register_at_fork"):  # and for good: there is no way to take it back, so it holds nothing alive
        reference = weakref.ref(mailbox)
        os.register_at_fork(
            before=functools.partial(_call, reference, SignalMailbox.before_fork),
            after_in_parent=functools.partial(_call, reference, SignalMailbox.after_fork_in_parent),
            after_in_child=functools.partial(_call, reference, SignalMailbox.after_fork_in_child),
        )


def _call(reference: weakref.ref[SignalMailbox], method: Callable[[SignalMailbox], None]) -> None:
    mailbox = reference()
    if mailbox is not None:
        method(mailbox)
