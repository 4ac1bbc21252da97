"""How an exception reaches the main thread: by a signal, which interrupts what sleeps.

The signal is SIGURG: its default is to be ignored, and Go's runtime pre-empts with it for the same reasons. A handler
in the thread that runs a job may raise, but only between the marks of the job's call: `SignalRun.raise_here` sees to
that. A signal that arrives just before the thread goes to sleep in the system interrupts nothing, and its handler would
wait for the end of the sleep; so it is sent again until the handler has run. Where there are no signals to threads
(Windows), or the pool is not served in the main thread, the runs are `worker_kernel.ThreadRun`, which a sleep delays.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from worker_kernel import Clock, Job, Run, Slot, ThreadRun

MakeRun = Callable[[Job, Slot, Clock], Run]
"""Makes the run of a job in the thread that calls it."""

_SIGNAL: signal.Signals | None = getattr(signal, "SIGURG", None)


class SignalRun(Run):
    """A run in the main thread that exceptions reach by a signal, also while it sleeps."""

    def __init__(self, job: Job, slot: Slot, clock: Clock) -> None:
        super().__init__(job, slot, clock)
        self._under_way: deque[BaseException] = deque()

    def raise_here(self) -> None:
        """Raise what was sent last and has not been raised, if the job's call goes on. For the signal's handler.

        Takes no lock: the handler may have interrupted the thread while it holds one.
        """
        last: BaseException | None = None
        while self._under_way:
            last = self._under_way.popleft()
        if last is not None and self._open:
            self._arrived(last)
            raise last

    def _deliver(self, exc: BaseException) -> None:
        self._under_way.append(exc)
        self._signal()

    def remind(self) -> bool:
        """See `Run.remind`."""
        with self._lock:
            if not self.undelivered:
                return False
            self._signal()
            return True

    def _retract(self) -> None:
        self._under_way.clear()

    def _signal(self) -> None:
        assert _SIGNAL is not None  # noqa: S101  (`attended` made sure)
        signal.pthread_kill(self.thread, _SIGNAL)


@contextmanager
def attended(current: Callable[[], Run | None]) -> Iterator[MakeRun]:
    """Handle the signal as long as the block lasts, and yield what makes the runs of this thread.

    Args:
        current: returns the run that goes on, if any. Called in the signal's handler: it must take no lock.
    """
    if _SIGNAL is None or threading.current_thread() is not threading.main_thread():
        yield ThreadRun
        return

    def handle(number: int, frame: FrameType | None) -> None:
        run = current()
        if isinstance(run, SignalRun):
            run.raise_here()

    before = signal.signal(_SIGNAL, handle)
    try:
        yield SignalRun
    finally:
        signal.signal(_SIGNAL, before if before is not None else signal.SIG_DFL)
