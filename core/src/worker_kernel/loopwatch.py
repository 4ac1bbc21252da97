"""Sees, from a thread that no greenlet can stop, whether the loop of a green process turns."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Collection
from types import FrameType

from .clock import Clock
from .deadlines import Deadline, Deadlines
from .greens import Green, GreenRun

log = logging.getLogger("worker_kernel.loopwatch")

_STDERR = 2
_DEEPEST = 20
"""Frames that are shown of a stack, the innermost ones."""
_LONGEST_LOOK = 0.5
"""Seconds between two looks at the most: what must go on meanwhile waits no longer for that."""


class LoopWatch:
    """Names the task that keeps the loop from turning, and keeps up what would die of it.

    While there are runs, a timer of the library beats, and the watchdog's thread looks whether it does. A loop that
    has not turned for ``patience`` is reported on stderr at once, with the stack of what holds it, and in the log when
    it turns again. It is not logged before, because handlers may wait for the very loop.
    """

    def __init__(
        self,
        green: Green,
        clock: Clock,
        deadlines: Deadlines,
        *,
        patience: float,
        runs: Callable[[], Collection[GreenRun]],
        upkeep: Callable[[], None] | None = None,
    ) -> None:
        """Watch nothing yet.

        Args:
            green: the library.
            clock: where the time comes from.
            deadlines: whose thread looks.
            patience: seconds (> 0) after which the holder is named; ``inf``: never.
            runs: returns what runs now. Called on the watchdog's thread.
            upkeep: called on the watchdog's thread at each look at a loop that has not turned for two of them.
        """
        self._green = green
        self._clock = clock
        self._deadlines = deadlines
        self._patience = patience
        self._runs = runs
        self._upkeep = upkeep
        self._every = min(patience / 2, _LONGEST_LOOK)
        self._thread = green.native.ident()
        self._pulse = green.pulse(self._every / 2, self._beat)
        self._running = 0
        self._beating = False
        self._looking = False
        self._look_again: Deadline | None = None
        self._turned = self._looked = clock.monotonic()
        self._held: str | None = None

    # -- on the loop's thread

    def begin(self) -> None:
        """Say that there is one more run."""
        self._running += 1
        if not self._beating:
            self._beating = True
            self._turned = self._clock.monotonic()
            self._pulse.start()
        if not self._looking:
            self._looking = True
            self._looked = self._clock.monotonic()
            self._again()

    def end(self) -> None:
        """Say that a run is over."""
        self._running -= 1

    def stop(self) -> None:
        """Watch no more. Idempotent."""
        self._running = 0
        self._beating = False
        self._pulse.stop()
        if self._look_again is not None:
            self._look_again.cancel()

    def _beat(self) -> None:
        now = self._clock.monotonic()
        held, self._held = self._held, None
        lag, self._turned = now - self._turned, now
        if held is not None:
            # A handler may block, which the loop's own greenlet must not.
            self._green.spawn(log.warning, "the loop did not turn for %.1f s: %s held it", lag, held)
        if self._running <= 0:
            self._beating = False
            self._pulse.stop()

    # -- on the watchdog's thread

    def holder(self) -> GreenRun | None:
        """Return the run that the loop's thread is in at this moment; None: it is in no run."""
        return self._owner(self._frame())

    def _again(self) -> None:
        self._look_again = self._deadlines.at(self._clock.monotonic() + self._every, self._look)

    def _look(self) -> None:
        now = self._clock.monotonic()
        late, self._looked = now - self._looked > 2 * self._every, now
        if self._running <= 0:
            self._looking = False
            return
        lag = now - self._turned
        if not late:  # else the whole process stood still, and the loop is to have its chance
            if lag > 2 * self._every and self._upkeep is not None:
                self._upkeep()
            if lag >= self._patience and self._held is None:
                self._report(lag)
        self._again()

    def _report(self, lag: float) -> None:
        frame = self._frame()
        if frame is None:
            return
        run = self._owner(frame)
        who = "no task" if run is None else f"task {run.job.task}[{run.job.id}]"
        self._held = f"{who}, at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name},"
        stack = "".join(traceback.format_stack(frame, limit=_DEEPEST))
        text = f"the loop of {self._green.name} has not turned for {lag:.1f} s: {who} holds it, and is here:\n{stack}"
        os.write(_STDERR, text.encode(errors="backslashreplace"))

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._thread)  # noqa: SLF001  (documented, in spite of its name)

    def _owner(self, frame: FrameType | None) -> GreenRun | None:
        runs = {id(run.frame): run for run in self._runs() if run.frame is not None}
        while frame is not None:
            if id(frame) in runs:
                return runs[id(frame)]
            frame = frame.f_back
        return None
