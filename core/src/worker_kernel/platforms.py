"""The platform, read in one place, so that another one can be faked."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class Platform:
    """What the worker arranges itself by. Build one by hand to see what would happen elsewhere."""

    name: str
    """``sys.platform``: ``linux``, ``darwin``, ``win32``, ..."""
    cpus: int
    """CPUs that this process may use (>= 1): those of the affinity mask where there is one."""
    stop_signals: Mapping[str, str]
    """Signal name to what it asks for (``warm``, ``cold``, ``interrupt``), as far as the platform has them."""

    @property
    def windows(self) -> bool:
        """Whether this is Windows: no fork, no select on files, no SIGQUIT or SIGUSR1."""
        return self.name == "win32"

    @property
    def hostname(self) -> str:
        """The machine's name."""
        return socket.gethostname()


_STOP_SIGNALS = {"SIGTERM": "warm", "SIGHUP": "warm", "SIGQUIT": "cold", "SIGINT": "interrupt"}


def current() -> Platform:
    """Return the platform of this process."""
    return Platform(
        name=sys.platform,
        cpus=_cpus(),
        stop_signals={name: what for name, what in _STOP_SIGNALS.items() if hasattr(signal, name)},
    )


def _cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is not None:
        return max(1, len(affinity(0)))
    return os.cpu_count() or 1
