"""How many slots ``-c auto`` comes to, and the arithmetic in words."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import attrs

from .cgroups import Resources, read_resources
from .options import can, lacking
from .platforms import Platform
from .pool import PoolSpec
from .settings import Settings

GREEN_SLOTS_PER_CPU = 100
"""A greenlet that waits needs no CPU; this many that each compute for a hundredth of their time keep one busy."""


@attrs.frozen(kw_only=True)
class Machine:
    """What there is to reckon with."""

    resources: Resources
    """What this process is granted."""
    size: int | None
    """Bytes of memory that a process with the application in it takes; None: not known."""


def measure() -> Machine:
    """Look at this process, which has imported the application as a child process will."""
    return Machine(resources=read_resources(), size=_resident())


def slots(pool: PoolSpec, settings: Settings, platform: Platform, machine: Machine) -> tuple[int, str]:
    """Return the number of slots (>= 1), and how it came about.

    CPUs are those of the affinity mask, or of the quota of the control group, rounded up, where that is less. Slots
    that are child processes must also fit into the memory that is left. Slots of a green pool mostly wait, so there
    are `GREEN_SLOTS_PER_CPU` of them for each CPU.
    """
    if not can(pool.capabilities, "concurrency"):
        return 1, lacking("concurrency", pool.name)
    cpus, why = _cpus(platform, machine.resources)
    if (pool.inner or pool).capabilities.is_green:
        return cpus * GREEN_SLOTS_PER_CPU, f"{GREEN_SLOTS_PER_CPU} greenlets for each of {why}"
    if not pool.capabilities.runs_elsewhere:
        return cpus, f"{why}; slots that share a process share its memory"
    if pool.inner is not None:
        return cpus, f"{why}; --processes says how many share the memory"
    children, room = _children(settings, machine)
    if children is None:
        return cpus, f"{why}; {room}"
    return min(cpus, children), f"the smaller of {why} and {room}"


def _cpus(platform: Platform, resources: Resources) -> tuple[int, str]:
    quota = "no quota" if resources.cpus is None else f"quota {resources.cpus:g}"
    cpus = platform.cpus if resources.cpus is None else min(platform.cpus, max(1, math.ceil(resources.cpus)))
    return cpus, f"{cpus} CPU{'s' if cpus > 1 else ''} [affinity {platform.cpus}, {quota}]"


def _children(settings: Settings, machine: Machine) -> tuple[int | None, str]:
    """Return how many child processes there is room for (>= 1), None where that is not known."""
    memory, size = machine.resources.memory, machine.size
    if memory is None or size is None:
        return None, "memory is not known here"
    each, of = size, "measured"
    for name in ("worker_max_memory_per_child", "worker_memory_limit_per_child"):
        allowed = (settings.get_int(name) or 0) * 1024
        if allowed > each:
            each, of = allowed, name
    children = max(1, memory.free // each)
    return children, (
        f"{children} child{'ren' if children > 1 else ''} [{_mib(memory.free)} left of {_mib(memory.limit)} of "
        f"{memory.source} / {_mib(each)} {of}]"
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"


def _resident() -> int | None:
    """Return the bytes that this process keeps in memory; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
