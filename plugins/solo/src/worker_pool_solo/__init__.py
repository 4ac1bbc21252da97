"""Runs the tasks of worker-kernel in the worker's own main thread, one at a time."""

from __future__ import annotations

from collections.abc import Sequence

from worker_kernel import PoolSpec, implements, kernel_pools

from .capabilities import CAPABILITIES

__all__ = ["CAPABILITIES", "CONTRACT", "pools"]

CONTRACT = 1


@implements(kernel_pools)
def pools() -> Sequence[PoolSpec]:
    """Declare the pool ``solo``."""
    return [
        PoolSpec(
            name="solo",
            cls="worker_pool_solo.pool:SoloPool",
            capabilities=CAPABILITIES,
            summary="one task at a time in the worker's main thread, for debugging and small containers",
        )
    ]
