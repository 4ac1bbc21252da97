"""How many small jobs are worth having at hand together, for pools and strategies."""

from __future__ import annotations

SMALL = 0.005
"""Seconds: jobs that take less on average are handed on several at a time."""
BATCH = 32
"""Jobs of such a batch."""
LARGEST_BATCH = 128
"""The same where they are tiny: enough to go on with while the worker waits for its broker."""
WORTH = 0.01
"""Seconds that a batch of more than `BATCH` jobs may take."""


def batch_of(seconds: float) -> int:
    """Return how many jobs that take so long each (seconds, >= 0) make a batch: one, where they are not small."""
    if seconds >= SMALL:
        return 1
    return max(BATCH, min(LARGEST_BATCH, int(WORTH / seconds) if seconds > 0 else LARGEST_BATCH))
