"""What the pool can do; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

from worker_kernel import Capabilities, Effect, Fitness, Stuck, Support

CAPABILITIES = Capabilities(
    true_parallelism=False,
    cpu_bound=Fitness.POOR,
    io_bound=Fitness.POOR,
    memory_efficiency="High",
    concurrency_scale="1",
    process_isolation=False,
    windows=True,
    debugging="Easy",
    soft_time_limit=Support.NATIVE,
    time_limit=Support.NATIVE,
    cancel=Support.NATIVE,
    putlocks=Support.EMULATED,
    # A signal reaches the main thread also while it sleeps. On Windows there is none to send: a sleep is then as
    # deaf as C code, and its hard limit ends the process.
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
    runs_in_main_thread=True,
)
"""The record of pool ``solo``."""
