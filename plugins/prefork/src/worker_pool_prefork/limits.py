"""The limits of jobs in children: the soft one by a signal, the hard one by a signal and then by force."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable

from worker_kernel import Clock, PoolConfig

from .entry import Entry
from .host import Host
from .page import KillReason
from .reactor import Reactor, Timer
from .states import HostState

log = logging.getLogger("worker_pool_prefork")

_FIRST_REMINDER, _LONGEST_REMINDER = 0.03, 1.0
"""Seconds after which a signal that has not arrived is sent again; doubled each time, up to the second."""
_INNER_MARGIN = 1.0
"""Seconds, beyond the grace, that an inner pool has for enforcing its own limits before its process is killed."""
_INNER_LOOK = 1.0
"""Seconds between two looks at a child with an inner pool, as long as it has jobs."""
REPORT_LIMIT = 10.0
"""Seconds that a report may take: a child that was stopped must not keep a fate for ever. It is reported again then."""
_NEVER = float("inf")


class Limits:
    """Watches the jobs of all children. Belongs to whoever turns the reactor.

    Limits count from the moment at which a job was first in its child's queue, and more exactly from its start as soon
    as that is known: a child that is stuck before it starts is caught too, and its job given to another one. An inner
    pool of several slots enforces its own limits; its process is killed where it fails to.
    """

    def __init__(self, config: PoolConfig, reactor: Reactor, hosts: Callable[[], Iterable[Host]]) -> None:
        self._config = config
        self._clock: Clock = config.clock
        self._reactor = reactor
        self._hosts = hosts
        self._timer: Timer | None = None
        self._set_for = _NEVER

    def watch(self, host: Host) -> None:
        """A child has got a job, or lost one: see when it has to be looked at next."""
        if host.state is HostState.KILLED or not host.entries:  # if killed, its jobs are overdue until it is reaped
            host.due = _NEVER
        elif not host.orders.inner:
            host.due = min(self._due(host, entry) for entry in self._running(host))
        elif host.due == _NEVER:
            host.due = self._clock.monotonic() + _INNER_LOOK
        if host.due < self._set_for:
            if self._timer is not None:
                self._timer.cancel()
            self._set_for = host.due
            self._timer = self._reactor.at(host.due, self._look)

    def kill(self, host: Host, entry: Entry, reason: KillReason, *, force: bool, limit: float = 0.0) -> None:
        """End a job in a child of one slot: by an exception, and with ``force``, if need be, by its process."""
        now = self._clock.monotonic()
        if entry.killed is None:
            entry.killed = reason
            entry.remind = _FIRST_REMINDER
            host.page.ask_kill(entry.number, reason, limit)
            host.signal(signal.SIGTERM)
        if force:
            entry.kill_by = min(entry.kill_by, now + self._config.limit_grace)
        self.watch(host)

    def stop(self) -> None:
        """Watch nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _running(self, host: Host) -> list[Entry]:
        """Return what a child may be running: of one slot, the first; of several, everything."""
        if host.orders.inner:
            return list(host.entries.values())
        return [next(iter(host.entries.values()))] if host.entries else []

    def _limits(self, entry: Entry) -> tuple[float, float]:
        job, config = entry.job, self._config
        if job.is_report:
            return _NEVER, REPORT_LIMIT
        soft = job.soft_time_limit if job.soft_time_limit is not None else config.soft_time_limit
        hard = job.time_limit if job.time_limit is not None else config.time_limit
        hard = _NEVER if hard is None else hard
        return (soft if soft is not None and soft < hard else _NEVER), hard

    def _due(self, host: Host, entry: Entry) -> float:
        base = entry.started or entry.since
        soft, hard = self._limits(entry)
        now = self._clock.monotonic()
        if entry.killed is not None:
            arrived = host.page.raised == entry.number
            return min(entry.kill_by, _NEVER if arrived else now + entry.remind)
        if entry.soft_at is None:
            return base + min(soft, hard)
        if host.page.raised == entry.number:
            return base + hard
        return min(base + hard, now + entry.remind)

    def _look(self) -> None:
        self._timer, self._set_for = None, _NEVER
        now = self._clock.monotonic()
        for host in list(self._hosts()):
            if host.due <= now and host.state is not HostState.REAPED:
                host.due = _NEVER
                if host.orders.inner:
                    host.look()
                for entry in self._running(host):
                    self._enforce(host, entry, now)
            self.watch(host)

    def _enforce(self, host: Host, entry: Entry, now: float) -> None:
        if host.state is HostState.KILLED:
            return
        soft, hard = self._limits(entry)
        if host.orders.inner:
            since = entry.started or max(entry.since, host.moved)  # what waits there does so for others to end
            if since + hard + self._config.limit_grace + _INNER_MARGIN <= now:
                entry.killed = KillReason.TIME_LIMIT if entry.started else None
                self._end(host, entry, "its inner pool did not end it")
            return
        if not entry.started and host.page.current == entry.number:
            host.accept(entry, host.page.started, 0)
        base = entry.started or entry.since
        if entry.killed is not None:
            if entry.kill_by <= now:
                self._end(host, entry, "it did not end when it was told to")
            elif host.page.raised != entry.number:
                self._again(host, entry, signal.SIGTERM)
        elif base + hard <= now:
            if entry.started:
                self.kill(host, entry, KillReason.TIME_LIMIT, force=True, limit=hard)
            else:
                self._end(host, entry, "its child did not even start it")
        elif base + soft <= now:
            self._soft(host, entry, soft, now)

    def _soft(self, host: Host, entry: Entry, limit: float, now: float) -> None:
        if entry.soft_at is None:
            entry.soft_at, entry.remind = now, _FIRST_REMINDER
            host.page.ask_soft(entry.number, limit)
            host.signal(signal.SIGUSR1)
        elif host.page.raised != entry.number:
            self._again(host, entry, signal.SIGUSR1)
            if not entry.undelivered and now - entry.soft_at >= self._config.limit_grace / 2:
                entry.undelivered = True
                log.warning(
                    "soft time limit of %g s is undeliverable to task %s[%s] for now: it is in a call that runs no "
                    "Python, and is told when that returns",
                    limit,
                    entry.job.task,
                    entry.job.id,
                )

    def _again(self, host: Host, entry: Entry, number: int) -> None:
        """A signal that comes just before a sleep interrupts nothing: send it once more."""
        host.signal(number)
        entry.remind = min(2 * entry.remind, _LONGEST_REMINDER)

    def _end(self, host: Host, entry: Entry, why: str) -> None:
        host.stale = host.stale or (entry.killed.word if entry.killed is not None else "stuck")
        log.error("child %d is killed: task %s[%s]: %s", host.pid, entry.job.task, entry.job.id, why)
        host.kill()
