"""How many failures within a time are borne before they are somebody else's affair."""

from __future__ import annotations

from collections import deque

from worker_kernel import Clock


class Budget:
    """Bears ``most`` failures within ``within`` seconds, and says when there was one more."""

    def __init__(self, most: float, within: float, clock: Clock) -> None:
        """Args: ``most`` is >= 0, ``inf`` bears everything; ``within`` is in seconds."""
        self.most, self.within = most, within
        self._clock = clock
        self._when: deque[float] = deque()

    def spend(self) -> bool:
        """Count a failure. Returns whether the budget is overdrawn."""
        now = self._clock.monotonic()
        self._when.append(now)
        while self._when[0] < now - self.within:
            self._when.popleft()
        return len(self._when) > self.most

    def refill(self) -> None:
        """All is well again: what was is forgotten."""
        self._when.clear()
