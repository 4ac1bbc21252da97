"""Threads and locks of the operating system, also in a process whose standard library is patched.

In such a process ``threading.Thread`` is a greenlet and its locks switch greenlets. A watchdog has to run while no
greenlet does, so it is given the real ones; and it must not touch the others: a green lock that a second thread waits
for, or gives back, may wake nobody. `LocklessLogger` is how it logs.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

import attrs


class NativeLock(Protocol):
    """As `threading.Lock`."""

    def acquire(self, blocking: bool = True, timeout: float = -1, /) -> bool:
        """Take it; -1 waits for ever."""
        ...

    def release(self) -> None:
        """Give it back; any thread may."""
        ...

    def locked(self) -> bool:
        """Whether it is taken."""
        ...

    def __enter__(self) -> bool: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


@attrs.frozen(kw_only=True)
class Native:
    """What a thread beside the loop is made of."""

    lock: Callable[[], NativeLock]
    """Makes a lock."""
    start: Callable[[Callable[[], None], str], Callable[[], None]]
    """Starts a daemon thread with a function and a name; returns what waits for its end."""
    ident: Callable[[], int]
    """Identifies the thread of the operating system that calls it."""

    @classmethod
    def raw(
        cls,
        *,
        start_new_thread: Callable[..., object],
        allocate_lock: Callable[[], NativeLock],
        get_ident: Callable[[], int],
    ) -> Native:
        """Make it of the three functions of ``_thread``, as they were before they were patched."""

        def start(function: Callable[[], None], name: str) -> Callable[[], None]:
            running = allocate_lock()
            running.acquire()

            def run() -> None:
                try:
                    function()
                finally:
                    running.release()

            def join() -> None:
                with running:
                    pass

            start_new_thread(run, ())
            return join

        return cls(lock=allocate_lock, start=start, ident=get_ident)


def _start_thread(function: Callable[[], None], name: str) -> Callable[[], None]:
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    return thread.join


THREADS = Native(lock=threading.Lock, start=_start_thread, ident=threading.get_ident)
"""What a process that is not patched has."""


class _NoLock:
    def acquire(self) -> None: ...

    def release(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None: ...


def _emit(handler: logging.Handler, record: logging.LogRecord) -> None:
    """Emit by a twin that has no lock: handlers take their own again in the middle, to flush."""
    twin = copy.copy(handler)
    twin.lock = _NoLock()  # type: ignore[assignment]  # typeshed knows of real ones alone
    twin.emit(record)
    changed = {name: value for name, value in vars(twin).items() if name != "lock"}
    vars(handler).update(changed)  # a file that was rotated, or opened late


class LocklessLogger(logging.Logger):
    """Logs in place of the logger of a name, without taking a lock of logging's.

    For native threads of a patched process, where those locks are green. Two records may be emitted at the same
    moment, as by two processes that share a file.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._real = logging.getLogger(name)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  (logging's name)
        """See `logging.Logger.isEnabledFor`."""
        return level > self._real.manager.disable and level >= self._real.getEffectiveLevel()

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """See `logging.Logger.callHandlers`."""
        source: logging.Logger | None = self._real
        while source is not None:
            for handler in source.handlers:
                if record.levelno >= handler.level and handler.filter(record):
                    _emit(handler, record)
            source = source.parent if source.propagate else None
