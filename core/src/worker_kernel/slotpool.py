"""What pools have in common whose slots live in the worker's process: threads, or greenlets."""

from __future__ import annotations

import abc
import logging
import os
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

from .books import Books, SlotWorker
from .errors import ExitCode, JobKilled, Unsupported
from .job import Job
from .limits import Run
from .localpool import LocalPool
from .outcome import Outcome
from .pool import PoolConfig, PoolStatistics, Slot

log = logging.getLogger("worker_kernel.slotpool")

_JOIN = 5.0
"""Seconds in which what serves the slots, nothing running any more, is to end; a ``slot_end`` may take longer."""


class Server(Protocol):
    """What serves a slot: a thread, or a greenlet."""

    def join(self, timeout: float | None = None) -> object:
        """Wait for its end, at most ``timeout`` seconds."""
        ...


class SlotPool(LocalPool):
    """Runs each job in one of ``limit`` slots, each of which is served by a thread or a greenlet of this process.

    A subclass says how a slot comes to be served (`_serve_in`), and what a run in it is (`_make_run`).

    Limits and cancellation are raised in the job. A task that does not end within ``limit_grace`` of being killed is a
    *zombie*: it is reported, its stack is logged, its slot is served anew, and what it returns later is discarded. More
    than ``zombie_budget`` of them at a time, and the pool is failing (exit code 9). A task that holds the GIL past its
    hard limit ends the process (exit code 1, stacks on stderr).

    The listener is called with no lock held, mostly from the slots; a listener that raises is logged.
    ``max_restarts`` has no bearing here: a slot ends abnormally only as a zombie, and those are budgeted.
    """

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._books = Books()
        self._idle = 0
        """Slots that wait for a job."""
        self._called = False
        """Whether one of these has been woken, and has not looked yet."""
        self._servers: dict[int, Server] = {}
        """What serves slots, by the slot's own identity: a zombie's no more."""
        self._failing = False

    # -- what a subclass supplies

    @abc.abstractmethod
    def _serve_in(self, slot: SlotWorker) -> Server:
        """Have ``self._serve(slot)`` called in a thread, or greenlet, of the slot's own. Called with the lock held.

        Raises:
            RuntimeError: there is none left.
        """

    @abc.abstractmethod
    def _make_run(self, job: Job, slot: Slot) -> Run:
        """Return the run of a job; called where the job is to run, with the lock held."""

    @abc.abstractmethod
    def _frame(self, run: Run) -> FrameType | None:
        """Return where a run is now; None where that is not known."""

    # -- life

    def start(self) -> None:
        """See `Pool.start`."""
        try:
            self._books.limit = self.config.limit
            self._add_slots()
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        with self._lock:
            self._stopped = True
            self._jobs.notify_all()
            servers = list(self._servers.values())
        deadline = self.config.clock.monotonic() + _JOIN
        for server in servers:
            server.join(max(0.0, deadline - self.config.clock.monotonic()))
        self._limits.stop()

    def _find(self, job_id: str) -> Run | None:
        return self._books.find(job_id)

    def _current_runs(self) -> Sequence[Run]:
        return self._books.running()

    # -- resize, restart

    def grow(self, n: int) -> None:
        """See `Pool.grow`."""
        with self._lock:
            self._books.limit += n
        self._add_slots()
        self._tell_size()

    def shrink(self, n: int) -> None:
        """See `Pool.shrink`."""
        with self._lock:
            if self._books.limit - n < 1:
                raise ValueError(f"the pool has {self._books.limit} slots: it cannot give away {n}, one must stay")
            self._books.limit -= n
            self._books.remove_free()
            self._jobs.notify_all()
        self._tell_size()

    def restart(self) -> None:
        """See `Pool.restart`."""
        if not self.config.allow_restart:
            raise Unsupported("restart", f"{type(self).__name__}, without worker_pool_restarts,")
        with self._lock:
            for slot in self._books.slots.values():
                slot.stale = slot.stale or "restart"
            self._jobs.notify_all()

    def statistics(self) -> PoolStatistics:
        """See `Pool.statistics`."""
        with self._lock:
            books = self._books
            running = len(books.running())
            return PoolStatistics(
                implementation=f"{type(self).__module__}:{type(self).__qualname__}",
                limit=books.limit,
                size=books.size,
                running=running,
                free=books.size - running,
                queued=len(self._waiting),
                zombies=len(books.zombies),
                done=books.done,
                failed=books.failed,
                recycled=dict(books.recycled),
                slots=books.statistics(),
            )

    # -- in a slot

    def _serve(self, slot: SlotWorker) -> None:
        """Serve a slot until it goes, or a fresh one takes its place."""
        ending = False
        while not ending:
            self._hook(self.config.slot_start, slot.index)
            while (run := self._next(slot)) is not None:
                if not self._work(slot, run):
                    return  # the slot is somebody else's by now: no slot_end
            self._hook(self.config.slot_end, slot.index)
            ending = self._hand_over(slot)
        with self._lock:
            self._servers.pop(id(slot), None)

    def _next(self, slot: SlotWorker) -> Run | None:
        """Wait for a job; None: there are no more for this slot."""
        with self._lock:
            while True:
                if self._stopped or slot.stale or not self._books.has(slot):
                    self._call()  # the wake-up may have been meant for a slot that stays
                    return None
                if self._waiting:
                    job = self._waiting.popleft()
                    self._call()
                    slot.run = self._make_run(job, Slot(index=slot.index, pid=os.getpid()))
                    self._unreported += 1
                    return slot.run
                self._idle += 1
                self._jobs.wait()
                self._idle -= 1
                self._called = False

    def _call(self) -> None:
        """Wake one idle slot for all jobs that wait: before it runs one, it wakes the next for those that are left.

        Where jobs are short, that one has run them all before the next has come.
        """
        if self._waiting and self._idle and not self._called:
            self._called = True
            self._jobs.notify()

    def _work(self, slot: SlotWorker, run: Run) -> bool:
        """Run one job and report it; False: it was given up meanwhile, and its slot with it."""
        outcome = self._perform(run)
        if outcome is None:
            with self._lock:
                self._books.zombies.remove(run)
            return False
        with self._lock:
            slot.run = None
            if not run.job.is_report:
                self._books.count(outcome)
                slot.runs += 1
                if slot.runs == self.config.max_tasks_per_child:
                    slot.stale = slot.stale or "max_tasks_per_child"
            goes = self._books.too_many
            if goes:
                self._books.remove(slot)
        self._report(run, outcome)
        if goes:
            self._tell_size()
        return True

    def _hand_over(self, slot: SlotWorker) -> bool:
        """Put a fresh one in the slot's place, if it has one. False: none is to be had, this one must go on."""
        with self._lock:
            if self._stopped or not self._books.has(slot):
                return True
            fresh = SlotWorker(slot.index)
            reason, slot.stale, slot.runs = slot.stale, "", 0
            if not self._start(fresh):
                return False
            self._books.replace(fresh, reason)
            return True

    # -- zombies

    def _stuck(self, run: Run, kill: JobKilled) -> None:
        """Called on the watchdog's thread for a run that did not end when it was killed."""
        self._leave_behind(run, run.abandon, lambda: run.killed(kill))

    def _leave_behind(self, run: Run, take: Callable[[], bool], ending: Callable[[], Outcome]) -> bool:
        """Put a new slot in the place of its own, too."""
        with self._lock:
            if not take():
                return False
            outcome = ending()
            slot = self._books.slots[run.slot.index]
            wanted = not (self._books.too_many or self._stopped)
            fresh = SlotWorker(slot.index)
            started = wanted and self._start(fresh)
            if started:
                self._books.replace(fresh, "zombie")
            else:
                self._books.remove(slot)
            self._books.zombies.append(run)
            self._servers.pop(id(slot), None)
            if not run.job.is_report:
                self._books.count(outcome)
        self._log_stack(run)
        self._report(run, outcome)
        if not started:
            self._tell_size()
        self._judge(short=wanted and not started)
        return True

    def _judge(self, *, short: bool) -> None:
        """Say, once, that the pool is failing, if there are too many zombies or it is a slot ``short``."""
        with self._lock:
            zombies, budget = len(self._books.zombies), self.config.zombie_budget
            if (zombies <= budget and not short) or self._failing or self._stopped:
                return
            self._failing = True
        if short:
            self._tell(self.config.listener.failing, "no slot can be made in the place of a zombie's", ExitCode.FAULT)
        else:
            reason = f"{zombies} tasks did not end when they were killed, and the zombie budget is {budget}"
            self._tell(self.config.listener.failing, reason, ExitCode.HARD_LIMIT)

    # -- what serves the slots

    def _add_slots(self) -> None:
        """Add slots up to the limit; on failure the limit is what there is."""
        with self._lock:
            while self._books.size < self._books.limit and not self._stopped:
                slot = SlotWorker(self._books.free_index())
                if not self._start(slot):
                    self._books.limit = self._books.size
                    raise RuntimeError(f"slot {slot.index} gets no thread: the system has none left")
                self._books.add(slot)

    def _start(self, slot: SlotWorker) -> bool:
        """Have a slot served, lock held; False: the system has no threads left."""
        try:
            self._servers[id(slot)] = self._serve_in(slot)
        except RuntimeError as exc:
            log.error("no thread can be started for slot %d: %s", slot.index, exc)
            return False
        return True

    def _tell_size(self) -> None:
        with self._lock:
            size = self._books.size
        self._tell(self.config.listener.resized, size)

    def _log_stack(self, run: Run) -> None:
        frame = self._frame(run)
        log.error(
            "task %s[%s] did not end when it was killed; it is left running, and is here:\n%s",
            run.job.task,
            run.job.id,
            "".join(traceback.format_stack(frame)) if frame else "(it has ended since)",
        )
