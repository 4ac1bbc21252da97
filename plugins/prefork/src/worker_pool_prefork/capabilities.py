"""What the pool can do; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

import attrs

from worker_kernel import LOCAL_POOL, Capabilities, Effect, Fitness, PoolSpec, Support


def _in_processes(inner: Capabilities) -> Capabilities:
    """Return what a pool can do that is run in several supervised processes.

    What a process can do for what it runs comes on top: parallelism, isolation, limits on memory, and an end by force
    for what the inner pool cannot end.
    """
    single = inner.concurrency is Support.REFUSED  # one job at a time in each process
    replaced = {
        stuck: Effect.REPLACED if effect is Effect.PROCESS_ENDS else effect
        for stuck, effect in inner.hard_effects.items()
    }
    return attrs.evolve(
        inner,
        true_parallelism=True,
        cpu_bound=Fitness.EXCELLENT if single else Fitness.GOOD,
        io_bound=Fitness.GOOD if single else inner.io_bound,
        memory_efficiency="Moderate",
        concurrency_scale="10s-100s" if single else inner.concurrency_scale,
        process_isolation=True,
        windows=False,
        debugging="Harder",
        concurrency=Support.NATIVE,
        restart=Support.NATIVE,
        max_tasks_per_child=Support.NATIVE,
        max_memory_per_child=Support.NATIVE,
        memory_limit=Support.NATIVE,
        putlocks=Support.EMULATED,
        strategy=Support.NATIVE,
        processes=Support.NATIVE,
        start_method=Support.NATIVE,
        hard_effects=replaced,
        runs_in_main_thread=False,
        runs_elsewhere=True,
        is_green=False,
    )


CAPABILITIES = attrs.evolve(_in_processes(LOCAL_POOL), resize=Support.NATIVE)
"""The record of pool ``prefork``: one job at a time in each process, of which there can be more and fewer."""


def hosted(inner: PoolSpec) -> PoolSpec:
    """Return the spec of pool ``inner`` run in several supervised processes: ``--processes``."""
    return PoolSpec(
        name=inner.name,
        cls="worker_pool_prefork.pool:PreforkPool",
        capabilities=_in_processes(inner.capabilities),
        summary=f"{inner.name} in several supervised child processes",
        inner=inner,
    )
