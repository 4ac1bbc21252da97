"""Runs the tasks of worker-kernel in threads."""

from __future__ import annotations

from collections.abc import Sequence

from worker_kernel import PoolSpec, implements, kernel_pools

from .capabilities import CAPABILITIES

__all__ = ["CAPABILITIES", "CONTRACT", "pools"]

CONTRACT = 1


@implements(kernel_pools)
def pools() -> Sequence[PoolSpec]:
    """Declare the pool ``threads``."""
    return [
        PoolSpec(
            name="threads",
            cls="worker_pool_threads.pool:ThreadsPool",
            capabilities=CAPABILITIES,
            summary="threads of the worker's process, for tasks that wait for I/O",
        )
    ]
