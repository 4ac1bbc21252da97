"""Which tasks were revoked: remembered for a while, up to a number, whether or not they are known here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from worker_kernel import Clock


class Revoked:
    """A set of ids that forgets: what is older than ``expires``, and the oldest when there are too many.

    It lives as long as the worker: another one does not know of it, and neither does this one after a restart. Belongs
    to the loop's thread.
    """

    def __init__(self, clock: Clock, *, most: int, expires: float) -> None:
        """Begin empty.

        Args:
            clock: where the time comes from.
            most: ids to remember (>= 1).
            expires: seconds for which an id is remembered (> 0).
        """
        self._clock = clock
        self._most = most
        self._expires = expires
        self._since: OrderedDict[str, float] = OrderedDict()

    def add(self, ids: Iterable[str]) -> None:
        """Remember ``ids``, from now on."""
        now = self._clock.monotonic()
        for task_id in ids:
            self._since[task_id] = now
            self._since.move_to_end(task_id)
        self._forget(now)

    def __contains__(self, task_id: str) -> bool:
        since = self._since.get(task_id)
        return since is not None and self._clock.monotonic() - since < self._expires

    def __len__(self) -> int:
        self._forget(self._clock.monotonic())
        return len(self._since)

    def __bool__(self) -> bool:
        return bool(self._since)

    def ids(self) -> list[str]:
        """Return what is remembered, the oldest first."""
        self._forget(self._clock.monotonic())
        return list(self._since)

    def _forget(self, now: float) -> None:
        while self._since:
            oldest = next(iter(self._since))
            if len(self._since) <= self._most and now - self._since[oldest] < self._expires:
                return
            del self._since[oldest]
