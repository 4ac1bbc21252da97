"""Time, as a dependency: nothing in worker-kernel calls ``time.*`` directly."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where components get the time from. All values are float seconds.

    An implementation must be safe to call from any thread.
    """

    def monotonic(self) -> float:
        """Return a time that never goes back; only differences mean something."""
        ...

    def wall(self) -> float:
        """Return the time since the Unix epoch; it may jump."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for ``seconds`` (>= 0)."""
        ...


class SystemClock:
    """The machine's own clock."""

    monotonic = staticmethod(time.monotonic)
    """See `Clock.monotonic`."""
    wall = staticmethod(time.time)
    """See `Clock.wall`."""

    def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        time.sleep(seconds)
