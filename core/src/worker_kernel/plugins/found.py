"""What is known of one plugin: a row of ``kernel list-plugins``."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs


class Kind(enum.StrEnum):
    """What an entry point offers, told by its group.

    An entry point in ``worker_kernel.patches`` is no kind of its own: it belongs to the pool or plugin of the same
    name and distribution, and stands in `Found.patch`.
    """

    POOL = "pool"
    """A choice of ``-P``; its module declares a pool of the same name."""
    COMMAND = "command"
    """A subcommand of ``kernel``; imported only when it is called."""
    PLUGIN = "plugin"
    """A module with hooks, for everything else."""


class Status(enum.StrEnum):
    """What has become of a plugin."""

    READY = "ready"
    """Nothing in its metadata speaks against loading it."""
    SELECTED = "selected"
    """As ready, and asked for by name."""
    LOADED = "loaded"
    """Imported and registered in this process."""
    DISABLED = "disabled"
    """Switched off before import: by ``KERNEL_PLUGINS``, a file, ``--safe-mode``, or the choice of another one."""
    UNAVAILABLE = "unavailable"
    """Something that it requires is not installed, or not in the version that it requires."""
    INCOMPATIBLE = "incompatible"
    """Written for another kernel, contract or Python."""
    CONFLICT = "conflict"
    """It and another plugin claim the same name; neither is loaded."""
    BROKEN = "broken"
    """Its metadata cannot be read, or it raised or ended the interpreter when it was loaded."""
    MISSING = "missing"
    """Asked for by name, and not installed."""


FAULTY = frozenset({Status.BROKEN, Status.CONFLICT, Status.INCOMPATIBLE, Status.MISSING})
"""The statuses for which ``kernel list-plugins --check`` exits 1."""

USABLE = frozenset({Status.READY, Status.SELECTED, Status.LOADED})
"""The statuses of a plugin that may be imported."""


@attrs.frozen(kw_only=True)
class Found:
    """One plugin as its metadata tells it, and what has become of it. Nothing is imported to build one."""

    name: str
    """The entry point's name; of a row that stands for a whole distribution: the distribution's."""
    kind: Kind
    """Told by the entry point's group."""
    value: str = ""
    """``package.module`` or ``package.module:attribute``; empty where there is none to load."""
    dist: str = ""
    """The distribution's name as it writes it; empty for a missing plugin."""
    version: str = ""
    """The distribution's version; empty where its metadata has none."""
    summary: str = ""
    """The distribution's one-line summary."""
    patch: str = ""
    """``package.module:function`` that must run before anything else is imported; empty: none."""
    origin: str = ""
    """Where it was installed from (PEP 610), without passwords; empty: an index, or not known."""
    editable: bool = False
    """Whether it is installed in place, so that its source can change under it (PEP 610)."""
    status: Status = Status.READY
    """See `Status`."""
    reason: str = ""
    """Why it has that status, on one line; empty for ready and loaded."""
    remedy: str = ""
    """What to do about it, on one line; empty where there is nothing to do."""
    declares: Mapping[str, tuple[str, ...]] | None = None
    """Once loaded: names by ``hooks``, ``pools``, ``steps``, ``loops``, ``settings``, ``schemes``, ``policies``;
    before: None."""

    @property
    def label(self) -> str:
        """Name and distribution for messages: ``gevent (worker-pool-gevent 0.1.0)``."""
        return f"{self.name} ({self.source})" if self.dist else self.name

    @property
    def source(self) -> str:
        """Distribution and version for messages: ``worker-pool-gevent 0.1.0``."""
        return f"{self.dist} {self.version}".strip()

    def becoming(self, status: Status, reason: str = "", remedy: str = "") -> Found:
        """Return a copy with another status, its reason and its remedy, each brought to one line."""
        return attrs.evolve(self, status=status, reason=one_line(reason), remedy=one_line(remedy))


def one_line(text: str, limit: int = 300) -> str:
    """Return foreign ``text`` fit for a terminal: on one line, without control characters, at most ``limit`` long."""
    flat = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."
