"""A timer of eventlet's loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .patch import load

eventlet = load()


class EventletPulse:
    """Calls ``beat`` in the loop's own greenlet every so many seconds."""

    def __init__(self, seconds: float, beat: Callable[[], None]) -> None:
        self._seconds = seconds
        self._beat = beat
        self._timer: Any = None

    def start(self) -> None:
        """See `worker_kernel.Pulse`."""
        if self._timer is None:
            self._timer = eventlet.hubs.get_hub().schedule_call_global(self._seconds, self._fire)

    def stop(self) -> None:
        """See `worker_kernel.Pulse`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self.start()
        self._beat()
