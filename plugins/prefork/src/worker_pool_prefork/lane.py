"""The fast lane of a child: one job at a time, in its main thread, where signals reach it."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections import deque
from types import FrameType
from typing import Any

from worker_kernel import (
    Failure,
    Job,
    JobKilled,
    KernelBug,
    Outcome,
    OutcomeKind,
    Raised,
    SoftTimeLimitExceeded,
    UnsupportedOption,
)

from . import control
from .custody import TICK, Custody
from .frames import FrameKind, Word, finished_news, frame
from .link import Link
from .orders import Equipment, Orders
from .page import Page
from .places import describe_place, name_process

log = logging.getLogger("worker_pool_prefork")

FLUSH_AT = 4800
"""Bytes of news after which the worker is told, though more jobs wait here: some sixty ends, so that it can send the
next jobs before there are none left."""
LOOK_EVERY = 0.25
"""Seconds between two looks at where a task's code is."""
_NOTHING = object()


class FastLane:
    """Runs jobs one after the other in the main thread, which also reads the pipe while it has none; see `Custody`.

    The worker enforces the limits: it names a job on the page and sends a signal, SIGUSR1 for the soft limit, SIGTERM
    to end the job. The handler raises only if that job's call goes on. A task that swallows what ends it has no other
    ending for that; one that does not end is ended with its process, by the worker.

    What ends is written into the page's journal, which outlives the process, and told in one frame: as soon as nothing
    waits, or by the control thread, at the first of its ticks at which as many have ended as wait, or at which the job
    that runs has run for a tick.
    """

    def __init__(self, link: Link, page: Page, equipment: Equipment, orders: Orders) -> None:
        self._link, self._page, self._orders = link, page, orders
        self._equipment = equipment
        self._app = equipment.app
        self._custody = Custody(link.fileno())
        self._jobs: deque[tuple[int, bytes]] = deque()
        self._ending = False
        self._journal = threading.Lock()
        self._main = threading.get_ident()
        self._open = 0
        """The number of the job whose call goes on; 0: nothing may be raised."""
        self._sent: set[str] = set()
        self._kill: JobKilled | None = None
        self._job: Job | None = None
        self._untold = 0
        """Jobs that have ended, and of which the worker was not told."""
        self._announced = 0
        self._next_look = 0.0
        self._shown = ""

    # -- the main thread

    def serve(self) -> None:
        """See `Lane.serve`."""
        signal.signal(signal.SIGUSR1, self._on_soft_limit)
        signal.signal(signal.SIGTERM, self._on_kill)
        index = self._orders.slots[0]
        self._custody.take()
        control.start_thread(lambda: self._custody.watch(self._obey, self._tick, lambda: self._show("idle")))
        _hook(self._equipment.slot_start, index)
        control.or_end_process(self._work_on)
        self._custody.leave()  # what follows may take long
        _hook(self._equipment.slot_end, index)

    def _work_on(self) -> None:
        """Read, run, tell; until there is nothing left and no more to come."""
        while True:
            while not self._jobs and not self._ending:
                if not self._obey():
                    control.end_process()
            self._custody.leave()
            while (entry := self._next()) is not None:
                self._work(*entry)
            self._flush()
            self._custody.take()
            if self._ending and not self._jobs:
                return

    def _obey(self) -> bool:
        return control.obey(self._link, self)

    def _next(self) -> tuple[int, bytes] | None:
        try:
            return self._jobs.popleft()
        except IndexError:
            return None

    def _work(self, number: int, data: bytes) -> None:
        started = time.monotonic()
        self._page.begin(number, started)
        outcome = self._perform(number, data)
        self._job = None
        news = finished_news(number, started, time.monotonic() - started, outcome)
        with self._journal:
            try:
                full = self._page.end(news) > FLUSH_AT
                self._untold += 1
            except ValueError:  # it is full, or this alone is too long for it
                self._flush_locked()
                self._link.send(frame(FrameKind.NEWS, b"[" + news + b"]"))
                self._page.end_told()
                return
        if full:
            self._flush()

    def _perform(self, number: int, data: bytes) -> Outcome:
        """Run one job. Never raises, and no signal raises anything once the job's call is over."""
        value: object = _NOTHING
        raised: BaseException | None = None
        job: Job | None = None
        self._kill = None
        self._sent.clear()
        try:
            self._job = job = self._app.job_from_frame(data)
            _refuse_async(job)
            job.prepare()
            # Two signals can arrive, each at any bytecode, also while the window is closed: one layer more than that.
            try:
                try:
                    try:
                        self._open = number
                        self._raise_what_came_early(number)
                        value = job.call()
                    finally:
                        self._open = 0
                finally:
                    self._open = 0
            finally:
                self._open = 0
        except BaseException as exc:  # noqa: BLE001  (SystemExit and the like fail the task only)
            raised = exc
        error = self._kill or (raised if value is _NOTHING else None)
        if job is None:
            return _unfinished("", error)
        ending = value if error is None else Raised(error)
        raised = error = None  # an exception's traceback holds this frame: leave no cycle
        try:
            return job.finish(ending)
        except BaseException as exc:  # a store's failure must not take the slot with it
            log.exception("task %s[%s] ended, but could not be finished", job.task, job.id)
            return _unfinished(job.id, exc)

    # -- signals, in the main thread

    def _on_soft_limit(self, signum: int, at: FrameType | None) -> None:
        number, limit = self._page.soft_for
        if number and number == self._open and not self._sent:
            self._sent.add("soft")
            self._page.mark_raised(number)
            raise SoftTimeLimitExceeded(limit)

    def _on_kill(self, signum: int, at: FrameType | None) -> None:
        """End the job that the page names. A signal from anybody else is for the worker to act on, not for a child."""
        number, reason, limit = self._page.kill_for
        if number and number == self._open and "kill" not in self._sent:
            self._sent.add("kill")
            self._page.mark_raised(number)
            self._kill = JobKilled(reason.word, limit or None)
            raise self._kill

    def _raise_what_came_early(self, number: int) -> None:
        """Raise what was asked for while the job was being prepared."""
        if number in self._page.signalled:
            self._on_kill(0, None)
            self._on_soft_limit(0, None)

    # -- whoever reads the pipe

    def submit(self, number: int, job: bytes) -> None:
        """See `Lane.submit`."""
        self._jobs.append((number, job))

    def take_back(self, numbers: frozenset[int]) -> list[int]:
        """See `Lane.take_back`."""
        kept: list[tuple[int, bytes]] = []
        returned: list[int] = []
        while (entry := self._next()) is not None:  # the main thread takes some meanwhile, perhaps
            if numbers and entry[0] not in numbers:
                kept.append(entry)
            else:
                returned.append(entry[0])
        self._jobs.extend(kept)
        return returned

    def quit(self) -> None:
        """See `Lane.quit`."""
        self._ending = True

    def order(self, word: str, arguments: list[Any]) -> None:
        """See `Lane.order`: there is no inner pool.

        Raises:
            KernelBug: always.
        """
        raise KernelBug(f"a child with one slot was told {word!r} {arguments}")

    # -- the control thread

    def _tick(self) -> None:
        """Tell what is to be told of what runs: enough of it for the worker to have more sent in time, and no more.

        A job is told of once it has run for a tick, and what ended before it then too.
        """
        current, now = self._page.current, time.monotonic()
        lasts = current != 0 and now - self._page.started >= TICK
        if lasts or self._untold >= len(self._jobs):
            self._flush()
        if lasts and current == self._page.current:
            if current != self._announced:
                self._announced = current
                self._next_look = 0.0
                self._link.tell([Word.ACCEPTED, current, self._page.started, 0])
            if now >= self._next_look:
                self._look(current, now)

    def _look(self, number: int, now: float) -> None:
        self._next_look = now + LOOK_EVERY
        job = self._job
        at = sys._current_frames().get(self._main)  # noqa: SLF001  (documented, if oddly named)
        if job is not None and at is not None:
            self._page.note_place(number, describe_place(at))
            self._show(f"{job.task}[{job.id}]")

    def _show(self, state: str) -> None:
        if state != self._shown:
            self._shown = state
            name_process(self._orders.title, self._orders.slots, state)

    # -- both

    def _flush(self) -> None:
        with self._journal:
            self._flush_locked()

    def _flush_locked(self) -> None:
        news = self._page.journal
        if news:
            self._link.send(frame(FrameKind.NEWS, b"[" + news + b"]"))
            self._page.clear_journal()
            self._untold = 0


def _refuse_async(job: Job) -> None:
    if job.is_async:
        raise UnsupportedOption(f"task {job.task!r} is async def, and this pool runs plain functions only")


def _unfinished(job_id: str, error: BaseException | None) -> Outcome:
    failure = None if error is None else Failure.of(error)
    return Outcome(job_id=job_id, kind=OutcomeKind.FAILED, failure=failure)


def _hook(hook: Any, index: int) -> None:
    if hook is None:
        return
    try:
        hook(index)
    except BaseException:  # a hook that calls sys.exit must not take the child with it
        log.exception("a hook of slot %d raised", index)
