"""The consumption watchdog: messages wait, slots are free, and nothing arrives.

A worker in that state looks well from outside: it is connected, beats, and answers pings. The watchdog asks the broker
now and then, only while nothing has been delivered and something could be, how many messages are ready in its queues.
If there were some all the time, it acts once every ``patience`` seconds, further each time: it has the connection made
anew, it reports the worker as not ready, it stops the worker with exit code 6. A delivery, or an empty queue, ends it.

The broker is asked over a connection of its own in a short-lived thread, so that a broker that does not answer cannot
keep the loop waiting; then nothing is known, and nothing is done: that a connection is dead is for heartbeats to find.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable
from typing import Protocol

import attrs

from worker_kernel import Clock, ExitCode, LoopCalls, StopMode, StopRequest

log = logging.getLogger("worker_loops.watchdog")

LOOKS = 3
"""How often it looks within its patience."""


class Remedy(enum.IntEnum):
    """What the watchdog has done so far about what it sees."""

    NOTHING = 0
    REBUILD = 1
    NOT_READY = 2
    STOP = 3


class Watched(Protocol):
    """What the watchdog looks at and acts upon. Everything but `depth` is called on the loop's thread."""

    @property
    def deliveries(self) -> int:
        """Messages delivered so far."""
        ...

    @property
    def could_take(self) -> bool:
        """Whether a message would be taken now: connected, a slot free, room in the window, no stop requested."""
        ...

    def depth(self) -> int:
        """Return how many messages are ready in the queues. Called in a thread of its own; may block and raise."""
        ...

    def rebuild(self, reason: str) -> None:
        """Make the connection anew."""
        ...

    def set_ready(self, ready: bool, reason: str = "") -> None:
        """Report whether the worker is ready."""
        ...

    def request_stop(self, request: StopRequest) -> None:
        """Stop the worker."""
        ...


def in_a_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in a daemon thread."""
    threading.Thread(target=work, name="worker-watchdog", daemon=True).start()


@attrs.define(eq=False)
class Watchdog:
    """See the module. `look` is called by a timer every ``patience / LOOKS`` seconds, on the loop's thread."""

    watched: Watched
    """The consumer."""
    clock: Clock
    """Where the time comes from."""
    calls: LoopCalls
    """How the thread that asks the broker hands over its answer."""
    patience: float
    """Seconds between one remedy and the next (> 0)."""
    spawn: Callable[[Callable[[], None]], None] = in_a_thread
    """How the broker is asked beside the loop."""
    remedy: Remedy = Remedy.NOTHING
    """The last remedy taken."""
    _since: float | None = None
    _deliveries: int = -1
    _asking: bool = False

    def look(self) -> None:
        """Look whether anything has been delivered; if nothing has, and something could be, ask the broker."""
        if self.watched.deliveries != self._deliveries:
            self._deliveries = self.watched.deliveries
            self._all_is_well()
        elif not self.watched.could_take:
            self._since = None  # busy, or not connected: it proves nothing either way
        elif not self._asking:
            self._asking = True
            self.spawn(self._ask)

    def _ask(self) -> None:
        depth: int | None = None
        try:
            depth = self.watched.depth()
        except Exception as exc:  # noqa: BLE001  (whatever it is, nothing is known)
            log.info("the watchdog could not ask the broker: %s", exc)
        self.calls.put(lambda: self._answered(depth))

    def _answered(self, depth: int | None) -> None:
        self._asking = False
        if self.watched.deliveries != self._deliveries or not self.watched.could_take or depth is None:
            return
        now = self.clock.monotonic()
        if depth == 0:
            self._all_is_well()
        elif self._since is None:
            self._since = now
        elif now - self._since >= self.patience:
            self._since = now
            self._act(depth)

    def _act(self, depth: int) -> None:
        self.remedy = Remedy(min(self.remedy + 1, Remedy.STOP))
        waited = self.patience * self.remedy
        reason = f"{depth} message(s) wait, slots are free, and nothing has been delivered for {waited:.0f} s"
        log.error("consumption watchdog: %s", reason)
        if self.remedy is Remedy.REBUILD:
            self.watched.rebuild(reason)
        elif self.remedy is Remedy.NOT_READY:
            self.watched.set_ready(False, reason)
        else:
            stop = StopRequest(mode=StopMode.WARM, reason=f"watchdog: {reason}", exit_code=ExitCode.WATCHDOG)
            self.watched.request_stop(stop)

    def _all_is_well(self) -> None:
        self._since = None
        if self.remedy is Remedy.NOT_READY:
            self.watched.set_ready(True)
        self.remedy = Remedy.NOTHING
