"""Which child gets which job, and how many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from worker_kernel import BATCH, average_of_late, batch_of

from .entry import Entry
from .host import Host

FAST = 32
"""Jobs that a child may have for one slot under *fast*, however long they take."""
PATIENCE = 0.02
"""Seconds that the first job of a child may run before what waits behind it is asked back for one that gets on."""
PATIENCE_OF_SEVERAL = 0.1
"""Seconds that a job may wait in a child of several slots, before it is asked back for one that gets on."""
_SAMPLES = 3
"""Runs of a task before its time counts as known."""


class Costs:
    """How long each task takes, on average of late."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float]] = {}

    def learn(self, task: str, seconds: float) -> None:
        """A run of a task took so long."""
        runs, average = self._known.get(task, (0, 0.0))
        self._known[task] = (runs + 1, average_of_late(average, seconds, runs + 1))

    def batch(self, task: str) -> int:
        """Return how many jobs of a task a child may have at a time: one, unless the task is known to be small."""
        runs, average = self._known.get(task, (0, 0.0))
        return batch_of(average) if runs >= _SAMPLES else 1


def _load(host: Host) -> float:
    """What a child has, beside what it can run at a time."""
    return len(host.entries) / host.slots


class Schedule:
    """The jobs that wait, and the rule by which they are given out: first in, first out, reports ahead of runs.

    *fair*: a job goes where a slot is free. *fast*: a child may have up to `FAST` jobs for one slot, in frames of many.
    *adaptive*: as many as make a batch (`batch_of`) of tasks that are known to be small, else fair.
    """

    def __init__(self, strategy: str) -> None:
        """Args: ``strategy`` is ``fair``, ``fast`` or ``adaptive``."""
        self.strategy = strategy
        self.costs = Costs()
        self.waiting: deque[Entry] = deque()
        """In the order in which they are to be given out."""

    def backlog(self, runtime: float) -> int:
        """Return how many jobs more than one are welcome for each child, where a run takes so many seconds."""
        return self._at_a_time(batch_of(runtime)) - 1

    def _at_a_time(self, batch: int) -> int:
        """Return how many jobs a child may have of a task of which so many are a batch."""
        if self.strategy == "adaptive":
            return batch
        return max(batch, FAST) if self.strategy == "fast" else 1

    def _fitting(self, task: str) -> int:
        return self._at_a_time(self.costs.batch(task))

    def put(self, entry: Entry) -> None:
        """A job comes in."""
        if entry.job.is_report:
            self.waiting.appendleft(entry)  # a fate that is decided waits for nobody
        else:
            self.waiting.append(entry)

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Jobs come back from a child that has not started them: they are next, in their order."""
        self.waiting.extendleft(sorted(entries, key=lambda entry: -entry.number))

    def give_out(self, hosts: list[Host], allowance: Callable[[Host], int]) -> list[Host]:
        """Give jobs to children, as long as there are both. Returns the children that got any.

        Args:
            hosts: those that take jobs.
            allowance: how many more runs a child may be given before it is replaced.
        """
        if len(self.waiting) == 1:  # as where nothing waits: most often a child has nothing to do
            for host in hosts:
                if not host.entries and host.room > 0 and allowance(host) > 0:
                    host.dispatch([self.waiting.popleft()])
                    return [host]
        served: dict[Host, None] = {}
        strict = self.strategy == "fair"
        progress = True
        while self.waiting and progress:
            progress = False
            takers = [host for host in sorted(hosts, key=_load) if self._may_take(host, strict)]
            for position, host in enumerate(takers):
                batch = self._batch(host, allowance(host), len(takers) - position)
                if batch:
                    host.dispatch(batch)
                    served[host] = None
                    progress = progress or not strict or host.slots > 1  # it may take more
        return list(served)

    def _may_take(self, host: Host, strict: bool) -> bool:
        """Whether a child can have more jobs than it has: where a slot is free, or half of what it may have is done."""
        if host.room > 0:
            return True
        if strict or host.before:
            return False
        enough = self._fitting(self.waiting[0].job.task) // 2
        return len(host.entries) < host.slots + enough and host.long_job not in host.entries

    def _batch(self, host: Host, allowed: int, takers: int) -> list[Entry]:
        """Take what goes to this child now: its share, where ``takers`` children are still to get theirs.

        That is a job for each slot that is free, and small ones to be ahead; in a child of one slot they wait for small
        ones only.
        """
        if allowed <= 0 or not self.waiting:
            return []
        most, room, fits = min(allowed, -(-len(self.waiting) // takers)), host.room, BATCH
        ahead = not host.before and host.long_job not in host.entries
        if host.slots == 1:
            fits = min(map(self._fitting, {entry.job.task for entry in host.entries.values()}), default=BATCH)
        batch: list[Entry] = []
        task, fitting = None, BATCH
        while len(batch) < most and self.waiting:
            following = self.waiting[0].job.task
            if following != task:  # most often they are all the same
                task, fitting = following, self._fitting(following)
            fits = min(fits, fitting) if host.slots == 1 else fitting
            if len(batch) >= room and not (ahead and len(host.entries) + len(batch) < host.slots - 1 + fits):
                break
            batch.append(self.waiting.popleft())
        return batch

    def overdue(self, hosts: list[Host], now: float) -> tuple[Host | None, float]:
        """Find a child where jobs wait for long behind others, while some other child gets on.

        Returns:
            The child that is to be asked; and, where there is none yet, the seconds after which to look again, 0:
            there is nothing to look for.
        """
        late: Host | None = None
        soonest = 0.0
        brisk = False
        for host in hosts:
            waits = _runs(host, now) if host.slots == 1 else _waits(host, now)
            patience = PATIENCE if host.slots == 1 else PATIENCE_OF_SEVERAL
            brisk = brisk or (waits < PATIENCE and host.takes_jobs)
            if len(host.entries) <= host.slots or host.asked_back:
                continue
            if waits >= patience:
                late = late or host
            else:
                soonest = min(soonest or patience, patience - waits)
        if len(hosts) < 2 or not brisk:
            return None, 0.0
        return late, 0.0 if late else soonest


def _runs(host: Host, now: float) -> float:
    """How many seconds the current job of a child has run; 0: it has none. Ends that it has not told yet count."""
    if not host.entries:
        return 0.0
    first = next(iter(host.entries.values()))
    began = first.started or first.since
    if host.page.current not in (0, first.number):
        began = max(began, host.page.started)
    return now - began


def _waits(host: Host, now: float) -> float:
    """How many seconds the oldest job has waited for one of a child's slots; 0: none waits."""
    first = next(islice(host.entries.values(), host.slots, None), None)
    return 0.0 if first is None else now - first.since
