"""A pool that the event loop drives, under the same contract: `OnHub`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import attrs

from ..hub import Hub
from ..job import Job
from ..pool import CancelHow, CancelReply, Pool, PoolConfig, PoolStatistics
from .bench import PoolMaker

T = TypeVar("T")


class OnHub(PoolMaker):
    """Puts the pool on a hub that turns in a thread: ``class TestMyPool(OnHub, PoolContract)``.

    The pool's methods are called as a worker calls them, all but `Pool.statistics` on the hub's one thread:
    `Pool.start`, `Pool.stop` and `Pool.terminate` while the hub does not turn, the others from within a turn. After a
    stop in vain the hub turns on.
    """

    def make_hub(self) -> Hub:
        """Return a new hub. To be supplied."""
        raise NotImplementedError

    def make_pool(self, config: PoolConfig) -> Pool:
        """Build the pool for a hub; see `PoolMaker.make_pool`."""
        inner = super().make_pool(attrs.evolve(config, threaded=False))
        return PoolOnHub(inner, self.make_hub())

    def release_pool(self, pool: Pool) -> None:
        """Close the hub.

        Raises:
            BaseException: what left a turn of the hub, as no callback of a pool may.
        """
        assert isinstance(pool, PoolOnHub)
        pool.close_hub()


class PoolOnHub(Pool):
    """Stands before a pool on a hub and makes each call on the thread to which it belongs."""

    def __init__(self, inner: Pool, hub: Hub) -> None:
        super().__init__(inner.config)
        self.capabilities = inner.capabilities  # type: ignore[misc]  # one class for every pool
        self._inner, self._hub = inner, hub
        self._between: deque[Callable[[], object]] = deque()
        self._halt = False
        self._raised: list[BaseException] = []
        self._thread = threading.Thread(target=self._loop, name="kit-hub")
        self._thread.start()

    def start(self) -> None:
        """Start the pool and put it on the hub."""

        def start() -> None:
            self._inner.start()
            self._inner.register_with_event_loop(self._hub)

        self._between_turns(start)

    def submit(self, job: Job) -> None:
        self._call(lambda: self._inner.submit(job))

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        return self._call(lambda: self._inner.cancel(job_id, how))

    def grow(self, n: int) -> None:
        self._call(lambda: self._inner.grow(n))

    def shrink(self, n: int) -> None:
        self._call(lambda: self._inner.shrink(n))

    def restart(self) -> None:
        self._call(self._inner.restart)

    def close(self) -> None:
        self._call(self._inner.close)

    def stop(self, timeout: float | None) -> bool:
        return self._between_turns(lambda: self._inner.stop(timeout))

    def terminate(self) -> None:
        self._between_turns(self._inner.terminate)

    def statistics(self) -> PoolStatistics:
        return self._inner.statistics()

    def serve(self) -> None:
        self._inner.serve()

    def close_hub(self) -> None:
        """End the loop and close the hub; raise what left a turn."""
        self._halt = True
        self._hub.wake()
        self._thread.join()
        self._hub.close()
        if self._raised:
            raise self._raised[0]

    def _loop(self) -> None:
        while not self._halt:
            try:
                self._hub.run_once()
            except BaseException as exc:
                self._raised.append(exc)
            while self._between:
                self._between.popleft()()

    def _between_turns(self, function: Callable[[], T]) -> T:
        return self._made(function, self._put_between)

    def _call(self, function: Callable[[], T]) -> T:
        return self._made(function, self._hub.call_soon)

    def _put_between(self, call: Callable[[], object]) -> None:
        self._between.append(call)
        self._hub.wake()

    def _made(self, function: Callable[[], T], put: Callable[[Callable[[], object]], object]) -> T:
        """Have a call made on the hub's thread, and return what it returns, or raise what it raises."""
        if threading.current_thread() is self._thread:
            return function()
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(function())
            except BaseException as exc:
                future.set_exception(exc)

        put(call)
        return future.result()
