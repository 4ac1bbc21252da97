"""What the pool can do, and its declaration; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

from collections.abc import Sequence

from worker_kernel import GREEN_POOL, PoolSpec, implements, kernel_pools

CONTRACT = 1

CAPABILITIES = GREEN_POOL
"""The record of pool ``gevent``."""


@implements(kernel_pools)
def pools() -> Sequence[PoolSpec]:
    """Declare the pool ``gevent``."""
    return [
        PoolSpec(
            name="gevent",
            cls="worker_pool_gevent.pool:GeventPool",
            capabilities=CAPABILITIES,
            summary="greenlets of gevent: thousands of tasks that wait for I/O, in one thread",
        )
    ]
