"""Tasks that do not end: real code for each kind of being stuck."""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Callable

from ..capabilities import Stuck
from .fake_job import FakeJob

_MUTEX_SIZE = 256
"""Bytes; more than a ``pthread_mutex_t`` on any platform."""

_STEP = 0.01


def stuck_task(kind: Stuck, seconds: float = 30.0, *, swallows: bool = False) -> Callable[[FakeJob], object]:
    """Return a task's body that is stuck in the way of ``kind`` for about ``seconds``.

    The first two kinds also end when the job is released.

    Args:
        kind: how to be stuck.
        seconds: for how long.
        swallows: catch everything that is raised into the task, and go on being stuck.
    """
    return _StuckTask(kind, seconds, swallows)


class _StuckTask:
    """The body that `stuck_task` returns; it can be pickled by name, and so be stuck in another process."""

    def __init__(self, kind: Stuck, seconds: float, swallows: bool) -> None:
        self._kind, self._seconds, self._swallows = kind, seconds, swallows

    def __call__(self, job: FakeJob) -> object:
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                job.record("stuck")  # from here on, whatever is raised into the task is seen
                _BODIES[self._kind](job, deadline)
            except BaseException as exc:
                job.record("caught", exc)
                if not self._swallows:
                    raise
            else:
                return "ended by itself"


def _yields(job: FakeJob, deadline: float) -> None:
    while time.monotonic() < deadline and not job.released:
        time.sleep(_STEP)


def _busy(job: FakeJob, deadline: float) -> None:
    while time.monotonic() < deadline and not job.released:
        pass


def _sleeps(job: FakeJob, deadline: float) -> None:
    time.sleep(max(0.0, deadline - time.monotonic()))


def _c_without_gil(job: FakeJob, deadline: float) -> None:
    if not _lock_in_vain(ctypes.CDLL(None), deadline):
        hashlib.pbkdf2_hmac("sha256", b"", b"", int(3e6 * max(0.0, deadline - time.monotonic())))


def _c_with_gil(job: FakeJob, deadline: float) -> None:
    if not _lock_in_vain(ctypes.PyDLL(None), deadline):
        sum(range(int(5e7 * max(0.0, deadline - time.monotonic()))))
    _yields(job, time.monotonic() + 10.0)  # what could not be raised during the call may come now


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _lock_in_vain(library: ctypes.CDLL, deadline: float) -> bool:
    """Wait in C for a mutex that nobody gives back: no signal interrupts that, and no processor time is used.

    Returns:
        False where the platform lacks such a call.
    """
    if not hasattr(library, "pthread_mutex_timedlock"):
        return False
    mutex = ctypes.create_string_buffer(_MUTEX_SIZE)
    library.pthread_mutex_init(mutex, None)
    library.pthread_mutex_lock(mutex)
    until = time.time() + max(0.0, deadline - time.monotonic())
    library.pthread_mutex_timedlock(mutex, ctypes.byref(_Timespec(int(until), int(until % 1 * 1e9))))
    return True


_BODIES: dict[Stuck, Callable[[FakeJob, float], None]] = {
    Stuck.YIELDS: _yields,
    Stuck.BUSY: _busy,
    Stuck.SLEEPS: _sleeps,
    Stuck.C_WITHOUT_GIL: _c_without_gil,
    Stuck.C_WITH_GIL: _c_with_gil,
}
