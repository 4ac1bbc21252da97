"""What the pool can do; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

from worker_kernel import Capabilities, Effect, Fitness, Stuck, Support

CAPABILITIES = Capabilities(
    true_parallelism=False,
    cpu_bound=Fitness.POOR,
    io_bound=Fitness.GOOD,
    memory_efficiency="High",
    concurrency_scale="10s",
    process_isolation=False,
    windows=True,
    debugging="Moderate",
    concurrency=Support.NATIVE,
    soft_time_limit=Support.NATIVE,
    time_limit=Support.NATIVE,
    cancel=Support.NATIVE,
    resize=Support.NATIVE,
    restart=Support.NATIVE,
    max_tasks_per_child=Support.NATIVE,
    putlocks=Support.EMULATED,
    # An exception reaches a thread when it next runs Python: not while it sleeps or is in C.
    soft_effects={
        Stuck.YIELDS: Effect.RAISED,
        Stuck.BUSY: Effect.RAISED,
        Stuck.SLEEPS: Effect.UNDELIVERABLE,
        Stuck.C_WITHOUT_GIL: Effect.UNDELIVERABLE,
        Stuck.C_WITH_GIL: Effect.UNDELIVERABLE,
    },
    hard_effects={
        Stuck.YIELDS: Effect.RAISED,
        Stuck.BUSY: Effect.RAISED,
        Stuck.SLEEPS: Effect.ZOMBIE,
        Stuck.C_WITHOUT_GIL: Effect.ZOMBIE,
        Stuck.C_WITH_GIL: Effect.PROCESS_ENDS,
    },
)
"""The record of pool ``threads``."""
