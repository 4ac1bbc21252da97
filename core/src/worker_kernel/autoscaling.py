"""The contract of autoscaling policies: from what a worker sees now, how many slots there should be."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import attrs

from .settings import Settings


@attrs.frozen(kw_only=True)
class Load:
    """What a policy decides by, as of now."""

    now: float
    """The clock's monotonic time, in seconds: only differences mean something."""
    size: int
    """Slots asked for (>= 1)."""
    busy: int
    """Slots that run a job; more than ``size`` for a while after it was made smaller."""
    waiting: int
    """Messages that the worker holds without a slot for them; those that wait for their time do not count."""
    depth: int | None
    """Messages in the worker's queues that nobody has; None: the broker did not tell. It is not asked, and this is 0,
    while slots are free: the worker would have taken them."""
    age: float | None
    """Seconds for which the oldest of them has been seen to wait, a lower bound; None: the broker does not tell."""
    runtime: float
    """Seconds that a run takes on average of late; 0: nothing has run yet."""
    minimum: int
    """The fewest slots that may be wanted (>= 1)."""
    maximum: int
    """The most slots that may be wanted."""
    pids: tuple[int, ...] = ()
    """Child processes that the slots run in; empty: they are in the worker's own."""


class AutoscalePolicy(abc.ABC):
    """Says how many slots there should be. Built once per worker, called on the loop's thread: it never blocks.

    The autoscaler does what is wanted within minimum and maximum. It grows at once, and shrinks once less has been
    wanted for the keepalive, counted from the last growth at the earliest, to the most that was wanted meanwhile. A
    busy slot that is taken away goes when its job has ended.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        """The worker's."""

    @abc.abstractmethod
    def wanted(self, load: Load) -> int:
        """Return how many slots there should be by the work there is; any number, it is brought within the bounds."""

    def ceiling(self, load: Load) -> int:
        """Return how many slots there may be at the most now: shrinking to that does not wait. The default: no less."""
        return load.maximum

    def statistics(self) -> Mapping[str, object]:
        """Return what it has seen, for ``info``, JSON-safe."""
        return {}
