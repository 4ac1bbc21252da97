"""Declares the pool ``pinned`` and its setting. Light: the pool's class is imported only under ``-P pinned``."""

from worker_kernel import PoolSpec, Setting, implements, kernel_pools, kernel_settings, kinds

from .capabilities import CAPABILITIES

CONTRACT = 1  # of the kernel that this was written for


@implements(kernel_pools)
def pools() -> list[PoolSpec]:
    summary = "threads, each on a CPU of its own, for native code that releases the GIL"
    return [PoolSpec(name="pinned", cls="pinned_pool.pool:PinnedPool", capabilities=CAPABILITIES, summary=summary)]


@implements(kernel_settings)
def settings() -> list[Setting]:
    return [
        Setting(
            name="pinned_first_cpu",
            parse=kinds.whole(0),
            kind="whole number >= 0",
            default=0,
            help="How many of the worker's CPUs pool pinned leaves to others, so to the worker's own loop.",
            options=("--pinned-first-cpu",),
        )
    ]
