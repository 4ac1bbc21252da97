"""The kit's own pool: threads, kept simple and honest, that do what the declared capabilities say and no more."""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import ClassVar

import attrs

from ..capabilities import Capabilities, Effect, Stuck, Support
from ..errors import ExitCode, JobKilled, PoolClosed, TimeLimitExceeded, Unsupported, WorkerLostError
from ..job import Job, Raised
from ..outcome import Failure, Outcome, OutcomeKind
from ..pool import CancelHow, CancelReply, Pool, PoolConfig, PoolStatistics, Slot, SlotStatistics
from .fake_window import Window

logger = logging.getLogger(__name__)

_GIL_MARGIN = 1.0
"""Seconds past the hard limit and its grace, in which no Python ran at all, before the process is ended."""

_FAILED = (OutcomeKind.FAILED, OutcomeKind.TIMED_OUT, OutcomeKind.LOST)


@attrs.define(eq=False)
class _Run:
    """One job in one slot."""

    job: Job
    window: Window = attrs.field(factory=Window)
    since: float = attrs.field(factory=time.time)
    timers: list[threading.Timer] = attrs.field(factory=list)
    fatal_at: float | None = None
    """When the process is ended because no Python has run since; a monotonic time."""


@attrs.define(eq=False)
class _Slot:
    """One thread and what it does."""

    index: int
    run: _Run | None = None
    runs: int = 0
    recycle: str = ""
    """Why the slot is to be replaced once its job has ended."""
    thread: threading.Thread | None = None


class FakePool(Pool):
    """Runs jobs in threads of this process. For tests; see `worker_pool_threads` for the real thing.

    A subclass that declares less in ``capabilities`` gets a pool that does less and refuses the rest.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        concurrency=Support.NATIVE,
        soft_time_limit=Support.NATIVE,
        time_limit=Support.NATIVE,
        cancel=Support.NATIVE,
        resize=Support.NATIVE,
        restart=Support.NATIVE,
        max_tasks_per_child=Support.NATIVE,
        soft_effects={
            Stuck.YIELDS: Effect.RAISED,
            Stuck.BUSY: Effect.RAISED,
            Stuck.SLEEPS: Effect.UNDELIVERABLE,
            Stuck.C_WITHOUT_GIL: Effect.UNDELIVERABLE,
            Stuck.C_WITH_GIL: Effect.UNDELIVERABLE,
        },
        hard_effects={
            Stuck.YIELDS: Effect.RAISED,
            Stuck.BUSY: Effect.RAISED,
            Stuck.SLEEPS: Effect.ZOMBIE,
            Stuck.C_WITHOUT_GIL: Effect.ZOMBIE,
            Stuck.C_WITH_GIL: Effect.PROCESS_ENDS,
        },
    )

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._limit = config.limit if self._can("concurrency") else 1
        self._slots: list[_Slot] = []
        self._zombies: list[_Run] = []
        self._threads: list[threading.Thread] = []
        self._closed = self._released = self._failing = False
        self._done = self._failed = 0
        self._recycled: Counter[str] = Counter()

    def start(self) -> None:
        """See `Pool.start`."""
        with self._changed:
            try:
                for index in range(self._limit):
                    self._slots.append(self._new_slot(index))
            except BaseException:
                self._release()
                raise

    def submit(self, job: Job) -> None:
        """See `Pool.submit`."""
        with self._changed:
            if self._closed:
                raise PoolClosed(f"{job.id} was submitted to a closed pool")
            self._waiting.append(job)
            self._changed.notify_all()

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        """See `Pool.cancel`."""
        with self._changed:
            waiting = next((job for job in self._waiting if job.id == job_id), None)
            if waiting is not None:
                self._waiting.remove(waiting)
            slot = next((slot for slot in self._slots if slot.run and slot.run.job.id == job_id), None)
        if waiting is not None:
            self._tell_finished(waiting, _ended(waiting, OutcomeKind.CANCELLED))
            return CancelReply.CANCELLED
        run = slot.run if slot else None
        if slot is None or run is None or how is CancelHow.WAITING:
            return CancelReply.UNKNOWN
        if not self._can("cancel"):
            raise Unsupported("cancel", type(self).__name__)
        run.window.kill(JobKilled("cancel"))
        if how is CancelHow.KILL:
            self._later(run, self.config.limit_grace, self._give_up, slot, run, OutcomeKind.CANCELLED)
        return CancelReply.CANCELLING

    def grow(self, n: int) -> None:
        """See `Pool.grow`."""
        self._require("resize")
        with self._changed:
            self._limit += n
            while len(self._slots) < self._limit:
                used = {slot.index for slot in self._slots}
                self._slots.append(self._new_slot(next(i for i in range(len(used) + 1) if i not in used)))
            size = len(self._slots)
        self.config.listener.resized(size)

    def shrink(self, n: int) -> None:
        """See `Pool.shrink`."""
        self._require("resize")
        with self._changed:
            if self._limit - n < 1:
                raise ValueError(f"{self._limit} slots cannot be reduced by {n}: one stays")
            self._limit -= n
            for slot in [slot for slot in reversed(self._slots) if slot.run is None]:
                if len(self._slots) > self._limit:
                    self._slots.remove(slot)
            size = len(self._slots)
            self._changed.notify_all()
        self.config.listener.resized(size)

    def restart(self) -> None:
        """See `Pool.restart`."""
        self._require("restart")
        if not self.config.allow_restart:
            raise Unsupported("restart", type(self).__name__)
        with self._changed:
            for slot in list(self._slots):
                if slot.run is None:
                    self._replace(slot, "restart")
                else:
                    slot.recycle = "restart"
            self._changed.notify_all()

    def close(self) -> None:
        """See `Pool.close`."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
        for job in waiting:
            self._tell_finished(job, _ended(job, OutcomeKind.CANCELLED))

    def stop(self, timeout: float | None) -> bool:
        """See `Pool.stop`."""
        self.close()
        with self._changed:
            if not self._changed.wait_for(lambda: all(slot.run is None for slot in self._slots), timeout):
                return False
            self._release()
        for thread in self._threads:
            thread.join()
        return True

    def terminate(self) -> None:
        """See `Pool.terminate`."""
        self.close()
        with self._changed:
            running = [(slot, slot.run) for slot in self._slots if slot.run is not None]
        for _, run in running:
            if self._can("cancel"):
                run.window.kill(JobKilled("cancel"))
        with self._changed:
            grace = self.config.limit_grace if self._can("cancel") else 0.0
            self._changed.wait_for(lambda: all(slot.run is None for slot in self._slots), grace)
        for slot, run in running:
            self._give_up(slot, run, OutcomeKind.LOST)
        with self._changed:  # what is in `finish` by now is not given up
            self._changed.wait_for(lambda: all(slot.run is None for slot in self._slots))
            self._release()

    def statistics(self) -> PoolStatistics:
        """See `Pool.statistics`."""
        with self._changed:
            running = sum(slot.run is not None for slot in self._slots)
            return PoolStatistics(
                implementation=f"{type(self).__module__}:{type(self).__qualname__}",
                limit=self._limit,
                size=len(self._slots),
                running=running,
                free=len(self._slots) - running,
                queued=len(self._waiting),
                zombies=len(self._zombies),
                done=self._done,
                failed=self._failed,
                recycled=dict(self._recycled),
                slots=tuple(_slot_statistics(slot) for slot in self._slots),
            )

    # What happens in a slot's thread.

    def _serve(self, slot: _Slot) -> None:
        if self.config.slot_start is not None:
            self.config.slot_start(slot.index)
        abandoned = False
        try:
            while (run := self._next(slot)) is not None:
                self._tell("accepted", run.job, Slot(index=slot.index, pid=os.getpid()))
                outcome = self._carry_out(slot, run)
                abandoned = run.window.abandoned
                if abandoned:
                    with self._changed:
                        self._zombies.remove(run)
                    return
                self._end(slot, run, outcome)
        finally:
            if self.config.slot_end is not None and not abandoned:
                self.config.slot_end(slot.index)

    def _next(self, slot: _Slot) -> _Run | None:
        with self._changed:
            while True:
                if slot not in self._slots or self._released:
                    return None
                if self._waiting:
                    slot.run = _Run(self._waiting.popleft())
                    return slot.run
                self._changed.wait()

    def _carry_out(self, slot: _Slot, run: _Run) -> Outcome:
        job, window = run.job, run.window
        ending: object
        try:
            if job.is_async:
                raise Unsupported("async_tasks", type(self).__name__)  # noqa: TRY301  (the job tells it)
            job.prepare()
            self._arm(slot, run)
            ending = window.run(job.call)
        except BaseException as exc:
            ending = Raised(exc)
        finally:
            self._disarm(run)
        if window.abandoned:
            return _ended(job, OutcomeKind.LOST)  # nobody hears of it
        try:
            return job.finish(ending)
        except BaseException as exc:
            logger.exception("job %s could not be finished", job.id)
            return _ended(job, OutcomeKind.FAILED, exc)

    def _end(self, slot: _Slot, run: _Run, outcome: Outcome) -> None:
        """Free the slot, or replace it, and tell the outcome."""
        with self._changed:
            slot.run = None
            if not run.job.is_report:
                self._count(outcome)
                slot.runs += 1
            resized = len(self._slots) > self._limit
            if resized:
                self._slots.remove(slot)
            elif self._is_used_up(slot):
                self._replace(slot, slot.recycle or "max_tasks_per_child")
            size = len(self._slots)
            self._changed.notify_all()
        self._tell_finished(run.job, outcome)
        if resized:
            self.config.listener.resized(size)

    # Limits and ends that come from outside.

    def _arm(self, slot: _Slot, run: _Run) -> None:
        job = run.job
        if job.is_report:
            return
        soft = self._limit_of("soft_time_limit", job.soft_time_limit)
        hard = self._limit_of("time_limit", job.time_limit)
        if soft is not None:
            self._later(run, soft, self._soft, run)
        if hard is not None:
            self._later(run, hard, self._hard, slot, run, hard)
            run.fatal_at = time.monotonic() + hard + self.config.limit_grace + _GIL_MARGIN
            self._watch_the_gil()

    def _disarm(self, run: _Run) -> None:
        for timer in run.timers:
            timer.cancel()
        if run.fatal_at is not None:
            run.fatal_at = None
            self._watch_the_gil()

    def _soft(self, run: _Run) -> None:
        window = run.window
        if not window.raise_soft() or window.soft_delivered.wait(self.config.limit_grace):
            return
        if window.is_open:
            logger.warning("soft time limit of %s is undeliverable: the task runs no Python", run.job.id)

    def _hard(self, slot: _Slot, run: _Run, limit: float) -> None:
        if run.window.kill(JobKilled("time_limit", limit)):
            self._later(run, self.config.limit_grace, self._give_up, slot, run, OutcomeKind.TIMED_OUT)

    def _give_up(self, slot: _Slot, run: _Run, kind: OutcomeKind) -> None:
        """Leave a run behind as a zombie, if its call still goes on, and put a new slot in its place."""
        outcome = _ended(run.job, kind)
        with self._changed:
            if not run.window.abandon():
                return
            self._disarm(run)
            self._zombies.append(run)
            self._count(outcome)
            slot.run = None
            self._replace(slot, "zombie")
            exhausted = len(self._zombies) > self.config.zombie_budget and not self._failing
            self._failing = self._failing or exhausted
            self._changed.notify_all()
        self._tell_finished(run.job, outcome)
        if exhausted:
            self.config.listener.failing("more zombies than the budget allows", ExitCode.HARD_LIMIT)

    def _watch_the_gil(self) -> None:
        with self._changed:
            due = [slot.run.fatal_at for slot in self._slots if slot.run and slot.run.fatal_at is not None]
            if due:
                seconds = max(0.1, min(due) - time.monotonic())
                faulthandler.dump_traceback_later(seconds, exit=True, file=2)
            else:
                faulthandler.cancel_dump_traceback_later()

    def _limit_of(self, option: str, own: float | None) -> float | None:
        if not self._can(option):
            return None
        default = getattr(self.config, option)
        return own if own is not None else default

    def _later(self, run: _Run, delay: float, action: Callable[..., None], *args: object) -> None:
        timer = threading.Timer(delay, action, args)
        timer.daemon = True
        run.timers.append(timer)
        timer.start()

    # Slots; the lock is held.

    def _new_slot(self, index: int) -> _Slot:
        slot = _Slot(index)
        slot.thread = threading.Thread(target=self._serve, args=(slot,), name=f"fake-slot-{index}", daemon=True)
        self._threads.append(slot.thread)
        slot.thread.start()
        return slot

    def _replace(self, slot: _Slot, reason: str) -> None:
        self._recycled[reason] += 1
        if slot in self._slots:
            self._slots[self._slots.index(slot)] = self._new_slot(slot.index)

    def _is_used_up(self, slot: _Slot) -> bool:
        most = self.config.max_tasks_per_child if self._can("max_tasks_per_child") else None
        return bool(slot.recycle) or (most is not None and slot.runs >= most)

    def _count(self, outcome: Outcome) -> None:
        self._done += 1
        self._failed += outcome.kind in _FAILED

    def _release(self) -> None:
        self._released = True
        self._changed.notify_all()

    # Small things.

    def _can(self, option: str) -> bool:
        return self.capabilities.supports(option) is not Support.REFUSED

    def _require(self, option: str) -> None:
        if not self._can(option):
            raise Unsupported(option, type(self).__name__)

    def _tell_finished(self, job: Job, outcome: Outcome) -> None:
        self._tell("finished", job, outcome)

    def _tell(self, what: str, *args: object) -> None:
        try:
            getattr(self.config.listener, what)(*args)
        except Exception:
            logger.exception("the listener raised in %s", what)


def _ended(job: Job, kind: OutcomeKind, cause: BaseException | None = None) -> Outcome:
    """Return the outcome of a job that could not say it itself; nothing of it is stored."""
    reasons = {OutcomeKind.TIMED_OUT: TimeLimitExceeded, OutcomeKind.LOST: WorkerLostError}
    failure = Failure.of(cause or reasons.get(kind, JobKilled)())
    return Outcome(job_id=job.id, kind=kind, failure=failure)


def _slot_statistics(slot: _Slot) -> SlotStatistics:
    run = slot.run
    if run is None:
        return SlotStatistics(index=slot.index, pid=os.getpid(), state="free")
    return SlotStatistics(
        index=slot.index, pid=os.getpid(), state="running", job_id=run.job.id, task=run.job.task, since=run.since
    )
