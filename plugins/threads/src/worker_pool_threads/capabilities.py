"""What the pool can do; light, because every ``kernel pools`` imports it."""

from __future__ import annotations

import attrs

from worker_kernel import SLOT_POOL, Fitness

CAPABILITIES = attrs.evolve(
    SLOT_POOL, io_bound=Fitness.GOOD, concurrency_scale="10s", windows=True, debugging="Moderate"
)
"""The record of pool ``threads``."""
