"""The states of a child, as statistics show them."""

from __future__ import annotations

import enum


class HostState(enum.StrEnum):
    """A child only ever goes down this list; it may skip some, and goes back from BUSY to READY."""

    SPAWNED = "spawned"
    """It was asked for, and says nothing yet."""
    STARTING = "starting"
    """It tells what it is about to do on its way to READY."""
    READY = "ready"
    """It runs nothing."""
    BUSY = "busy"
    """It has jobs."""
    RETIRING = "retiring"
    """It takes no more jobs, and exits once it has none."""
    KILLED = "killed"
    """It was sent SIGKILL."""
    REAPED = "reaped"
    """It has ended."""


_ENDS = frozenset({HostState.RETIRING, HostState.KILLED, HostState.REAPED})

NEXT: dict[HostState, frozenset[HostState]] = {
    HostState.SPAWNED: _ENDS | {HostState.STARTING, HostState.READY},
    HostState.STARTING: _ENDS | {HostState.READY},
    HostState.READY: _ENDS | {HostState.BUSY},
    HostState.BUSY: _ENDS | {HostState.READY},
    HostState.RETIRING: frozenset({HostState.KILLED, HostState.REAPED}),
    HostState.KILLED: frozenset({HostState.REAPED}),
    HostState.REAPED: frozenset(),
}
"""Which state may follow which; the diagram in the documentation is drawn from it."""
