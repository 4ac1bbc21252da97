"""What Linux grants this process: the control groups it is in, version 1 and 2, and the memory of the machine.

A group's limits hold for all that is below it, so every group from the process's own up to the mount is looked at. On
other systems there is nothing to read, and every answer is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

ROOT = Path("/")
_UNLIMITED = 1 << 60
"""Version 1 writes the largest page-aligned number there is where version 2 writes ``max``."""


@attrs.frozen(kw_only=True)
class MemoryBudget:
    """Memory that can be used up: by this process, its children, and others that are in the same group."""

    limit: int
    """Bytes: beyond it the kernel ends a process of the group (``memory.high``: holds it back)."""
    used: int
    """Bytes in use by all of them; file caches that the kernel can drop at once do not count."""
    source: str
    """For people: whose limit that is, ``cgroup /app`` or ``the machine``."""

    @property
    def free(self) -> int:
        """Bytes that are left (>= 0)."""
        return max(0, self.limit - self.used)


@attrs.frozen(kw_only=True)
class Resources:
    """What this process may use, as of now. Read again for what holds later: limits and use change under way."""

    cpus: float | None
    """Seconds of CPU time per second (> 0), by the smallest quota; None: no quota. Affinity is not looked at."""
    memory: MemoryBudget | None
    """By whatever has the least left, of groups and machine; None: not known."""


def read_resources(root: Path = ROOT) -> Resources:
    """Read what this process is granted: a dozen small files at most. What cannot be read does not count.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    quotas = [quota for group in _groups(root, "cpu") if (quota := group.quota()) is not None]
    memories = [memory for group in _groups(root, "memory") if (memory := group.memory()) is not None]
    machine = _machine(root)
    if machine is not None:
        memories.append(machine)
    return Resources(
        cpus=min(quotas, default=None),
        memory=min(memories, key=lambda memory: memory.free, default=None),
    )


@attrs.frozen(kw_only=True)
class _Group:
    """One control group."""

    path: Path
    """Its folder."""
    name: str
    """Its path below the mount, which ``/`` is."""
    unified: bool
    """Whether it is of version 2."""

    def quota(self) -> float | None:
        if self.unified:
            quota, _, period = _text(self.path / "cpu.max").partition(" ")
        else:
            quota, period = _text(self.path / "cpu.cfs_quota_us"), _text(self.path / "cpu.cfs_period_us")
        microseconds, per = _whole(quota), _whole(period)
        return microseconds / per if microseconds and per else None

    def memory(self) -> MemoryBudget | None:
        limits = ("memory.max", "memory.high") if self.unified else ("memory.limit_in_bytes",)
        found = [limit for name in limits if (limit := _whole(_text(self.path / name))) is not None]
        used = _whole(_text(self.path / ("memory.current" if self.unified else "memory.usage_in_bytes")))
        limit = min(found, default=_UNLIMITED)
        if used is None or limit >= _UNLIMITED:
            return None
        statistics = _table(self.path / "memory.stat")
        droppable = statistics.get("inactive_file" if self.unified else "total_inactive_file", 0)
        return MemoryBudget(limit=limit, used=max(0, used - droppable), source=f"cgroup {self.name}")


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """Yield the groups of ``controller`` that this process is in, from its own up to the mount."""
    own = dict(_memberships(root))
    for key in (controller, ""):  # version 1 where it has the controller; version 2 has all that 1 has not
        found = _mount(root, key)
        if found is None or key not in own:
            continue
        mount, top = found
        path, name = mount, _below(own[key], top)
        groups = [_Group(path=path, name="/", unified=not key)]
        for part in name:
            path = path / part
            groups.append(_Group(path=path, name=f"{groups[-1].name.rstrip('/')}/{part}", unified=not key))
        yield from (group for group in reversed(groups) if group.path.is_dir())
        return


def _memberships(root: Path) -> Iterator[tuple[str, str]]:
    """Yield each controller of version 1, and ``""`` for version 2, with the path of this process's group."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        for controller in controllers.split(",") if number != "0" else [""]:
            yield controller, path


def _mount(root: Path, controller: str) -> tuple[Path, str] | None:
    """Return where the groups of ``controller`` are mounted, and the path of the topmost one that can be seen."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        place, _, kind = line.partition(" - ")
        fields, (filesystem, *others) = place.split(), (kind.split() or [""])
        options = others[-1].split(",") if others else []
        if len(fields) < 5 or filesystem != ("cgroup" if controller else "cgroup2"):
            continue
        if not controller or controller in options:
            return root / fields[4].lstrip("/"), fields[3]
    return None


def _below(group: str, top: str) -> tuple[str, ...]:
    """Return the parts of ``group`` below ``top``: none where it is not below, as in a container without a namespace.

    A process that was moved out of its namespace has ``..`` in its path: then the mount's own group is all there is.
    """
    parts, above = Path(group).parts[1:], Path(top).parts[1:]
    if ".." in parts or parts[: len(above)] != above:
        return ()
    return parts[len(above) :]


def _machine(root: Path) -> MemoryBudget | None:
    kib = _table(root / "proc/meminfo")
    if "MemTotal" not in kib or "MemAvailable" not in kib:
        return None
    total, available = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    return MemoryBudget(limit=total, used=total - available, source="the machine")


def _table(path: Path) -> Mapping[str, int]:
    """Return the lines ``name number`` of a file, a colon after the name or not."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _whole(text: str) -> int | None:
    """Return a number; None for ``max``, -1 and whatever else is no limit."""
    return int(text) if text.strip().isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
