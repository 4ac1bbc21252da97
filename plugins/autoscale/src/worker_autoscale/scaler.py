"""When a pool is made larger or smaller: the rule that holds whatever the policy."""

from __future__ import annotations

import logging
from collections import Counter

from worker_kernel import AutoscalePolicy, Load, Pool

log = logging.getLogger("worker_autoscale")


class Scaler:
    """Does what a policy wants: grows at once, shrinks late. Belongs to the loop's thread.

    It shrinks once less has been wanted for ``keepalive`` seconds, at the earliest so long after the last growth, and
    then to the most that was wanted meanwhile. So load that goes up and down within the keepalive does not move the
    pool.
    """

    def __init__(
        self, pool: Pool, policy: AutoscalePolicy, *, size: int, maximum: int, minimum: int, keepalive: float
    ) -> None:
        """Take over a pool of ``size`` slots. Args: ``keepalive`` is in seconds (> 0)."""
        self._pool, self.policy = pool, policy
        self.size = size
        """Slots asked for."""
        self.maximum, self.minimum = maximum, minimum
        self.keepalive = keepalive
        self.moves: Counter[str] = Counter()
        """How often it was made larger (``up``) and smaller (``down``)."""
        self._grown = float("-inf")
        self._less_since: float | None = None
        self._most_wanted = 0

    def decide(self, load: Load) -> int:
        """Look at the load and act on it; return by how many slots the pool has changed."""
        ceiling = self._within(self.policy.ceiling(load))
        wanted = min(self._within(self.policy.wanted(load)), ceiling)
        if self.size > ceiling:
            return self._resize(ceiling, load.now, "that is all there may be now")
        if wanted >= self.size:
            self._less_since = None
            return self._resize(wanted, load.now, f"{load.busy} busy, {load.waiting + (load.depth or 0)} waiting")
        if self._less_since is None:
            self._less_since, self._most_wanted = load.now, wanted
        self._most_wanted = max(self._most_wanted, wanted)
        if load.now - max(self._less_since, self._grown) < self.keepalive:
            return 0
        return self._resize(self._most_wanted, load.now, f"no more were wanted for {self.keepalive:g} s")

    def _within(self, size: int) -> int:
        return max(self.minimum, min(size, self.maximum))

    def _resize(self, size: int, now: float, why: str) -> int:
        change = size - self.size
        if not change:
            return 0
        if change > 0:
            log.info("scaling up %d slot(s) to %d: %s", change, size, why)
            self._grown = now
            size = self._grow(size)
        else:
            log.info("scaling down %d slot(s) to %d: %s", -change, size, why)
            self._pool.shrink(-change)
        self.moves["up" if change > 0 else "down"] += 1
        change, self.size, self._less_since = size - self.size, size, None
        return change

    def _grow(self, size: int) -> int:
        """Make the pool larger; return how large it has become, should the system have no threads or processes left."""
        try:
            self._pool.grow(size - self.size)
        except (RuntimeError, OSError) as exc:
            size = self._pool.statistics().limit
            log.error("the pool has %d slot(s) and cannot grow further: %s", size, exc)
        return size

    def update(self, maximum: int | None, minimum: int | None, now: float) -> tuple[int, int]:
        """Change the bounds; a size that is beyond them is brought within at once. Returns ``(maximum, minimum)``.

        Raises:
            ValueError: the maximum would be below the minimum; nothing was changed.
        """
        new_maximum = self.maximum if maximum is None else maximum
        new_minimum = self.minimum if minimum is None else minimum
        if new_maximum < new_minimum:
            raise ValueError(f"max {new_maximum} is below min {new_minimum}")
        self.maximum, self.minimum = new_maximum, new_minimum
        self._resize(self._within(self.size), now, f"the bounds are {new_maximum},{new_minimum} now")
        return new_maximum, new_minimum
