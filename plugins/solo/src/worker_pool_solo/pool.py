"""The pool that runs one job at a time, in the main thread."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

from worker_kernel import (
    Capabilities,
    ExitCode,
    Job,
    JobKilled,
    LocalPool,
    Outcome,
    PoolConfig,
    PoolStatistics,
    Run,
    Slot,
    SlotStatistics,
    ThreadRun,
)

from .capabilities import CAPABILITIES
from .signals import MakeRun, attended

log = logging.getLogger("worker_pool_solo")


class SoloPool(LocalPool):
    """Runs jobs one after the other in the thread that calls `serve`, which is the process's main thread.

    Limits and cancellation are raised there, by a signal that also interrupts a sleep. A task that does not end within
    ``limit_grace`` of being killed is reported, and the pool is failing (exit code 9), since its only slot is gone:
    from then on it runs reports alone, in a second thread. A task that holds the GIL past its hard limit ends the
    process (exit code 1, stacks on stderr).

    The listener is called with no lock held, from the main thread, the thread of the caller, or the watchdog's; one
    that raises is logged. There is one slot, whatever ``config.limit`` says: boot refuses, or warns of, another number.
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._run: Run | None = None
        self._zombie: Run | None = None
        self._slot_lost = False
        self._reporter: threading.Thread | None = None
        self._done = self._failed = 0

    # -- life

    def start(self) -> None:
        """See `Pool.start`. The slot begins to work when the main thread comes to `serve`."""

    def _raise_stop(self, run: Run) -> None:
        super()._raise_stop(run)
        self._limits.remind(run)

    def _release(self) -> None:
        with self._lock:
            self._stopped = True
            self._jobs.notify_all()
            reporter = self._reporter
        if reporter is not None:
            reporter.join()
        self._limits.stop()

    def _current_runs(self) -> Sequence[Run]:
        return () if self._run is None else (self._run,)

    # -- statistics

    def _find(self, job_id: str) -> Run | None:
        run = self._run
        return run if run is not None and run.job.id == job_id and not run.job.is_report else None

    def statistics(self) -> PoolStatistics:
        """See `Pool.statistics`. The size is 1, or 0 once a stuck task has taken the slot with it."""
        with self._lock:
            running = int(self._run is not None and not self._slot_lost)
            size = int(not self._slot_lost)
            return PoolStatistics(
                implementation=f"{type(self).__module__}:{type(self).__qualname__}",
                limit=1,
                size=size,
                running=running,
                free=size - running,
                queued=len(self._waiting),
                zombies=int(self._zombie is not None),
                done=self._done,
                failed=self._failed,
                slots=tuple(self._lines()),
            )

    def _lines(self) -> list[SlotStatistics]:
        if self._zombie is not None:
            return [_line("zombie", self._zombie)]
        if self._slot_lost:
            return []
        return [_line("free" if self._run is None else "running", self._run)]

    # -- in the main thread

    def serve(self) -> None:
        """See `Pool.serve`. Called elsewhere than in the main thread, it works, but a sleep delays limits."""
        with attended(lambda: self._zombie or self._run) as make_run:
            self._hook(self.config.slot_start, 0)
            served = True
            try:
                while served and (run := self._next(make_run)) is not None:
                    served = self._work(run)
            finally:
                if served:
                    self._hook(self.config.slot_end, 0)
        with self._lock:  # a zombie has come back: the slot is given up, but the thread is the caller's
            if not served:
                self._zombie = None
            self._jobs.wait_for(lambda: self._stopped)

    def _next(self, make_run: MakeRun) -> Run | None:
        """Wait for a job; None: the pool is stopped."""
        with self._lock:
            self._jobs.wait_for(lambda: self._stopped or self._waiting)
            return None if self._stopped else self._begin(self._waiting.popleft(), make_run)

    def _begin(self, job: Job, make_run: MakeRun) -> Run:
        self._run = make_run(job, Slot(index=0, pid=os.getpid()), self.config.clock)
        self._unreported += 1
        return self._run

    def _work(self, run: Run) -> bool:
        """Run one job and report it; False: it was given up meanwhile, and the slot with it."""
        outcome = self._perform(run)
        if outcome is None:
            return False
        with self._lock:
            self._run = None
            self._count(run.job, outcome)
        self._report(run, outcome)
        return True

    # -- a task that does not end

    def _stuck(self, run: Run, kill: JobKilled) -> None:
        """Called on the watchdog's thread for a run that did not end when it was killed."""
        if self._leave_behind(run, run.abandon, lambda: run.killed(kill)):
            reason = f"task {run.job.task}[{run.job.id}] did not end when it was killed, and it has the only slot"
            self._tell(self.config.listener.failing, reason, ExitCode.HARD_LIMIT)

    def _leave_behind(self, run: Run, take: Callable[[], bool], ending: Callable[[], Outcome]) -> bool:
        """Let reports be run in a thread of their own, too."""
        with self._lock:
            if not take():
                return False
            outcome = ending()
            self._run = None
            self._count(run.job, outcome)
            if self._slot_lost:
                self._reporter = None  # a report that does not end is not joined
            else:
                self._slot_lost = True
                self._zombie = run
                if not self._stopped:
                    self._reporter = threading.Thread(target=self._serve_reports, name="solo-reports", daemon=True)
                    self._reporter.start()
        log.error("task %s[%s] did not end when it was killed", run.job.task, run.job.id)
        self._report(run, outcome)
        return True

    def _serve_reports(self) -> None:
        while (run := self._next_report()) is not None:
            self._work(run)

    def _next_report(self) -> Run | None:
        with self._lock:
            self._jobs.wait_for(lambda: self._stopped or any(job.is_report for job in self._waiting))
            if self._stopped:
                return None
            job = next(job for job in self._waiting if job.is_report)
            self._waiting.remove(job)
            return self._begin(job, ThreadRun)

    # -- books

    def _count(self, job: Job, outcome: Outcome) -> None:
        if not job.is_report:
            self._done += 1
            self._failed += outcome.failed


def _line(state: str, run: Run | None) -> SlotStatistics:
    return SlotStatistics(
        index=0,
        pid=os.getpid(),
        state=state,
        job_id=run.job.id if run else None,
        task=run.job.task if run else None,
        since=run.since if run else None,
    )
