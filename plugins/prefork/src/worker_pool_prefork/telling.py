"""What the pool inside a child tells of its jobs: on the page at once, in the pipe with as much else as there is."""

from __future__ import annotations

import threading
import time

from .frames import FrameKind, frame
from .link import Link
from .page import FLUSH_AT, Page

TICK = 0.01
"""Seconds that a start, or an end that others follow without a pause, is kept back at most."""
PACE = 0.001
"""Seconds between two frames, unless there is nothing left to run."""


class Teller:
    """Gathers what jobs are told of, so that many share one frame. `started` and `ended` may be called by any thread.

    What was told is in the page's journal when the call returns: whatever ends the process then, the worker knows it.
    Into the pipe it goes as soon as whoever runs jobs pauses, and an end takes the place of its start. A start alone
    waits for up to `TICK`: it is news only of a job that lasts.
    """

    def __init__(self, link: Link, page: Page) -> None:
        """Only `serve` and the two calls use the page's journal from now on."""
        self._link, self._page = link, page
        self._lock = threading.Lock()
        self._untold: dict[int, bytes] = {}
        """By the number of the job; what is in the journal beside that is out of date."""
        self._oldest_end = 0.0
        """When the first of the ends that are untold was told of here; 0: there is none."""
        self._flushed = 0.0
        self._some = threading.Event()
        self._ends = threading.Event()

    def serve(self) -> None:
        """Put into the pipe what is gathered, for ever.

        Raises:
            OSError: the worker is gone.
        """
        while True:
            self._some.wait()
            self._ends.wait(TICK)
            pause = self._flushed + PACE - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self._some.clear()
            self._ends.clear()
            self.flush()

    def started(self, number: int, news: bytes) -> None:
        """The job with this number starts."""
        with self._lock:
            self._note(number, news)
        if not self._some.is_set():
            self._some.set()

    def ended(self, number: int, news: bytes, now: float, *, urgent: bool) -> None:
        """A job has ended.

        Args:
            number: of the job.
            news: how it did.
            now: the system's monotonic time.
            urgent: nothing follows soon, or `serve` may not come to it.
        """
        with self._lock:
            length = self._note(number, news)
            if not self._oldest_end:
                self._oldest_end = now
            if urgent or length > FLUSH_AT or now - self._oldest_end > TICK:
                self._flush()
                return
        if not self._ends.is_set():
            self._ends.set()
            self._some.set()

    def flush(self) -> None:
        """Put into the pipe what there is."""
        with self._lock:
            self._flush()

    def _note(self, number: int, news: bytes) -> int:
        """Write into the journal; returns its length."""
        try:
            length = self._page.note(news)
        except ValueError:
            self._flush()
            try:
                length = self._page.note(news)
            except ValueError:  # this alone is too long for it
                self._link.send(frame(FrameKind.NEWS, b"[" + news + b"]"))
                return 0
        self._untold[number] = news
        return length

    def _flush(self) -> None:
        self._oldest_end = 0.0
        if self._untold:
            self._flushed = time.monotonic()
            self._link.send(frame(FrameKind.NEWS, b"[" + b",".join(self._untold.values()) + b"]"))
            self._untold.clear()
            self._page.clear_journal()
