"""What the pool can do; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

import attrs

from worker_kernel import Capabilities, Effect, Fitness, PoolSpec, Stuck, Support

CAPABILITIES = Capabilities(
    true_parallelism=True,
    cpu_bound=Fitness.EXCELLENT,
    io_bound=Fitness.GOOD,
    memory_efficiency="Moderate",
    concurrency_scale="10s-100s",
    process_isolation=True,
    windows=False,
    debugging="Harder",
    concurrency=Support.NATIVE,
    soft_time_limit=Support.NATIVE,
    time_limit=Support.NATIVE,
    cancel=Support.NATIVE,
    resize=Support.NATIVE,
    restart=Support.NATIVE,
    max_tasks_per_child=Support.NATIVE,
    max_memory_per_child=Support.NATIVE,
    memory_limit=Support.NATIVE,
    putlocks=Support.EMULATED,
    strategy=Support.NATIVE,
    processes=Support.NATIVE,
    start_method=Support.NATIVE,
    # A signal reaches the main thread wherever Python runs or sleeps; what it does not reach is killed.
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
        Stuck.C_WITHOUT_GIL: Effect.REPLACED,
        Stuck.C_WITH_GIL: Effect.REPLACED,
    },
    runs_elsewhere=True,
)
"""The record of pool ``prefork``."""


def hosted(inner: PoolSpec) -> PoolSpec:
    """Return the spec of pool ``inner`` run in several supervised processes: ``--processes``.

    What a process can do for what it runs comes on top: parallelism, isolation, limits on memory, and an end by force
    for what the inner pool cannot end.
    """
    own = inner.capabilities
    single = own.concurrency is Support.REFUSED  # as prefork itself: one job at a time in each process
    hard = {
        stuck: Effect.REPLACED if effect is Effect.PROCESS_ENDS else effect
        for stuck, effect in own.hard_effects.items()
    }
    capabilities = attrs.evolve(
        own,
        true_parallelism=True,
        cpu_bound=Fitness.EXCELLENT if single else Fitness.GOOD,
        io_bound=Fitness.GOOD if single else own.io_bound,
        concurrency_scale=CAPABILITIES.concurrency_scale if single else own.concurrency_scale,
        process_isolation=True,
        memory_efficiency="Moderate",
        windows=False,
        debugging="Harder",
        concurrency=Support.NATIVE,
        resize=own.resize,
        restart=Support.NATIVE,
        max_tasks_per_child=Support.NATIVE,
        max_memory_per_child=Support.NATIVE,
        memory_limit=Support.NATIVE,
        putlocks=Support.EMULATED,
        strategy=Support.NATIVE,
        processes=Support.NATIVE,
        start_method=Support.NATIVE,
        hard_effects=hard,
        runs_in_main_thread=False,
        is_green=False,
        runs_elsewhere=True,
    )
    return PoolSpec(
        name=inner.name,
        cls="worker_pool_prefork.pool:PreforkPool",
        capabilities=capabilities,
        summary=f"{inner.name} in several supervised child processes",
        inner=inner,
    )
