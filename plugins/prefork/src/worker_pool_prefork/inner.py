"""The lane of a child that runs another pool: the same contract as in a worker, with the pipe as its listener."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from worker_kernel import (
    CancelHow,
    Failure,
    Job,
    Outcome,
    OutcomeKind,
    Pool,
    PoolClosed,
    PoolConfig,
    Slot,
)

from . import control
from .frames import Word, outcome_to_news
from .link import Link
from .orders import Equipment, Orders
from .places import name_process

log = logging.getLogger("worker_pool_prefork")


class InnerLane:
    """Runs jobs in a pool of this process, and passes on what that pool tells. See `Lane` for the threads.

    The pool tells before a job starts, and the words are in the pipe before it goes on: whatever ends the process then,
    the worker knows which jobs had started.
    """

    def __init__(self, link: Link, cls: type[Pool], equipment: Equipment, orders: Orders) -> None:
        self._link, self._orders = link, orders
        self._app = equipment.app
        self._numbers: dict[Job, tuple[int, float]] = {}
        self._jobs: dict[int, Job] = {}
        self._taken_back: set[Job] = set()
        self._over = threading.Event()
        self._serves = cls.capabilities.runs_in_main_thread
        self._pool = cls(
            PoolConfig(
                limit=len(orders.slots),
                listener=self,
                app=equipment.app,
                node_name=orders.title,
                soft_time_limit=orders.soft_time_limit,
                time_limit=orders.time_limit,
                limit_grace=orders.limit_grace,
                zombie_budget=orders.zombie_budget,
                max_tasks_per_child=orders.max_tasks_per_child,
                options=orders.options,
                slot_start=_numbered(equipment.slot_start, orders.slots[0]),
                slot_end=_numbered(equipment.slot_end, orders.slots[0]),
            )
        )
        self._pool.start()

    # -- the main thread

    def serve(self) -> None:
        """See `Lane.serve`."""
        control.start_thread(lambda: control.read_on(self._link, self))
        name_process(self._orders.title, self._orders.slots, type(self._pool).__name__)
        if self._serves:
            self._pool.serve()
        else:
            self._over.wait()
        if not self._pool.stop(timeout=0.0):
            self._pool.terminate()

    # -- the control thread

    def submit(self, number: int, job: bytes) -> None:
        """See `Lane.submit`."""
        try:
            made = self._app.job_from_frame(job)
            self._numbers[made] = (number, 0.0)
            self._jobs[number] = made
            self._pool.submit(made)
        except PoolClosed:
            self._forget(made)
            self._link.tell([Word.RETURNED, [number]])
        except Exception as exc:  # noqa: BLE001  (the job's own fault: it is told of as its end)
            failed = Outcome(job_id="", kind=OutcomeKind.FAILED, failure=Failure.of(exc))
            self._link.tell([Word.FINISHED, number, time.monotonic(), 0.0, outcome_to_news(failed)])

    def take_back(self, numbers: frozenset[int]) -> list[int]:
        """See `Lane.take_back`."""
        returned = []
        for number, job in list(self._jobs.items()):
            if numbers and number not in numbers:
                continue
            self._taken_back.add(job)  # before the pool tells that it ended
            reply = self._pool.cancel(job.id, CancelHow.WAITING)
            if reply == "cancelled":
                returned.append(number)
                self._forget(job)
            self._taken_back.discard(job)
        return returned

    def order(self, word: str, arguments: list[Any]) -> None:
        """See `Lane.order`."""
        if word == Word.CANCEL:
            number, how = arguments
            job = self._jobs.get(number)
            if job is not None:
                self._pool.cancel(job.id, CancelHow(how))
        elif word == Word.RESIZE:
            by = int(arguments[0])
            if by > 0:
                self._pool.grow(by)
            elif by < 0:
                self._pool.shrink(-by)
        elif word == Word.END_JOBS:
            threading.Thread(target=self._pool.terminate, name="worker-end-jobs", daemon=True).start()

    def quit(self) -> None:
        """See `Lane.quit`."""
        threading.Thread(target=self._drain, name="worker-drain", daemon=True).start()

    def _drain(self) -> None:
        self._pool.stop(timeout=None)
        self._over.set()

    # -- what the inner pool tells, in whatever thread

    def accepted(self, job: Job, slot: Slot) -> None:
        """See `PoolListener.accepted`."""
        known = self._numbers.get(job)
        if known is not None:
            started = time.monotonic()
            self._numbers[job] = (known[0], started)
            self._link.tell([Word.ACCEPTED, known[0], started, slot.index])

    def finished(self, job: Job, outcome: Outcome) -> None:
        """See `PoolListener.finished`."""
        if job in self._taken_back:
            return
        known = self._numbers.get(job)
        self._forget(job)
        if known is None:
            return
        number, started = known
        if not started:  # the inner pool was closed before its turn came
            self._link.tell([Word.RETURNED, [number]])
        else:
            self._link.tell([Word.FINISHED, number, started, time.monotonic() - started, outcome_to_news(outcome)])

    def resized(self, size: int) -> None:
        """See `PoolListener.resized`."""
        self._link.tell([Word.SIZE, size])

    def failing(self, reason: str, exit_code: int) -> None:
        """See `PoolListener.failing`: the worker replaces this process."""
        log.warning("child %d is replaced: %s", os.getpid(), reason)
        self._link.tell([Word.FAILING, reason, exit_code])

    def _forget(self, job: Job) -> None:
        known = self._numbers.pop(job, None)
        if known is not None:
            self._jobs.pop(known[0], None)


def _numbered(hook: Callable[[int], None] | None, first: int) -> Callable[[int], None] | None:
    """Return the hook for slots that the inner pool numbers from 0, and the worker from ``first``."""
    return None if hook is None else lambda index: hook(first + index)
