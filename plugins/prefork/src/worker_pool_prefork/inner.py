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
from .frames import Word, accepted_news, finished_news
from .link import Link
from .orders import Equipment, Orders
from .page import Page
from .places import name_process
from .telling import Teller

log = logging.getLogger("worker_pool_prefork")


class _Given:
    """A job that was given to the inner pool."""

    __slots__ = ("number", "slot", "started")

    def __init__(self, number: int) -> None:
        self.number = number
        self.started = 0.0
        self.slot = 0


class InnerLane:
    """Runs jobs in a pool of this process, and passes on what that pool tells. See `Lane` for the threads.

    The pool tells before a job starts, and the words are on the page before it goes on: whatever ends the process
    then, the worker knows which jobs had started.
    """

    def __init__(self, link: Link, page: Page, cls: type[Pool], equipment: Equipment, orders: Orders) -> None:
        self._link, self._orders = link, orders
        self._app = equipment.app
        self._given: dict[Job, _Given] = {}
        self._teller = Teller(link, page)
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
        control.start_thread(self._teller.serve, name="worker-teller")
        name_process(self._orders.title, self._orders.slots, type(self._pool).__name__)
        if self._serves:
            self._pool.serve()
        else:
            self._over.wait()
        if not self._pool.stop(timeout=0.0):
            self._pool.terminate()
        self._teller.flush()

    # -- the control thread

    def submit(self, number: int, job: bytes) -> None:
        """See `Lane.submit`."""
        try:
            made = self._app.job_from_frame(job)
            self._given[made] = _Given(number)
            self._pool.submit(made)
        except PoolClosed:
            del self._given[made]
            self._link.tell([Word.RETURNED, [number]])
        except Exception as exc:  # noqa: BLE001  (the job's own fault: it is told of as its end)
            now = time.monotonic()
            failed = Outcome(job_id="", kind=OutcomeKind.FAILED, failure=Failure.of(exc))
            self._teller.ended(number, finished_news(number, now, 0.0, failed), now, urgent=True)

    def take_back(self, numbers: frozenset[int]) -> list[int]:
        """See `Lane.take_back`. What comes back is told as it does: ids may come twice, and the pool goes by ids."""
        for job, given in list(self._given.items()):
            if not given.started and (not numbers or given.number in numbers):
                self._pool.cancel(job.id, CancelHow.WAITING)
        return []

    def order(self, word: str, arguments: list[Any]) -> None:
        """See `Lane.order`."""
        if word == Word.CANCEL:
            number, how = arguments
            job = next((job for job, given in list(self._given.items()) if given.number == number), None)
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
        given = self._given.get(job)
        if given is not None:
            given.started, given.slot = time.monotonic(), slot.index
            self._teller.started(given.number, accepted_news(given.number, given.started, slot.index))

    def finished(self, job: Job, outcome: Outcome) -> None:
        """See `PoolListener.finished`."""
        given = self._given.get(job)
        if given is None:
            return
        if given.started:
            del self._given[job]
            now = time.monotonic()
            news = finished_news(given.number, given.started, now - given.started, outcome, given.slot)
            # What was ended from outside is told by the watchdog, perhaps because nothing else gets on here.
            urgent = not self._given or outcome.kind is not OutcomeKind.SUCCEEDED
            self._teller.ended(given.number, news, now, urgent=urgent)
        else:  # it was taken back, or the inner pool was closed before its turn came
            del self._given[job]
            self._link.tell([Word.RETURNED, [given.number]])

    def resized(self, size: int) -> None:
        """See `PoolListener.resized`."""
        self._link.tell([Word.SIZE, size])

    def failing(self, reason: str, exit_code: int) -> None:
        """See `PoolListener.failing`: the worker replaces this process."""
        log.warning("child %d is replaced: %s", os.getpid(), reason)
        self._link.tell([Word.FAILING, reason, exit_code])


def _numbered(hook: Callable[[int], None] | None, first: int) -> Callable[[int], None] | None:
    """Return the hook for slots that the inner pool numbers from 0, and the worker from ``first``."""
    return None if hook is None else lambda index: hook(first + index)
