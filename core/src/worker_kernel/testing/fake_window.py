"""The part of a run during which a fake pool may interrupt the task."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from ..errors import JobKilled, SoftTimeLimitExceeded

_raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc


class _Retracted(BaseException):
    """Replaces what has not arrived yet; NULL in its place keeps CPython 3.11 looking for an exception for ever."""


class Window:
    """Calls a function into which, and into nothing else, other threads may raise.

    `run` is called once, by the thread that runs the job; everything else may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._over = False
        self._raised = False
        self.soft_delivered = threading.Event()
        """Set when the task has seen the soft limit."""
        self.killed: JobKilled | None = None
        """What was, or is to be, raised to end the task. A task that swallows it is killed all the same."""
        self.abandoned = False
        """Whether the run was given up while it went on: its outcome was told by somebody else."""

    def run(self, call: Callable[[], object]) -> object:
        """Return what ``call()`` returns, or raise what it raised, or what was raised into it."""
        self._open()
        try:
            try:
                try:
                    value = call()
                finally:
                    self._close()
            finally:
                self._close()
        except BaseException:
            self._close()  # at most two interruptions arrive: one of the three is not disturbed
            if self.killed is not None:
                raise self.killed from None
            raise
        if self.killed is not None:
            raise self.killed
        return value

    @property
    def is_open(self) -> bool:
        """Whether the task's call is going on."""
        return self._thread is not None

    def raise_soft(self) -> bool:
        """Raise `SoftTimeLimitExceeded` in the task, if its call is going on, and return whether it was. Once only."""
        delivered = self.soft_delivered

        def __init__(self: SoftTimeLimitExceeded) -> None:  # noqa: N807
            delivered.set()

        # The interpreter makes the instance when it raises it: that is how the delivery is noticed.
        noticed = type("SoftTimeLimitExceeded", (SoftTimeLimitExceeded,), {"__init__": __init__})
        noticed.__module__ = SoftTimeLimitExceeded.__module__
        with self._lock:
            return self._raise(noticed)

    def kill(self, killed: JobKilled) -> bool:
        """Raise `JobKilled` in the task, or as soon as its call begins. Return False where the call is over."""
        with self._lock:
            if self._over:
                return False
            if self.killed is None:
                self.killed = killed
                self._raise(JobKilled)
            return True

    def abandon(self) -> bool:
        """Give the run up, unless its call is over, and return whether that was done now."""
        with self._lock:
            if self._over or self.abandoned:
                return False
            self.abandoned = True
            return True

    def _open(self) -> None:
        with self._lock:
            if self.killed is not None or self.abandoned:
                self._over = True
                raise self.killed or JobKilled()
            self._thread = threading.get_ident()

    def _close(self) -> None:
        with self._lock:
            if self._thread is not None and self._raised:
                try:
                    _raise_in_thread(ctypes.c_ulong(self._thread), ctypes.py_object(_Retracted))
                    while True:
                        pass
                except _Retracted:
                    pass
            self._thread, self._over = None, True

    def _raise(self, cls: type[BaseException]) -> bool:
        if self._thread is None:
            return False
        self._raised = True
        _raise_in_thread(ctypes.c_ulong(self._thread), ctypes.py_object(cls))
        return True
