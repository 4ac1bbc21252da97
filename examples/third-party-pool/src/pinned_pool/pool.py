"""Threads that stay where their caches are."""

import os
import sys
import threading
from types import FrameType

from worker_kernel import Job, Run, Server, Slot, SlotPool, SlotWorker, ThreadRun

from .capabilities import CAPABILITIES


class PinnedPool(SlotPool):
    """Runs each job in a thread that the system keeps on one CPU. For Linux, where a thread has an affinity."""

    capabilities = CAPABILITIES

    def _serve_in(self, slot: SlotWorker) -> Server:
        thread = threading.Thread(target=self._serve_pinned, args=(slot,), name=f"pinned-{slot.index}", daemon=True)
        thread.start()
        return thread

    def _serve_pinned(self, slot: SlotWorker) -> None:
        cpus = sorted(os.sched_getaffinity(os.getpid()))
        cpus = cpus[int(str(self.config.options.get("pinned_first_cpu", 0))) :] or cpus
        os.sched_setaffinity(0, {cpus[slot.index % len(cpus)]})  # 0: the thread that calls
        self._serve(slot)

    def _make_run(self, job: Job, slot: Slot) -> Run:
        return ThreadRun(job, slot, self.config.clock)

    def _frame(self, run: Run) -> FrameType | None:
        return sys._current_frames().get(run.thread)  # noqa: SLF001  (documented, in spite of its name)
