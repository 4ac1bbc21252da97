"""The pool of threads."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import ClassVar

from worker_kernel import Capabilities, Job, Run, Server, Slot, SlotPool, SlotWorker, ThreadRun

from .capabilities import CAPABILITIES


class ThreadsPool(SlotPool):
    """Runs each job in one of ``limit`` daemon threads of this process.

    Limits and cancellation are raised in the job's thread when it next runs Python; all else is as `SlotPool` has it.
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def _serve_in(self, slot: SlotWorker) -> Server:
        thread = threading.Thread(
            target=self._serve, args=(slot,), name=f"{self.config.node_name}-slot-{slot.index}", daemon=True
        )
        thread.start()
        return thread

    def _make_run(self, job: Job, slot: Slot) -> Run:
        return ThreadRun(job, slot, self.config.clock)

    def _frame(self, run: Run) -> FrameType | None:
        return sys._current_frames().get(run.thread)  # noqa: SLF001  (documented, in spite of its name)
