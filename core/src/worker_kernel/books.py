"""The pool's books: which slots there are, what they run, and what became of those that went."""

from __future__ import annotations

import os
from collections import Counter

import attrs

from .limits import Run
from .outcome import Outcome
from .pool import SlotStatistics


@attrs.define(eq=False)
class SlotWorker:
    """One slot and the thread, or greenlet, that serves it. All fields belong to the pool's lock."""

    index: int
    """Position in the pool."""
    run: Run | None = None
    """What it runs; None: it is free."""
    runs: int = 0
    """Runs since it began to be served so, reports not counted."""
    stale: str = ""
    """Why it is to be replaced as soon as it is free; empty: it is not."""


class Books:
    """Counts slots, runs and zombies; at every moment ``size == running + free``. Not thread-safe: the pool locks."""

    def __init__(self) -> None:
        self.limit = 0
        """Slots asked for."""
        self.slots: dict[int, SlotWorker] = {}
        self.zombies: list[Run] = []
        self.done = 0
        self.failed = 0
        self.recycled: Counter[str] = Counter()

    @property
    def size(self) -> int:
        """Slots there are."""
        return len(self.slots)

    @property
    def too_many(self) -> bool:
        """Whether there are more slots than asked for: the next one to become free goes."""
        return len(self.slots) > self.limit

    def free_index(self) -> int:
        """Return the lowest position that is free."""
        return next(number for number in range(len(self.slots) + 1) if number not in self.slots)

    def add(self, slot: SlotWorker) -> None:
        """Add a slot."""
        self.slots[slot.index] = slot

    def has(self, slot: SlotWorker) -> bool:
        """Whether the slot is still one of the pool's."""
        return self.slots.get(slot.index) is slot

    def remove(self, slot: SlotWorker) -> None:
        """Take a slot out."""
        del self.slots[slot.index]

    def replace(self, fresh: SlotWorker, reason: str) -> None:
        """Put a fresh slot in the place of another at the same position."""
        self.recycled[reason] += 1
        self.slots[fresh.index] = fresh

    def remove_free(self) -> None:
        """Take away free slots that are too many, the last first; busy ones go when their job has ended."""
        for slot in reversed(self._ordered()):
            if self.too_many and slot.run is None:
                self.remove(slot)

    def count(self, outcome: Outcome) -> None:
        """Count the end of a run."""
        self.done += 1
        self.failed += outcome.failed

    def find(self, job_id: str) -> Run | None:
        """Return the run of a job, reports aside."""
        for slot in self.slots.values():
            if slot.run is not None and slot.run.job.id == job_id and not slot.run.job.is_report:
                return slot.run
        return None

    def running(self) -> list[Run]:
        """Return what runs, in the order of the slots."""
        return [slot.run for slot in self._ordered() if slot.run is not None]

    def statistics(self) -> tuple[SlotStatistics, ...]:
        """Return a line for each slot, and then for each zombie."""
        return (
            *(_line(slot.index, "free" if slot.run is None else "running", slot.run) for slot in self._ordered()),
            *(_line(run.slot.index, "zombie", run) for run in self.zombies),
        )

    def _ordered(self) -> list[SlotWorker]:
        return [self.slots[index] for index in sorted(self.slots)]


def _line(index: int, state: str, run: Run | None) -> SlotStatistics:
    return SlotStatistics(
        index=index,
        pid=os.getpid(),
        state=state,
        job_id=run.job.id if run else None,
        task=run.job.task if run else None,
        since=run.since if run else None,
    )
