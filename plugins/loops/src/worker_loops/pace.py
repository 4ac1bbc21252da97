"""How long runs take of late, and how many messages are worth holding for that beyond those that have a slot."""

from __future__ import annotations

from worker_kernel import average_of_late

HORIZON = 0.1
"""Seconds that a message may have to wait here for a slot: if it would be more, another worker had better take it."""
DEEPEST = 256
"""Messages for each slot at the most: enough for the next ones to come while these run."""
_SURE = 8
"""Runs before more are held than now."""


class Pace:
    """The average run time of late, and the depth that follows: messages to hold for each slot, none for long tasks.

    The depth is lowered at once and raised only after a few runs, and in steps of two, so that brokers are not told of
    every jitter. Belongs to the loop's thread.
    """

    def __init__(self) -> None:
        self.average = 0.0
        """Seconds that a run takes; 0 before the first. See `average_of_late`."""
        self.depth = 0
        """Messages to hold for each slot."""
        self._runs = 0
        self._since = 0

    def ran(self, seconds: float) -> None:
        """A run took so long (>= 0)."""
        self._runs += 1
        self._since += 1
        self.average = average_of_late(self.average, seconds, self._runs)

    def look(self) -> bool:
        """Let the depth follow the runs so far; whether it has changed."""
        wanted = 0
        if self._since:
            fitting = int(HORIZON / max(self.average, HORIZON / DEEPEST))
            wanted = 1 << (fitting.bit_length() - 1) if fitting else 0
        if wanted == self.depth or not self._since or (wanted > self.depth and self._since < _SURE):
            return False
        self.depth, self._since = wanted, 0
        return True

    def doubt(self) -> None:
        """What was measured may not hold for what comes: nothing is held until there have been a few more runs."""
        self.depth = self._since = 0
