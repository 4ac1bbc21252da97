"""Calls that other threads want made on the loop's thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class LoopCalls:
    """A first-in, first-out queue of calls: any thread puts, the loop's thread runs them once per turn."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """``wake`` makes the loop turn soon; it is called from the threads that put."""
        self._wake = wake
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._calls)

    def put(self, function: Callable[[], Any]) -> Future[Any]:
        """Have ``function`` called; its future can be cancelled until then. After `close` it is cancelled at once."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                future.cancel()
                return future
            self._calls.append((future, function))
        self._wake()
        return future

    def run(self) -> None:
        """Make the calls that were put so far. What one raises is its caller's affair."""
        for _ in range(len(self._calls)):
            future, function = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as exc:  # noqa: BLE001  (handed over to whoever waits)
                    future.set_exception(exc)

    def close(self) -> None:
        """Cancel what has not been called: the loop turns no more. Idempotent."""
        with self._lock:
            self._closed = True
        while self._calls:
            self._calls.popleft()[0].cancel()
