"""Runs the tasks of worker-kernel in supervised child processes, each with a pool of its own inside."""

from __future__ import annotations

from collections.abc import Sequence

from worker_kernel import PoolSpec, implements, kernel_pools

from .capabilities import CAPABILITIES

__all__ = ["CAPABILITIES", "CONTRACT", "pools"]

CONTRACT = 1


@implements(kernel_pools)
def pools() -> Sequence[PoolSpec]:
    """Declare the pool ``prefork``, which also hosts the others."""
    return [
        PoolSpec(
            name="prefork",
            cls="worker_pool_prefork.pool:PreforkPool",
            capabilities=CAPABILITIES,
            summary="supervised child processes, for tasks that compute, or that must not harm each other",
            hosting="worker_pool_prefork.capabilities:hosted",
        )
    ]
