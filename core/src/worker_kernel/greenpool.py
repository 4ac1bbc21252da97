"""What the pools of green libraries have in common; a library's own pool adds the library."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

from .books import SlotWorker
from .errors import ExitCode, JobKilled, UsageError
from .greens import URGENT, Green, GreenRun, kill_reason
from .job import Job
from .limits import Limits, Run, limit_deadlines
from .loopwatch import LoopWatch
from .native import LocklessLogger
from .outcome import Outcome
from .pool import PoolConfig, Slot
from .slotpool import Server, SlotPool

_STDERR = 2
PATIENCE = 1.0
"""Seconds; the default of ``worker_max_blocking_time``."""
SERIES = 0.005
"""Seconds for which slots go from job to job, before the loop is to turn."""


class GreenPool(SlotPool):
    """Runs each job in one of ``limit`` greenlets of the thread that calls `start`.

    All that `SlotPool` says holds; the standard library's locks, which it uses, switch greenlets in a patched process.
    Limits and cancellation are raised in a task when it next yields; one that does not yield is interrupted by a
    signal where the pool runs in the main thread. The watchdog is a thread of the operating system. It names, on
    stderr, what keeps the loop from turning.

    A task that holds the loop and does not end within ``limit_grace`` of being killed (it is in C code, or swallows
    what is raised) holds all others, too: it is reported, the pool is failing (exit code 9), and where the loop does
    not turn soon after that, the process is ended with that code; what ran comes back by the broker.
    """

    green: ClassVar[type[Green]]
    """The library."""

    def __init__(self, config: PoolConfig) -> None:
        self._green: Green = self.green()
        self._deadlines = limit_deadlines(config, self._green.native)
        self._runs: dict[int, GreenRun] = {}
        """What runs, by the identity of its greenlet; read by the watchdog."""
        self._watch: LoopWatch | None = None
        self._handler: Any = None
        self._handles = False
        self._turned = 0.0
        super().__init__(config)

    def _make_limits(self) -> Limits:
        log = LocklessLogger("worker_kernel.limits")
        return Limits(self.config, self._stuck, deadlines=self._deadlines, log=log)

    def start(self) -> None:
        """See `Pool.start`.

        Raises:
            UsageError: the process is not patched: jobs would wait for ever.
        """
        if not self._green.patched():
            name = self._green.name
            raise UsageError(
                f"the pool of {name} cannot run in a process that is not patched\n"
                f"name it with -P {name}; a program with a worker in it: worker_kernel.patch({name!r}), first of all"
            )
        patience = self.config.options.get("worker_max_blocking_time", PATIENCE)
        self._watch = LoopWatch(
            self._green,
            self.config.clock,
            self._deadlines,
            patience=patience if isinstance(patience, float) else PATIENCE,
            runs=lambda: list(self._runs.values()),
            upkeep=self.config.upkeep,
        )
        if URGENT is not None and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(URGENT, self._on_signal)
            self._handles = True
        super().start()

    def _release(self) -> None:
        super()._release()
        if self._watch is not None:
            self._watch.stop()
        if self._handles and URGENT is not None:
            self._handles = False
            signal.signal(URGENT, self._handler if self._handler is not None else signal.SIG_DFL)
        self._green.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        run = self._runs.get(id(self._green.current()))
        if run is not None:
            run.raise_here()

    # -- what a slot is

    def _serve_in(self, slot: SlotWorker) -> Server:
        return self._green.spawn(self._serve, slot)

    def _next(self, slot: SlotWorker) -> Run | None:
        """Wait for a job; where there is one, let the loop turn first, if that has to be."""
        goes_on = bool(self._waiting)
        if goes_on and self.config.clock.monotonic() - self._turned > SERIES:
            self._green.let_turn()
            self._turned = self.config.clock.monotonic()
        run = super()._next(slot)
        if run is not None and not goes_on:  # it has waited, so the loop has turned
            self._turned = run.started
        return run

    def _make_run(self, job: Job, slot: Slot) -> Run:
        run = GreenRun(job, slot, self.config.clock, self._green)
        self._runs[id(run.greenlet)] = run
        return run

    def _work(self, slot: SlotWorker, run: Run) -> bool:
        assert self._watch is not None  # noqa: S101  (start made it)
        assert isinstance(run, GreenRun)  # noqa: S101  (made above)
        self._watch.begin()
        try:
            return super()._work(slot, run)
        finally:
            self._watch.end()
            self._runs.pop(id(run.greenlet), None)

    def _frame(self, run: Run) -> FrameType | None:
        assert isinstance(run, GreenRun)  # noqa: S101  (made above)
        return run.greenlet.gr_frame

    # -- on the watchdog's thread: a run that did not end when it was killed

    def _stuck(self, run: Run, kill: JobKilled) -> None:
        """Leave the books to the loop, where it turns."""
        self._if_held(lambda: self._green.spawn(self._left, run, kill), lambda: self._held(run, kill))

    def _left(self, run: Run, kill: JobKilled) -> None:
        super()._stuck(run, kill)

    def _held(self, run: Run, kill: JobKilled) -> None:
        """Called when the loop has not turned: end the run that holds it; any other waits as everything does."""
        assert self._watch is not None  # noqa: S101  (start made it)
        if self._watch.holder() is not run:
            if run.calling:
                self._stuck(run, kill)
            return
        outcome = run.killed(kill)
        self._books.zombies.append(run)
        if not run.abandon():
            self._books.zombies.remove(run)
            return
        self._failing = True
        self._green.call_soon(lambda: self._green.spawn(self._book, run, outcome))
        what = f"task {run.job.task}[{run.job.id}] did not end at {kill_reason(kill)}, and holds the loop"
        self._tell(self.config.listener.finished, run.job, outcome)
        self._tell(self.config.listener.failing, what, ExitCode.HARD_LIMIT)
        self._if_held(lambda: None, lambda: self._end(what))

    def _end(self, what: str) -> None:
        os.write(_STDERR, f"{what}: ending the process with exit code {ExitCode.HARD_LIMIT}\n".encode())
        os._exit(ExitCode.HARD_LIMIT)

    def _book(self, run: Run, outcome: Outcome) -> None:
        """Enter the end of a run that was reported already; its slot is gone, and the pool is failing."""
        with self._lock:
            slot = self._books.slots.get(run.slot.index)
            if slot is not None and slot.run is run:
                self._books.remove(slot)
                self._servers.pop(id(slot), None)
            self._books.count(outcome)
            self._unreported -= 1
            self._ends.notify_all()
        self._tell_size()

    def _if_held(self, turned: Callable[[], object], held: Callable[[], object]) -> None:
        """Have the loop call ``turned``; where it has not within ``limit_grace``, call ``held`` here."""
        done: list[bool] = []

        def turn() -> None:
            if not done:
                done.append(True)
                turned()

        def look() -> None:
            if not done:
                done.append(False)
                held()

        self._green.call_soon(turn)
        self._deadlines.at(self.config.clock.monotonic() + max(self.config.limit_grace, 0.1), look, guarded=True)
