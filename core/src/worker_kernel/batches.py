"""How long runs take, and how many small jobs are worth having at hand together; for pools and strategies."""

from __future__ import annotations

SMALL = 0.01
"""Seconds: jobs that take less on average are handed on several at a time."""
WORTH = 0.06
"""Seconds that a batch may take, going by the average: enough to go on with while the worker waits for its broker."""
BATCH = 128
"""Jobs of a batch at the most."""
_FEW, _MANY = 0.1, 0.01
"""What the latest run weighs in an average: as in one over the last 10, or the last 100."""
_SPAN = 0.03
"""Seconds that the runs of such an average take together, where these are not too few or too many."""


def average_of_late(average: float, seconds: float, runs: int) -> float:
    """Return the average run time with one run more, of late ones: the last 10, or up to 100 where they are small.

    A small run that lost the processor to another process took as long as dozens of others: of ten, it would make what
    follows from the average jump.

    Args:
        average: seconds, so far.
        seconds: that the run has taken.
        runs: how many there have been with this one (>= 1).
    """
    weight = average / _SPAN
    weight = _MANY if weight < _MANY else min(weight, _FEW)
    return average + max(weight, 1 / runs) * (seconds - average)


def batch_of(seconds: float) -> int:
    """Return how many jobs that take so long each (seconds, >= 0) make a batch: one, where they are not small."""
    return int(WORTH / max(seconds, WORTH / BATCH)) if seconds < SMALL else 1
