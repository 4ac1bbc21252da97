"""What the pool can do, and its declaration; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

from collections.abc import Sequence

from worker_kernel import Capabilities, Effect, Fitness, PoolSpec, Stuck, Support, implements, kernel_pools

CONTRACT = 1

CAPABILITIES = Capabilities(
    true_parallelism=False,
    cpu_bound=Fitness.POOR,
    io_bound=Fitness.EXCELLENT,
    memory_efficiency="High",
    concurrency_scale="1000s",
    process_isolation=False,
    windows=False,
    debugging="Harder",
    concurrency=Support.NATIVE,
    soft_time_limit=Support.NATIVE,
    time_limit=Support.NATIVE,
    cancel=Support.NATIVE,
    resize=Support.NATIVE,
    restart=Support.NATIVE,
    max_tasks_per_child=Support.NATIVE,
    putlocks=Support.EMULATED,
    # What yields is reached at the next turn of the loop, what loops in Python by a signal. A task in C holds the loop
    # and all other tasks with it, so that nothing but the end of the process ends it.
    soft_effects={
        Stuck.YIELDS: Effect.RAISED,
        Stuck.BUSY: Effect.RAISED,
        Stuck.SLEEPS: Effect.RAISED,
        Stuck.C_WITHOUT_GIL: Effect.UNDELIVERABLE,
        Stuck.C_WITH_GIL: Effect.UNDELIVERABLE,
    },
    hard_effects={
        Stuck.YIELDS: Effect.RAISED,
        Stuck.BUSY: Effect.RAISED,
        Stuck.SLEEPS: Effect.RAISED,
        Stuck.C_WITHOUT_GIL: Effect.PROCESS_ENDS,
        Stuck.C_WITH_GIL: Effect.PROCESS_ENDS,
    },
    join_blocks=False,
    is_green=True,
)
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
