"""A tiny honest pool of processes, one for each job, and liars made from it: the kit's proof for ``runs_elsewhere``."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
import warnings
from collections import Counter, deque
from contextlib import suppress
from typing import Any, ClassVar

import attrs

from worker_kernel.application import Application
from worker_kernel.capabilities import Capabilities, Support
from worker_kernel.errors import PoolClosed, Unsupported, WorkerLostError
from worker_kernel.job import Job
from worker_kernel.outcome import Failure, Outcome, OutcomeKind
from worker_kernel.pool import CancelHow, CancelReply, Pool, PoolConfig, PoolStatistics, Slot, SlotStatistics


@attrs.define(eq=False)
class _Place:
    """A slot: a process that waits for one job, and what is known of it."""

    index: int
    pid: int
    orders: int
    """Where the frame is written."""
    answers: int
    """Where the outcome is read."""
    job: Job | None = None


_FORKING = threading.Lock()
"""Held from the making of pipes until only their owners have them: a death shows as the end of the answers."""


class ForkingPool(Pool):
    """A process waits in each slot; it runs one job, tells the outcome, and ends. Then the next one is forked.

    Without limits, cancelling and resizing: what `Capabilities` do not declare is refused.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        concurrency=Support.NATIVE, process_isolation=True, runs_elsewhere=True
    )
    caught_by: ClassVar[str] = ""

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._places: list[_Place] = []
        self._threads: list[threading.Thread] = []
        self._closed = self._ending = False
        self._done = self._failed = 0

    def start(self) -> None:
        with self._changed:
            for index in range(self.config.limit):
                self._places.append(self._fork(index))

    def submit(self, job: Job) -> None:
        with self._changed:
            if self._closed:
                raise PoolClosed(job.id)
            self._waiting.append(job)
            self._changed.notify_all()

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        with self._changed:
            job = next((job for job in self._waiting if job.id == job_id), None)
            if job is not None:
                self._waiting.remove(job)
            runs = any(place.job and place.job.id == job_id for place in self._places)
        if job is not None:
            self._tell("finished", job, Outcome.never_started(job_id))
            return CancelReply.CANCELLED
        if runs and how is not CancelHow.WAITING:
            raise Unsupported("cancel", type(self).__name__)
        return CancelReply.UNKNOWN

    def close(self) -> None:
        with self._changed:
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
        for job in waiting:
            self._tell("finished", job, Outcome.never_started(job.id))

    def stop(self, timeout: float | None) -> bool:
        self.close()
        with self._changed:
            if not self._changed.wait_for(lambda: all(place.job is None for place in self._places), timeout):
                return False
            self._ending = True
            self._changed.notify_all()
        self._join()
        return True

    def terminate(self) -> None:
        self.close()
        with self._changed:
            self._ending = True
            for place in self._places:
                with suppress(ProcessLookupError):
                    os.kill(place.pid, signal.SIGKILL)
            self._changed.notify_all()
        self._join()

    def statistics(self) -> PoolStatistics:
        with self._changed:
            running = sum(place.job is not None for place in self._places)
            cls = type(self)
            return PoolStatistics(
                implementation=f"{cls.__module__}:{cls.__qualname__}",
                limit=len(self._places),
                size=len(self._places),
                running=running,
                free=len(self._places) - running,
                queued=len(self._waiting),
                zombies=0,
                done=self._done,
                failed=self._failed,
                recycled=Counter(),
                slots=tuple(map(_slot_statistics, self._places)),
            )

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _fork(self, index: int) -> _Place:
        """Fork the process of a slot; the pool's lock is held."""
        app = self.config.app
        assert app is not None
        with _FORKING, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads; the child uses none of their locks
            (order, orders), (answers, answer) = os.pipe(), os.pipe()
            pid = os.fork()
            if pid == 0:
                _child(app, order, answer)
            os.close(order)
            os.close(answer)
        place = _Place(index, pid, orders, answers)
        self._threads.append(threading.Thread(target=self._serve, args=(place,), name=f"slot-{index}"))
        self._threads[-1].start()
        return place

    def _serve(self, place: _Place) -> None:
        job = self._next(place)
        outcome = None
        if job is not None:
            self._tell("accepted", job, Slot(index=place.index, pid=place.pid))
            outcome = self._carry_out(place, job)
        else:
            os.kill(place.pid, signal.SIGKILL)
        os.close(place.orders)
        status = os.waitpid(place.pid, 0)[1]
        os.close(place.answers)
        if job is not None:
            self._end(place, job, outcome or _lost(job, status))

    def _next(self, place: _Place) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            if self._ending:
                return None
            place.job = self._waiting.popleft()
            return place.job

    def _carry_out(self, place: _Place, job: Job) -> Outcome | None:
        with suppress(BrokenPipeError), open(place.orders, "wb", closefd=False) as stream:  # it is dead
            pickle.dump(job.to_frame(), stream)
        with open(place.answers, "rb", closefd=False) as stream:
            told = stream.read()
        outcome: Outcome | None = pickle.loads(told) if told else None
        return outcome

    def _end(self, place: _Place, job: Job, outcome: Outcome) -> None:
        with self._changed:
            place.job = None
            if not job.is_report:
                self._done += 1
                self._failed += outcome.failed
            if not self._ending:
                self._places[place.index] = self._fork(place.index)
            self._changed.notify_all()
        self._tell("finished", job, outcome)

    def _tell(self, what: str, *arguments: Any) -> None:
        with suppress(RuntimeError):
            getattr(self.config.listener, what)(*arguments)


def _child(app: Application, order: int, answer: int) -> None:
    """Run one job and end the process."""
    try:
        with open(order, "rb") as stream:
            frame = pickle.load(stream)
        outcome = _run(app.job_from_frame(frame))
        with open(answer, "wb") as stream:
            pickle.dump(outcome, stream)
    finally:
        os._exit(0)


def _run(job: Job) -> Outcome:
    if job.is_async:
        failure = Failure.of(Unsupported("async_tasks", "ForkingPool"))
        return Outcome(job_id=job.id, kind=OutcomeKind.FAILED, failure=failure)
    try:
        return job.run()
    except BaseException as exc:
        return Outcome(job_id=job.id, kind=OutcomeKind.FAILED, failure=Failure.of(exc))


def _lost(job: Job, status: int) -> Outcome:
    code = os.waitstatus_to_exitcode(status)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    failure = Failure.of(WorkerLostError(f"the process ended with {how}"))
    return Outcome(job_id=job.id, kind=OutcomeKind.LOST, failure=failure)


def _slot_statistics(place: _Place) -> SlotStatistics:
    if place.job is None:
        return SlotStatistics(index=place.index, pid=place.pid, state="free")
    return SlotStatistics(
        index=place.index, pid=place.pid, state="running", job_id=place.job.id, task=place.job.task, since=0.0
    )


class CallsALossAFailure(ForkingPool):
    """Says that a task failed whose process exited."""

    caught_by = "test_a_job_that_ends_its_process_is_lost_alone"

    def _end(self, place: _Place, job: Job, outcome: Outcome) -> None:
        if outcome.failure and "exit code 3" in str(outcome.failure):
            outcome = attrs.evolve(outcome, kind=OutcomeKind.FAILED)
        super()._end(place, job, outcome)


class LeavesAProcess(ForkingPool):
    """A process of the pool outlives `stop`."""

    caught_by = "test_no_process_is_left_after_the_end"

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._left: list[subprocess.Popen[bytes]] = []

    def stop(self, timeout: float | None) -> bool:
        stopped = super().stop(timeout)
        self._left.append(subprocess.Popen(["sleep", "60"]))
        return stopped

    def terminate(self) -> None:
        super().terminate()
        for process in self._left:
            process.kill()
            process.wait()


class CutsWhatIsLarge(ForkingPool):
    """Reads an outcome up to a megabyte only."""

    caught_by = "test_what_is_large_arrives_whole"

    def _end(self, place: _Place, job: Job, outcome: Outcome) -> None:
        if outcome.failure and len(outcome.failure.traceback) > 1_000_000:
            outcome = attrs.evolve(outcome, failure=attrs.evolve(outcome.failure, traceback="x" * 1_000_000))
        super()._end(place, job, outcome)
