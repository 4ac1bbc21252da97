"""Finds plugins by the metadata of installed distributions; imports none of them, and never raises because of one.

Entry-point groups:

- ``worker_kernel.pools``: pool name -> plugin module; the choices of ``-P``;
- ``worker_kernel.commands``: command name -> click command;
- ``worker_kernel.plugins``: name -> plugin module, for everything else;
- ``worker_kernel.patches``: name of a pool or plugin of the same distribution -> callable that must run before
  anything else is imported.

What cannot be read becomes a row too, with the status *broken* and the reason. `selection` then decides what may be
imported, and `loading` imports it.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from .distributions import Distribution, scan
from .found import Found, Kind, Status
from .plainversions import normalized
from .requirements import KERNEL, lack

KINDS: Mapping[str, Kind] = {
    "worker_kernel.pools": Kind.POOL,
    "worker_kernel.commands": Kind.COMMAND,
    "worker_kernel.plugins": Kind.PLUGIN,
}
"""What each group offers."""

PATCHES = "worker_kernel.patches"


def discover(path: Sequence[str] | None = None) -> tuple[Found, ...]:
    """Return a row for every plugin, sorted by the distribution's normalised name, then by name and kind.

    Statuses are *ready*, *unavailable*, *incompatible* or *broken*: who is disabled, selected, missing or in conflict
    is for `selection` to say. One distribution found twice counts once; one line repeated counts once.

    Args:
        path: where to look; None: ``sys.path``.
    """
    environment = scan(path)
    kernel = environment.versions.get(KERNEL) or kernel_version()
    rows = [row for dist in environment.distributions for row in _rows(dist, environment.versions, kernel)]
    return tuple(sorted(rows, key=sort_key))


def kernel_version() -> str:
    """Return the version of the installed worker-kernel; ``""`` where it runs from a bare checkout."""
    try:
        return importlib.metadata.version(KERNEL)
    except importlib.metadata.PackageNotFoundError:
        return ""


def sort_key(row: Found) -> tuple[str, str, str, str]:
    """Return the place of a row in every listing."""
    return (normalized(row.dist), row.name, row.kind, row.value)


def _rows(dist: Distribution, installed: Mapping[str, str], kernel: str) -> Iterator[Found]:
    again = f"pip install --force-reinstall {dist.name}"
    entries = sorted(set(dist.entry_points), key=lambda entry: (entry.name, entry.group, entry.value))
    patches = {entry.name: entry.value for entry in entries if entry.group == PATCHES}
    offers = [entry for entry in entries if entry.group in KINDS]
    times = Counter((entry.group, entry.name) for entry in offers)
    wrong = lack(dist.name, dist.requires, dist.requires_python, installed, kernel)
    patched = {entry.name for entry in offers if KINDS[entry.group] is not Kind.COMMAND}
    if dist.problems and not offers:
        # Nothing of it can be named: the row stands for the whole distribution.
        yield _row(dist, dist.name, Kind.PLUGIN).becoming(Status.BROKEN, dist.problems[0], again)
    for entry in offers:
        kind = KINDS[entry.group]
        row = _row(dist, entry.name, kind, entry.value, "" if kind is Kind.COMMAND else patches.get(entry.name, ""))
        if times[entry.group, entry.name] > 1:
            yield row.becoming(Status.BROKEN, f"{dist.name} names it more than once, with different values", again)
        elif dist.problems:
            yield row.becoming(Status.BROKEN, dist.problems[0], again)
        elif wrong is not None:
            yield row.becoming(wrong.status, wrong.reason, wrong.remedy)
        else:
            yield row
    for name in sorted(patches.keys() - patched):
        reason = f"its patch is named {name!r}, as no pool or plugin of {dist.name} is"
        remedy = f"report it to the authors of {dist.name}, or leave it out with KERNEL_PLUGINS=-{name}"
        yield _row(dist, name, Kind.PLUGIN, "", patches[name]).becoming(Status.BROKEN, reason, remedy)


def _row(dist: Distribution, name: str, kind: Kind, value: str = "", patch: str = "") -> Found:
    return Found(
        name=name,
        kind=kind,
        value=value,
        dist=dist.name,
        version=dist.version,
        summary=dist.summary,
        patch=patch,
        origin=dist.origin,
        editable=dist.editable,
    )
