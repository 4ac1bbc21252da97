"""Rate limits: when may the next run of a task start?"""

from __future__ import annotations

import math

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def interval(rate: str | None) -> float | None:
    """Return the seconds between two starts for a rate such as ``"10"``, ``"10/s"``, ``"10/m"`` or ``"10/h"``.

    The notation is Celery's; a bare number is per second. None and ``"0"`` are no limit: None is returned.

    Raises:
        ValueError: it is no such rate.
    """
    if rate is None:
        return None
    number, _, unit = str(rate).partition("/")
    per = _UNITS.get(unit.strip() or "s")
    if per is None:
        raise ValueError(f"a rate such as 10/s, 10/m or 10/h is expected, not {rate!r}")
    count = float(number)
    if count < 0 or not math.isfinite(count):
        raise ValueError(f"a rate of at least 0 is expected, not {rate!r}")
    return per / count if count else None


class RateLimiter:
    """Spaces the starts of each task evenly, by reservation: who asks first gets the next free moment.

    Unlike a token bucket that is asked again and again, each request learns at once how long it has to wait, so that
    its message can be parked in the broker meanwhile. Belongs to the loop's thread.
    """

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self.reserved: dict[tuple[str, tuple[str, int]], float] = {}
        """When those may start that wait, by task and request; monotonic."""

    def delay(self, task: str, key: tuple[str, int], spacing: float, now: float) -> float:
        """Return the seconds to wait before this run of ``task`` may start; 0.0 means now, and uses the reservation up.

        Args:
            task: the task's name.
            key: which request asks; it keeps its reservation when it asks again.
            spacing: seconds between two starts.
            now: monotonic time.
        """
        moment = self.reserved.get((task, key))
        if moment is None:
            moment = max(now, self._next.get(task, now))
            self._next[task] = moment + spacing
        if moment <= now:
            self.reserved.pop((task, key), None)
            return 0.0
        self.reserved[task, key] = moment
        return moment - now

    def forget(self, task: str, key: tuple[str, int]) -> None:
        """Give up the reservation of a request that will not run here."""
        self.reserved.pop((task, key), None)
