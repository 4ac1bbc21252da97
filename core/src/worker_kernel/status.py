"""How the worker is: what its state file says, what ``ping`` answers, and what a probe judges by."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable

import attrs


class WorkerState(enum.StrEnum):
    """The states of a worker. It only ever goes down this list, and may skip some."""

    RUNNING = "running"
    """It takes messages, or tries to reach its broker: see `Snapshot.ready`."""
    QUIET = "quiet"
    """A stop was requested: nothing is taken or started any more, what waits goes back."""
    DRAINING = "draining"
    """What runs is waited for, for at most ``worker_grace``."""
    CANCELLING = "cancelling"
    """What runs is being ended."""
    DEAD = "dead"
    """The worker has ended, or ends its process right now."""


_ORDER = tuple(WorkerState)


@attrs.frozen(kw_only=True)
class Snapshot:
    """A status at one moment."""

    state: WorkerState
    """Where in its life the worker is."""
    ready: bool
    """Whether it is connected and takes messages; only ever true while it is RUNNING."""
    reason: str
    """Why it is in this state, or is not ready; may be empty."""
    loop_tick: float | None
    """When the loop last turned, in seconds since the epoch; None: not yet."""
    control_socket: str | None
    """Where the step ``control`` listens; None: nowhere."""


class Status:
    """The status of one worker. All methods may be called from any thread."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """Begin as RUNNING and not ready. ``wall`` returns seconds since the epoch."""
        self._wall = wall
        self._lock = threading.Lock()
        self._now = Snapshot(
            state=WorkerState.RUNNING, ready=False, reason="starting", loop_tick=None, control_socket=None
        )
        self._tick: float | None = None
        self._watchers: list[Callable[[Snapshot], object]] = []

    def snapshot(self) -> Snapshot:
        """Return the status as of now."""
        return attrs.evolve(self._now, loop_tick=self._tick)

    def tick(self) -> None:
        """Note that the loop turns. Called on its thread, at least every few seconds, connected or not."""
        self._tick = self._wall()

    def enter(self, state: WorkerState, reason: str = "") -> None:
        """Go on to ``state``; going back is ignored. No state but RUNNING is ready."""
        with self._lock:
            if _ORDER.index(state) <= _ORDER.index(self._now.state):
                return
            self._now = attrs.evolve(self._now, state=state, ready=False, reason=reason or self._now.reason)
        self._tell()

    def set_ready(self, ready: bool, reason: str = "") -> None:
        """Say whether messages are taken, and why not. Ignored once the worker is no longer RUNNING."""
        with self._lock:
            if self._now.state is not WorkerState.RUNNING or (ready, reason) == (self._now.ready, self._now.reason):
                return
            self._now = attrs.evolve(self._now, ready=ready, reason=reason)
        self._tell()

    def set_control_socket(self, path: str | None) -> None:
        """Say where the worker can be controlled."""
        with self._lock:
            self._now = attrs.evolve(self._now, control_socket=path)
        self._tell()

    def watch(self, watcher: Callable[[Snapshot], object]) -> None:
        """Call ``watcher`` after each change but ticks, on the thread that made it. It must not raise or block."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[Snapshot], object]) -> None:
        """Call ``watcher`` no more."""
        self._watchers.remove(watcher)

    def _tell(self) -> None:
        snapshot = self.snapshot()
        for watcher in tuple(self._watchers):
            watcher(snapshot)
