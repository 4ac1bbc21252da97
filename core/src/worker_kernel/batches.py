"""How many small jobs are worth having at hand together, for pools and strategies."""

from __future__ import annotations

SMALL = 0.01
"""Seconds: jobs that take less on average are handed on several at a time."""
WORTH = 0.06
"""Seconds that a batch may take, going by the average: enough to go on with while the worker waits for its broker."""
BATCH = 128
"""Jobs of a batch at the most."""


def batch_of(seconds: float) -> int:
    """Return how many jobs that take so long each (seconds, >= 0) make a batch: one, where they are not small."""
    return int(WORTH / max(seconds, WORTH / BATCH)) if seconds < SMALL else 1
