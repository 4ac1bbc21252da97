"""Which pool runs a request."""

from __future__ import annotations

from worker_kernel import Pool, PoolStatistics

from .request import Request


class PoolMap:
    """Which pool runs a request. Today there is one; slots, flow and prefetch are asked for per pool all the same."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def for_request(self, request: Request) -> Pool:
        """Return the pool that is to run ``request``."""
        return self._pool

    def backlog(self, runtime: float) -> int:
        """Return how many jobs the pools like to hold beyond their slots; see `Pool.backlog`."""
        return self._pool.backlog(runtime)

    def terminate(self) -> None:
        """End whatever runs, in all pools."""
        self._pool.terminate()

    def statistics(self) -> PoolStatistics:
        """Return what the pools say of themselves."""
        return self._pool.statistics()

    def still_running(self) -> bool:
        """Whether something could not be ended."""
        statistics = self._pool.statistics()
        return statistics.running + statistics.zombies > 0
