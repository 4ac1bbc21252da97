"""A timer of gevent's loop."""

from __future__ import annotations

from collections.abc import Callable

import gevent


class GeventPulse:
    """Calls ``beat`` in the loop's own greenlet every so many seconds; keeps no program from ending."""

    def __init__(self, seconds: float, beat: Callable[[], None]) -> None:
        self._timer = gevent.get_hub().loop.timer(seconds, seconds, ref=False)
        self._beat = beat

    def start(self) -> None:
        """See `worker_kernel.Pulse`."""
        if not self._timer.active:
            self._timer.start(self._beat)

    def stop(self) -> None:
        """See `worker_kernel.Pulse`."""
        self._timer.stop()
