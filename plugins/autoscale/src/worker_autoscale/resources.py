"""The policy ``resources``: by the load, within a budget of memory and CPU."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from worker_kernel import Load, MemoryBudget, Resources, Settings, read_resources

from .load import LoadPolicy

log = logging.getLogger("worker_autoscale")

SHARE = 0.9
"""Of the memory that there is: beyond it slots are taken away."""
LEAST_COST = 1 << 20
"""Bytes that one more slot is reckoned at least, where it shows in no process of its own."""
SATURATED = 0.95
"""Of the CPU time that there is: beyond it more slots would only take it from each other."""


@attrs.frozen(kw_only=True)
class Usage:
    """What processes use."""

    memory: int
    """Resident bytes, shared ones counted in each."""
    cpu: float
    """Seconds of CPU time since each of them began."""


def usage_of(pid: int, root: Path = Path("/proc")) -> Usage | None:
    """Return what a process uses; None: it has ended, or this is not Linux."""
    try:
        resident = int((root / str(pid) / "statm").read_text().split()[1])
        fields = (root / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, IndexError, ValueError):
        return None
    ticks = int(fields[11]) + int(fields[12])
    return Usage(memory=resident * os.sysconf("SC_PAGE_SIZE"), cpu=ticks / os.sysconf("SC_CLK_TCK"))


def _cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class ResourcesPolicy(LoadPolicy):
    """Wants what `LoadPolicy` wants, and says how much of it can be afforded.

    *Memory*: one more slot is reckoned as large as a child process is on average; where slots share the worker's
    process, as what that has grown by for each of them. The budget is ``worker_autoscale_memory`` for the worker and
    its children, else `SHARE` of the tightest control group or of the machine, with all that is used there. *CPU*: no
    growth while the worker and its children use up what quota and affinity leave them. Where memory cannot be read, a
    warning says so.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        read: Callable[[], Resources] = read_resources,
        usage: Callable[[int], Usage | None] = usage_of,
        cpus: Callable[[], int] = _cpus,
    ) -> None:
        super().__init__(settings)
        self._read, self._usage, self._cpus = read, usage, cpus
        kib = settings.get_int("worker_autoscale_memory")
        self._given = None if kib is None else kib * 1024
        self._first: int | None = None
        self._before: tuple[float, dict[int, float]] | None = None
        self._warned = False
        self._budget: dict[str, object] = {}

    def ceiling(self, load: Load) -> int:
        """See `AutoscalePolicy.ceiling`."""
        used = {pid: usage for pid in (os.getpid(), *load.pids) if (usage := self._usage(pid)) is not None}
        resources = self._read()
        memory = self._memory(resources, used)
        if memory is None and not self._warned:
            self._warned = True
            log.warning("the policy resources cannot find out what memory there is here: it scales by load alone")
        affordable = load.maximum if memory is None else self._affordable(load, memory, used)
        rate = self._cpu_rate(load.now, used)
        cpus = min(float(self._cpus()), resources.cpus or math.inf)
        if rate is not None and rate >= SATURATED * cpus:
            affordable = min(affordable, load.size)
        self._budget = {
            "affordable": affordable,
            "memory": None if memory is None else {"limit": memory.limit, "used": memory.used, "of": memory.source},
            "cpu": {"limit": cpus, "used": None if rate is None else round(rate, 3)},
        }
        return affordable

    def _memory(self, resources: Resources, used: Mapping[int, Usage]) -> MemoryBudget | None:
        if self._given is None:
            memory = resources.memory
            return None if memory is None else attrs.evolve(memory, limit=int(memory.limit * SHARE))
        if not used:
            return None
        total = sum(usage.memory for usage in used.values())
        return MemoryBudget(limit=self._given, used=total, source="worker_autoscale_memory")

    def _affordable(self, load: Load, memory: MemoryBudget, used: Mapping[int, Usage]) -> int:
        cost = self._cost(load, used)
        if memory.used <= memory.limit:
            return load.size + memory.free // cost
        return max(1, load.size - math.ceil((memory.used - memory.limit) / cost))

    def _cost(self, load: Load, used: Mapping[int, Usage]) -> int:
        """Return the bytes that one slot takes."""
        children = [used[pid].memory for pid in load.pids if pid in used]
        if children:
            return max(LEAST_COST, sum(children) // min(len(children), load.size))
        own = used.get(os.getpid())
        if own is None:
            return LEAST_COST
        if self._first is None:
            self._first = own.memory
        return max(LEAST_COST, (own.memory - self._first) // load.size)

    def _cpu_rate(self, now: float, used: Mapping[int, Usage]) -> float | None:
        """Return the seconds of CPU time per second since the last look; None: there was none."""
        before, self._before = self._before, (now, {pid: usage.cpu for pid, usage in used.items()})
        if before is None or now <= before[0]:
            return None
        spent = sum(max(0.0, usage.cpu - before[1].get(pid, usage.cpu)) for pid, usage in used.items())
        return spent / (now - before[0])

    def statistics(self) -> Mapping[str, object]:
        """See `AutoscalePolicy.statistics`: besides, the budget and what it allows."""
        return {**super().statistics(), **self._budget}
