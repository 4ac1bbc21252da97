"""Requests that wait for their time: in the broker where it can keep them, else here."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .flow import Flow
from .parking import park
from .request import Request, State

log = logging.getLogger("worker_loops.tasks")


class Holding:
    """What is held here until its time. Belongs to the loop's thread; goes with the connection."""

    def __init__(self, flow: Flow, release: Callable[[Request], None]) -> None:
        """``release`` is called for each request when its time has come; it is not held any more then."""
        self._flow = flow
        self._released = release
        self._held: set[Request] = set()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, request: Request) -> bool:
        return request in self._held

    def requests(self) -> list[Request]:
        """Return what is held, in an order that does not change."""
        return sorted(self._held, key=lambda held: held.key)

    def hold(self, request: Request, seconds: float, why: str) -> bool:
        """Let a request wait. Returns False where the broker does, and the request is settled."""
        if park(request, seconds, crowded=self._flow.crowded):
            log.debug("Task %s parked for %.3f s: %s", request, seconds, why)
            request.state = State.SETTLED
            return False
        log.debug("Task %s held for %.3f s: %s", request, seconds, why)
        request.state = State.HELD
        self._held.add(request)
        self._flow.held = len(self._held)
        request.timer = request.generation.timers.call_later(seconds, self._release, request)
        return True

    def _release(self, request: Request) -> None:
        self.let_go(request)
        self._released(request)

    def let_go(self, request: Request) -> None:
        """A request waits no longer."""
        self._held.discard(request)
        self._flow.held = len(self._held)
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None

    def let_all_go(self) -> list[Request]:
        """Nothing waits any longer; return what did."""
        requests = self.requests()
        for request in requests:
            self.let_go(request)
        return requests
