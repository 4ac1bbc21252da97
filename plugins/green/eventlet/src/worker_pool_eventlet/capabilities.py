"""What the pool can do, and its declaration; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

from collections.abc import Sequence

from worker_kernel import GREEN_POOL, PoolSpec, implements, kernel_pools

CONTRACT = 1

CAPABILITIES = GREEN_POOL
"""The record of pool ``eventlet``."""


@implements(kernel_pools)
def pools() -> Sequence[PoolSpec]:
    """Declare the pool ``eventlet``."""
    return [
        PoolSpec(
            name="eventlet",
            cls="worker_pool_eventlet.pool:EventletPool",
            capabilities=CAPABILITIES,
            summary="greenlets of eventlet, which is in maintenance mode upstream: for what runs on it already",
        )
    ]
