"""Fates that could not be stored yet. They are known here alone, and so outlive the connection."""

from __future__ import annotations

from collections.abc import Callable

from worker_kernel import TimerHandle, Timers

from .request import Request

STORE_AGAIN = 5.0
"""Seconds after which a report that could not be stored is tried again."""


class Unstored:
    """Requests whose report is to be tried again, together, a while after the first of them failed."""

    def __init__(self, timers: Timers, again: Callable[[Request], None]) -> None:
        """Remember what to call for each request, in their order, when the time has come."""
        self._timers = timers
        self._again = again
        self._requests: list[Request] = []
        self._timer: TimerHandle | None = None

    @property
    def unsettled(self) -> int:
        """Those whose message is still to be settled."""
        return sum(not request.acknowledged for request in self._requests)

    def add(self, request: Request) -> None:
        """Have a request's report tried again."""
        self._requests.append(request)
        if self._timer is None:
            self._timer = self._timers.call_later(STORE_AGAIN, self.try_now)

    def try_now(self) -> None:
        """Try all of them again now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        requests, self._requests = self._requests, []
        for request in requests:
            self._again(request)
