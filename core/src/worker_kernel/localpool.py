"""What pools have in common whose jobs run in the worker's own process: waiting, cancelling, reporting, stopping."""

from __future__ import annotations

import abc
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

from .batches import batch_of
from .errors import JobKilled, PoolClosed
from .job import Job
from .limits import Limits, Run
from .outcome import Outcome
from .pool import CancelHow, CancelReply, Pool, PoolConfig

log = logging.getLogger("worker_kernel.localpool")


class _Condition(threading.Condition):
    """A condition that asks a lock whether it is taken by looking.

    The library's own tries to take it, and where gevent has patched it, to fail there lets all other greenlets run.
    """

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__(lock)
        self._is_owned = lock.locked


class LocalPool(Pool):
    """Keeps the jobs that wait, and counts those that run until they are reported.

    A subclass takes jobs from ``_waiting`` under ``_lock``, adds 1 to ``_unreported`` for each, has it run by
    `_perform`, and tells of its end by `_report`. The listener is called with no lock held; one that raises is logged.
    """

    _takers: ClassVar[int] = 1
    """How many different waiters a new job may be meant for: so many are woken."""

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._limits = self._make_limits()
        self._lock = threading.Lock()
        self._jobs = _Condition(self._lock)
        """Slots wait for something to do."""
        self._ends = _Condition(self._lock)
        """`stop` and `terminate` wait for reports."""
        self._waiting: deque[Job] = deque()
        self._unreported = 0
        self._closed = self._stopped = False

    def _make_limits(self) -> Limits:
        return Limits(self.config, self._stuck)

    # -- what a subclass supplies

    @abc.abstractmethod
    def _stuck(self, run: Run, kill: JobKilled) -> None:
        """Called on the watchdog's thread for a run that did not end when it was killed."""

    @abc.abstractmethod
    def _find(self, job_id: str) -> Run | None:
        """Return what runs under this id, unless it is a report. Called with the lock held."""

    @abc.abstractmethod
    def _current_runs(self) -> Sequence[Run]:
        """Return what runs, reports included. Called with the lock held."""

    @abc.abstractmethod
    def _leave_behind(self, run: Run, take: Callable[[], bool], ending: Callable[[], Outcome]) -> bool:
        """Report a run that is left to itself, unless ``take`` says that it has ended; return whether it was left."""

    @abc.abstractmethod
    def _release(self) -> None:
        """End what serves the slots; nothing runs any more."""

    def _raise_stop(self, run: Run) -> None:
        """Ask a run to end: the pool is being terminated."""
        run.raise_kill("stop")

    # -- jobs that wait

    def backlog(self, runtime: float) -> int:
        """See `Pool.backlog`: a slot that has ended a small job goes on with another, without the loop's thread."""
        return batch_of(runtime) - 1  # so the loop's thread is woken once for many ends

    def submit(self, job: Job) -> None:
        """See `Pool.submit`."""
        with self._lock:
            if self._closed:
                raise PoolClosed(f"job {job.id} comes too late: the pool takes no more")
            self._waiting.append(job)
            self._jobs.notify(self._takers)

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        """See `Pool.cancel`. Reports are not cancelled."""
        with self._lock:
            waiting = next((job for job in self._waiting if job.id == job_id and not job.is_report), None)
            if waiting is not None:
                self._waiting.remove(waiting)
            run = self._find(job_id)
        if waiting is not None:
            self._tell(self.config.listener.finished, waiting, Outcome.never_started(waiting.id))
            return CancelReply.CANCELLED
        if run is None or how is CancelHow.WAITING:
            return CancelReply.UNKNOWN
        self._limits.cancel(run, how)
        return CancelReply.CANCELLING

    def close(self) -> None:
        """See `Pool.close`."""
        with self._lock:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
        for job in waiting:
            self._tell(self.config.listener.finished, job, Outcome.never_started(job.id))

    def stop(self, timeout: float | None) -> bool:
        """See `Pool.stop`. A task that is stuck has been reported, and is not waited for."""
        self.close()
        with self._lock:
            wait = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
            if not self._ends.wait_for(lambda: not self._unreported, wait):
                return False
        self._release()
        return True

    def terminate(self) -> None:
        """See `Pool.terminate`. Tasks get ``limit_grace`` to end by themselves."""
        self.close()
        with self._lock:
            runs = self._current_runs()
        for run in runs:
            if not run.job.is_report:
                self._raise_stop(run)
        with self._lock:
            self._ends.wait_for(lambda: not self._unreported, self.config.limit_grace)
            self._stopped = True
        for run in runs:
            self._leave_behind(run, run.give_up, run.lost)
        with self._lock:  # those that were being reported, or were not even accepted, report themselves at once
            self._ends.wait_for(lambda: not self._unreported)
        self._release()

    # -- a job that runs

    def _perform(self, run: Run) -> Outcome | None:
        """Run a job and return its end, which is then the caller's to report; None: somebody else has given it up."""
        self._tell(self.config.listener.accepted, run.job, run.slot)
        outcome: Outcome | None
        if run.begin():
            self._limits.begin(run)
            outcome = run.perform()
            self._limits.end(run)
        else:
            outcome = run.lost()
        return outcome if outcome is not None and run.claim() else None

    def _report(self, run: Run, outcome: Outcome) -> None:
        self._tell(self.config.listener.finished, run.job, outcome)
        with self._lock:
            self._unreported -= 1
            if not self._unreported:
                self._ends.notify_all()

    # -- whom it calls

    def _tell(self, what: Callable[..., None], *args: object) -> None:
        try:
            what(*args)
        except Exception:
            log.exception("the pool's listener raised in %s", getattr(what, "__name__", what))

    def _hook(self, hook: Callable[[int], None] | None, slot: int) -> None:
        if hook is None:
            return
        try:
            hook(slot)
        except BaseException:  # a hook that calls sys.exit must not take the slot with it
            log.exception("a hook of slot %d raised", slot)
