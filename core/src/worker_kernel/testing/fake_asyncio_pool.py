"""A pool on asyncio, to show that the job contract suits one unchanged: prepare, call, await, finish."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar

import attrs

from ..capabilities import Capabilities, Support
from ..errors import JobKilled, PoolClosed, WorkerLostError
from ..job import Job, Raised
from ..outcome import Failure, Outcome, OutcomeKind
from ..pool import CancelHow, CancelReply, Pool, PoolConfig, PoolStatistics, Slot, SlotStatistics

logger = logging.getLogger(__name__)

_FAILED = (OutcomeKind.FAILED, OutcomeKind.TIMED_OUT, OutcomeKind.LOST)


@attrs.define(eq=False)
class _Run:
    """One job in one slot."""

    job: Job
    index: int
    since: float = attrs.field(factory=time.time)
    task: asyncio.Task[None] | None = None
    calling: bool = False
    """Whether the task's own code runs: the only part that may be cancelled."""
    killed: bool = False
    told: bool = False


class FakeAsyncioPool(Pool):
    """Runs jobs as tasks of one event loop, in one thread. For tests.

    A plain job runs in the loop's thread, and holds everything up while it does.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        concurrency=Support.NATIVE,
        cancel=Support.NATIVE,
        resize=Support.NATIVE,
        async_tasks=Support.NATIVE,
    )

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._limit = config.limit
        self._running: list[_Run] = []
        self._started: list[int] = []
        self._closed = False
        self._done = self._failed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._serve, name="fake-asyncio", daemon=True)

    def start(self) -> None:
        """See `Pool.start`."""
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._loop is not None)

    def submit(self, job: Job) -> None:
        """See `Pool.submit`."""
        with self._changed:
            if self._closed:
                raise PoolClosed(f"{job.id} was submitted to a closed pool")
            self._waiting.append(job)
        self._soon(self._fill)

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        """See `Pool.cancel`."""
        with self._changed:
            waiting = next((job for job in self._waiting if job.id == job_id), None)
            run = next((run for run in self._running if run.job.id == job_id), None)
            if waiting is not None:
                self._waiting.remove(waiting)
            elif run is None or how is CancelHow.WAITING:
                return CancelReply.UNKNOWN
        if waiting is not None:
            self._tell("finished", waiting, _ended(waiting, OutcomeKind.CANCELLED))
            return CancelReply.CANCELLED
        self._kill(run)
        return CancelReply.CANCELLING

    def grow(self, n: int) -> None:
        """See `Pool.grow`."""
        with self._changed:
            self._limit += n
            size = self._size()
        self.config.listener.resized(size)
        self._soon(self._fill)

    def shrink(self, n: int) -> None:
        """See `Pool.shrink`."""
        with self._changed:
            if self._limit - n < 1:
                raise ValueError(f"{self._limit} slots cannot be reduced by {n}: one stays")
            self._limit -= n
            size = self._size()
        self.config.listener.resized(size)

    def close(self) -> None:
        """See `Pool.close`."""
        with self._changed:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
        for job in waiting:
            self._tell("finished", job, _ended(job, OutcomeKind.CANCELLED))

    def stop(self, timeout: float | None) -> bool:
        """See `Pool.stop`."""
        self.close()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._running, timeout):
                return False
        self._end_loop()
        self._thread.join()
        return True

    def terminate(self) -> None:
        """See `Pool.terminate`. A plain job cannot be ended: it is lost, and the thread ends after it."""
        self.close()
        with self._changed:
            running = list(self._running)
        for run in running:
            self._kill(run)
        with self._changed:
            self._changed.wait_for(lambda: not self._running, self.config.limit_grace)
            left = list(self._running)
        for run in left:
            self._end(run, _ended(run.job, OutcomeKind.LOST))
        self._end_loop()

    def statistics(self) -> PoolStatistics:
        """See `Pool.statistics`."""
        with self._changed:
            busy = {run.index: run for run in self._running}
            free = [index for index in range(self._limit) if index not in busy][: self._size() - len(busy)]
            return PoolStatistics(
                implementation=f"{type(self).__module__}:{type(self).__qualname__}",
                limit=self._limit,
                size=self._size(),
                running=len(busy),
                free=len(free),
                queued=len(self._waiting),
                zombies=0,
                done=self._done,
                failed=self._failed,
                slots=tuple(_slot_statistics(index, busy.get(index)) for index in sorted([*busy, *free])),
            )

    # On the loop's thread.

    def _serve(self) -> None:
        loop = asyncio.new_event_loop()
        with self._changed:
            self._loop = loop
            self._changed.notify_all()
        try:
            loop.run_forever()
            loop.run_until_complete(_end_all(asyncio.all_tasks(loop)))
        finally:
            for index in self._started:
                if self.config.slot_end is not None:
                    self.config.slot_end(index)
            loop.close()

    def _fill(self) -> None:
        """Give waiting jobs to free slots, first in, first out."""
        while (run := self._next()) is not None:
            if run.index not in self._started:
                self._started.append(run.index)
                if self.config.slot_start is not None:
                    self.config.slot_start(run.index)
            self._tell("accepted", run.job, Slot(index=run.index, pid=os.getpid()))
            run.task = asyncio.get_running_loop().create_task(self._carry_out(run))

    def _next(self) -> _Run | None:
        with self._changed:
            if not self._waiting or len(self._running) >= self._limit:
                return None
            used = {run.index for run in self._running}
            run = _Run(self._waiting.popleft(), next(i for i in range(len(used) + 1) if i not in used))
            self._running.append(run)
            return run

    async def _carry_out(self, run: _Run) -> None:
        ending: object
        try:
            run.job.prepare()
            ending = await self._call(run)
        except BaseException as exc:
            ending = Raised(exc)
        if run.told:  # it was lost to `terminate`
            return
        if run.killed:
            ending = Raised(JobKilled("cancel"))
        try:
            outcome = run.job.finish(ending)
        except BaseException as exc:
            logger.exception("job %s could not be finished", run.job.id)
            outcome = _ended(run.job, OutcomeKind.FAILED, exc)
        self._end(run, outcome)
        self._fill()

    async def _call(self, run: _Run) -> object:
        if run.killed:
            raise JobKilled("cancel")
        run.calling = True
        try:
            value = run.job.call()
            return await value if run.job.is_async and inspect.isawaitable(value) else value
        finally:
            run.calling = False

    def _interrupt(self, run: _Run) -> None:
        if run.calling and run.task is not None:
            run.task.cancel()

    # From any thread.

    def _kill(self, run: _Run | None) -> None:
        if run is not None and not run.killed:
            run.killed = True  # a call that has not begun never will
            self._soon(self._interrupt, run)

    def _end(self, run: _Run, outcome: Outcome) -> None:
        with self._changed:
            if run.told:
                return
            run.told = True
            size = self._size()
            self._running.remove(run)
            if not run.job.is_report:
                self._done += 1
                self._failed += outcome.kind in _FAILED
            resized = self._size() != size
            self._changed.notify_all()
        self._tell("finished", run.job, outcome)
        if resized:
            self.config.listener.resized(size - 1)

    def _size(self) -> int:
        return max(self._limit, len(self._running))

    def _soon(self, callback: Callable[..., object], *args: object) -> None:
        assert self._loop is not None, "the pool is not started"
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            logger.debug("the loop has ended: nothing is left to do")

    def _end_loop(self) -> None:
        if self._loop is not None:
            self._soon(self._loop.stop)

    def _tell(self, what: str, *args: object) -> None:
        try:
            getattr(self.config.listener, what)(*args)
        except Exception:
            logger.exception("the listener raised in %s", what)


async def _end_all(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _ended(job: Job, kind: OutcomeKind, cause: BaseException | None = None) -> Outcome:
    """Return the outcome of a job that could not say it itself; nothing of it is stored."""
    failure = Failure.of(cause or (WorkerLostError() if kind is OutcomeKind.LOST else JobKilled()))
    return Outcome(job_id=job.id, kind=kind, failure=failure)


def _slot_statistics(index: int, run: _Run | None) -> SlotStatistics:
    if run is None:
        return SlotStatistics(index=index, pid=os.getpid(), state="free")
    return SlotStatistics(
        index=index, pid=os.getpid(), state="running", job_id=run.job.id, task=run.job.task, since=run.since
    )
