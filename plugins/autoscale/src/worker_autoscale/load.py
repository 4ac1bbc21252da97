"""The default policy: as many slots as there is work that would have to wait."""

from __future__ import annotations

from collections.abc import Mapping

from worker_kernel import AutoscalePolicy, Load, Settings

PATIENCE = 1.0
"""Seconds for which messages may wait: what the slots that there are will have begun by then is no reason to grow."""


class LoadPolicy(AutoscalePolicy):
    """Wants a slot for each running job and each message that waits, at the broker too.

    Prefetching has no part in it: what the worker does not hold counts as well. While what waits is sure to be begun
    within `PATIENCE`, by the measured run time, the size stays as it is; a message that has been waiting for so long
    all the same ends that.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._since: float | None = None
        self._seen: dict[str, object] = {}

    def wanted(self, load: Load) -> int:
        """See `AutoscalePolicy.wanted`."""
        backlog = load.waiting + (load.depth or 0)
        if load.depth is None:
            backlog = max(backlog, 1)  # all slots are busy, and nobody knows what waits: one more will show
        self._seen = {"qty": load.busy + backlog, "depth": load.depth, "age": load.age}
        if not backlog:
            self._since = None
            return load.busy
        if self._since is None:
            self._since = load.now
        waited = load.age if load.age is not None else load.now - self._since
        soon = bool(load.runtime) and backlog * load.runtime <= PATIENCE * load.size
        if soon and waited < PATIENCE:
            return max(load.size, load.busy)
        return load.busy + backlog

    def statistics(self) -> Mapping[str, object]:
        """See `AutoscalePolicy.statistics`: what there is to do in all, and how long the oldest has been waiting."""
        return dict(self._seen)
