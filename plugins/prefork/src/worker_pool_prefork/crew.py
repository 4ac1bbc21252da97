"""The children of a pool: made, given work, replaced, and seen off."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from typing import Protocol

import attrs

from worker_kernel import ExitCode, Outcome, PoolConfig

from .budget import Budget
from .entry import Entry
from .fates import describe, fate
from .frames import Word
from .host import Host
from .launch.launcher import Exit, Launcher
from .limits import Limits
from .memory import LOOK_EVERY, in_words, resident
from .orders import Orders
from .reactor import Reactor, Timer
from .schedule import Schedule
from .states import HostState

log = logging.getLogger("worker_pool_prefork")

STRIDE = 10_000
"""Slots of a child with several are numbered from its index times this."""
BOOT_WINDOW = 60.0
"""Seconds within which children that end before they are ready count together."""
RESTART_WINDOW = 1.0
"""Seconds, as with Celery, within which ``max_restarts`` ends of children are borne."""
JITTER = 0.1
"""How much earlier than its limit a child may be replaced, so that not all are at the same time."""


class CrewListener(Protocol):
    """Whom the crew tells. Called where the reactor is turned."""

    def accepted(self, entry: Entry, host: Host) -> None:
        """A job has started, for the first time."""
        ...

    def finished(self, entry: Entry, outcome: Outcome) -> None:
        """A job has ended."""
        ...

    def failing(self, reason: str, exit_code: int) -> None:
        """Children cannot be kept alive."""
        ...

    def changed(self) -> None:
        """Something has ended: whoever waits for that may look."""
        ...


class Crew:
    """Keeps the number of children, and gives them work. Everything belongs to whoever turns the reactor.

    A child that is to be replaced goes on working until its replacement is ready, and then takes no more; the new one
    has no more room than the old one has left. So the number of slots never dips, and is never exceeded.
    """

    def __init__(
        self,
        config: PoolConfig,
        orders: Orders,
        reactor: Reactor,
        launcher: Launcher,
        listener: CrewListener,
    ) -> None:
        """Make a crew of nobody; ``orders`` are those of each child but for its index and slots."""
        self._config, self._orders, self._reactor, self._launcher = config, orders, reactor, launcher
        self._listener = listener
        self._clock = config.clock
        strategy = config.strategy or "adaptive"
        self.schedule = Schedule("fair" if strategy == "default" else strategy)
        self.limits = Limits(config, reactor, lambda: self.everyone)
        self.active: dict[int, Host] = {}
        """The children that have, or get, the work, by index."""
        self.spares: dict[int, Host] = {}
        """Their replacements, as long as these are not needed or not ready."""
        self.leaving: list[Host] = []
        """Those that finish what they have."""
        self.excess = 0
        """How many of the active are to go: whichever end their job first."""
        self.recycled: Counter[str] = Counter()
        """How many were replaced so far, by reason."""
        self._restarts = Budget(
            math.inf if config.max_restarts is None else config.max_restarts, RESTART_WINDOW, self._clock
        )
        self._boots = Budget(2, BOOT_WINDOW, self._clock)
        self._shown = ""
        self._generation = 0
        self._ending = False
        self._given_up = False
        self._pumping = False
        self._timer: Timer | None = None
        self._rebalance: Timer | None = None
        alive = config.options.get("worker_proc_alive_timeout", 60.0)
        self._patience = float(alive) if isinstance(alive, (int, float)) else 60.0
        self._tasks: dict[Host, int] = {}
        self._unwatched: dict[Host, None] = {}
        if config.max_memory_per_child is not None or config.memory_limit is not None:
            self._timer = reactor.later(LOOK_EVERY, self._look_at_memory)

    # -- who there is

    @property
    def everyone(self) -> list[Host]:
        """All children that have not ended: those that leave first, replacements last.

        May be asked for by any thread. Each goes from spare to active to leaving, and is looked for in that order, so
        that none is missed on its way; whoever then asks them for their state finds old or new in its place.
        """
        found = dict.fromkeys((*self.spares.values(), *self.active.values(), *self.leaving))
        return list(reversed(found))

    @property
    def size(self) -> int:
        """How many slots there are: those of the active, and those that go once their job has ended."""
        return sum(host.slots for host in list(self.active.values())) + sum(
            len(host.entries) for host in list(self.leaving) if host.stale == "shrink"
        )

    @property
    def busy(self) -> bool:
        """Whether any child has a job."""
        return any(host.entries for host in self.everyone)

    def enlist(self, slots: int) -> None:
        """Add a child with so many slots."""
        index = next(number for number in range(len(self.active) + 1) if number not in self.active)
        self._boots.most = len(self.active) + 2
        self.active[index] = self._make(index, slots)

    def reduce(self) -> None:
        """Let one child of one slot go for good: one without a job, else the first that has ended its own."""
        self.excess += 1
        self._dismiss_excess()

    def increase(self) -> None:
        """Add a child of one slot, or keep one that was to go."""
        if self.excess:
            self.excess -= 1
        else:
            self.enlist(1)

    def _dismiss_excess(self) -> None:
        while self.excess:
            free = [host for host in self.active.values() if host.room >= host.slots]
            if not free:
                return
            self.excess -= 1
            self._dismiss(max(free, key=lambda host: host.orders.index))

    def _dismiss(self, host: Host) -> None:
        """Let a child go for good, once it has no job."""
        del self.active[host.orders.index]
        spare = self.spares.pop(host.orders.index, None)
        if spare is not None:
            self._retire(spare, "shrink")
        self._retire(host, "shrink")

    def renew(self) -> None:
        """Replace every child, by one with the code of now."""
        self._generation += 1
        self._launcher.renew()
        for spare in list(self.spares.values()):
            del self.spares[spare.orders.index]
            self._retire(spare, "restart")
        for host in list(self.active.values()):
            host.stale = ""  # whatever it was to be replaced for, that replacement is gone
            self._replace(host, "restart")

    def end(self) -> None:
        """Make no more children, and let those that there are exit. Those with a job finish it."""
        self._ending = True
        for timer in (self._timer, self._rebalance):
            if timer is not None:
                timer.cancel()
        for host in [*self.active.values(), *self.spares.values()]:
            self._retire(host, "end")
        self.active.clear()
        self.spares.clear()

    def _make(self, index: int, slots: int) -> Host:
        first = index if not self._orders.inner else index * STRIDE
        orders = attrs.evolve(self._orders, index=index, slots=tuple(range(first, first + slots)))
        host = Host(
            orders,
            self._reactor,
            self._clock,
            self,
            generation=self._generation,
            lost_wait=self._config.lost_wait,
        )
        self._tasks[host] = self._allowed_tasks()
        try:
            host.launch(self._launcher)
        except OSError as exc:
            host.broken(f"the system starts no process: {exc}")
            self._reactor.post(lambda: host.exited(Exit(status=1 << 8, peak=0)))
        self._expect_progress(host)
        return host

    def _expect_progress(self, host: Host) -> None:
        """Kill a child that does not get on with its start."""
        due = host.progress_at + self._patience

        def look() -> None:
            if host.served or host.state in (HostState.KILLED, HostState.REAPED):
                return
            if self._clock.monotonic() < host.progress_at + self._patience:
                self._expect_progress(host)
                return
            host.broken(f"it did not get on for {self._patience:g} s while {host.phase} (worker_proc_alive_timeout)")
            host.kill()

        self._reactor.at(due, look)

    # -- work

    def pump(self) -> None:
        """Give out what waits and watch limits anew, soon: once for everything that comes in together."""
        if not self._pumping:
            self._pumping = True
            self._reactor.post(self._give_out)

    def _give_out(self) -> None:
        self._pumping = False
        ready = [host for host in self.active.values() if host.takes_jobs]
        if self.schedule.waiting and ready:
            for host in self.schedule.give_out(ready, self._allowance):
                self._unwatched[host] = None
                self._look_at_tasks(host)
        unwatched, self._unwatched = self._unwatched, {}
        for host in unwatched:
            self.limits.watch(host)
        self._look_for_overdue()

    def _look_for_overdue(self) -> None:
        host, again = self.schedule.overdue(list(self.active.values()), self._clock.monotonic())
        if host is not None:
            host.asked_back = True
            jobs = list(host.entries)
            host.long_job = jobs[0]
            host.tell([Word.TAKE_BACK, jobs[host.slots :]])
        elif again and self._rebalance is None and not self._ending:

            def look() -> None:
                self._rebalance = None
                self._look_for_overdue()

            self._rebalance = self._reactor.later(again, look)

    # -- what children say (see `HostListener`)

    def on_ready(self, host: Host) -> None:
        """See `HostListener.on_ready`."""
        self._boots.refill()
        if self.spares.get(host.orders.index) is host:
            self._swap_if_due(host.orders.index)
        self.pump()

    def on_accepted(self, host: Host, entry: Entry) -> None:
        """See `HostListener.on_accepted`."""
        self._listener.accepted(entry, host)

    def on_running(self, host: Host) -> None:
        """See `HostListener.on_running`."""
        self._unwatched[host] = None
        self.pump()

    def on_finished(self, host: Host, entry: Entry, outcome: Outcome, spent: float) -> None:
        """See `HostListener.on_finished`."""
        if not entry.job.is_report:
            self.schedule.costs.learn(entry.job.task, spent)
        self._listener.finished(entry, outcome)
        if entry.killed is not None and not host.stale and host.state is not HostState.REAPED:
            self._replace(host, str(entry.killed.word))  # an exception from outside may have come at a bad moment

    def on_room(self, host: Host) -> None:
        """See `HostListener.on_room`."""
        self._restarts.refill()
        if host.state is not HostState.REAPED:
            self._after_a_job(host)

    def on_returned(self, host: Host, entries: list[Entry]) -> None:
        """See `HostListener.on_returned`."""
        host.dispatched -= sum(not entry.job.is_report for entry in entries)
        self._not_started(entries)
        self._after_a_job(host)

    def on_failing(self, host: Host, reason: str) -> None:
        """See `HostListener.on_failing`."""
        log.warning("child %d is replaced: %s", host.pid, reason)
        self._replace(host, "zombie")

    def on_gone(self, host: Host, ending: Exit) -> None:
        """See `HostListener.on_gone`."""
        entries, host.entries = list(host.entries.values()), {}
        expected = host in self.leaving
        how = describe(host, ending)  # as long as it can be read
        if not expected or entries:
            log.log(logging.ERROR if not expected else logging.WARNING, "%s", how.partition(";")[0])
        now = self._clock.monotonic()
        lost = [entry for entry in entries if entry.started]
        for entry in lost:
            self._listener.finished(entry, fate(entry, host, ending, self._config, now))
        self._not_started([entry for entry in entries if not entry.started])
        self._strike_off(host)
        if not expected:
            self._fill_the_gap(host, how)
        self._dismiss_excess()
        self.pump()
        self._listener.changed()

    def _not_started(self, entries: list[Entry]) -> None:
        unwanted = [entry for entry in entries if entry.unwanted or entry.killed is not None]
        for entry in unwanted:
            self._listener.finished(entry, Outcome.never_started(entry.job.id))
        self.schedule.put_back([entry for entry in entries if entry not in unwanted])

    def _after_a_job(self, host: Host) -> None:
        self._unwatched[host] = None
        if host.state is HostState.RETIRING:
            if not host.entries:
                host.quit()
        elif not self._ending:
            self._look_at_size(host)
            if self.excess and host.entries and self.active.get(host.orders.index) is host:
                self.excess -= 1  # what it has in its queue comes back, or is the last that it does
                self._dismiss(host)
            elif host.orders.index in self.spares:
                self._swap_if_due(host.orders.index)
        self._dismiss_excess()
        self.pump()
        self._listener.changed()

    # -- replacing

    def _replace(self, host: Host, reason: str) -> None:
        """Have a child replaced as soon as another one is ready to take its place."""
        if host.stale or self._ending or self._given_up or self.active.get(host.orders.index) is not host:
            return
        host.stale = reason
        self.spares[host.orders.index] = self._make(host.orders.index, host.slots)

    def _swap_if_due(self, index: int) -> None:
        """Let a spare that is ready take its place, unless the child there is still to be used up."""
        spare, old = self.spares[index], self.active[index]
        if not spare.takes_jobs or (old.stale == "max_tasks_per_child" and self._allowance(old) > 0):
            return
        del self.spares[index]
        self.active[index] = spare
        spare.predecessor = old
        self.recycled[old.stale] += 1
        self._retire(old, old.stale)
        self.pump()

    def _retire(self, host: Host, why: str) -> None:
        """Let a child exit, once it has no job."""
        host.stale = why
        self.leaving.append(host)
        if host.state is HostState.KILLED:
            return
        host.become(HostState.RETIRING)
        if not host.entries:
            host.quit()
        elif len(host.entries) > host.slots:
            host.tell([Word.TAKE_BACK, []])

    def _strike_off(self, host: Host) -> None:
        host.close()
        self._tasks.pop(host, None)
        if host in self.leaving:
            self.leaving.remove(host)
        for other in self.active.values():
            if other.predecessor is host:
                other.predecessor = None

    def _fill_the_gap(self, host: Host, how: str) -> None:
        """A child that should have lived has ended: another one takes its place, within the budgets."""
        index = host.orders.index
        is_spare = self.spares.get(index) is host
        if is_spare:
            del self.spares[index]
        if self._overdrawn(host, how) or self._ending:
            if not is_spare:
                self.active.pop(index, None)
            return
        if is_spare:
            active = self.active[index]
            active.stale, reason = "", active.stale
            self._replace(active, reason)
            return
        self.recycled[self._why_gone(host)] += 1
        spare = self.spares.pop(index, None)
        self.active[index] = spare if spare is not None else self._make(index, host.slots)

    def _why_gone(self, host: Host) -> str:
        if host.too_large:
            return "memory_limit"
        if host.state is HostState.REAPED and host.stale:
            return host.stale
        return "lost"

    def _overdrawn(self, host: Host, how: str) -> bool:
        """Count the end of a child. Returns whether that was one too many, which is told once."""
        if self._given_up:
            return True
        if host.why_broken or not host.served:
            why = host.why_broken or how
            if why != self._shown:
                self._shown = why
                log.error("a child process could not be started: %s", why)
            if not self._boots.spend():
                return False
            reason = f"child processes end before they are ready: {why}"
        else:
            if not self._restarts.spend():
                return False
            reason = f"more than {self._restarts.most:g} child processes ended within {RESTART_WINDOW:g} s"
        self._given_up = True
        self._listener.failing(reason, ExitCode.CHILD_BUDGET)
        return True

    # -- limits of a child

    def _allowed_tasks(self) -> int:
        """Return after how many runs a child is replaced: never more than was asked for, a few less for some."""
        most = self._config.max_tasks_per_child
        if most is None:
            return 1 << 62
        return most - random.randint(0, int(most * JITTER))  # noqa: S311  (no secret)

    def _allowance(self, host: Host) -> int:
        return self._tasks[host] - host.dispatched

    def _look_at_tasks(self, host: Host) -> None:
        """Have a replacement made in time for a child that has few runs left."""
        most = self._config.max_tasks_per_child
        if most is not None and self._allowance(host) <= max(0, most // 10):
            self._replace(host, "max_tasks_per_child")
            if host.orders.index in self.spares:
                self._swap_if_due(host.orders.index)

    def _look_at_size(self, host: Host) -> None:
        """Have a child replaced that has ended a job and is too large now."""
        most = self._config.max_memory_per_child
        if most is None or host.stale or host.state is not HostState.READY:
            return
        host.rss = resident(host.pid)
        if host.rss > most:
            log.warning(
                "child %d has %s after its job, and may have %s (worker_max_memory_per_child): it is replaced",
                host.pid,
                in_words(host.rss),
                in_words(most),
            )
            self._replace(host, "max_memory_per_child")

    def _look_at_memory(self) -> None:
        self._timer = self._reactor.later(LOOK_EVERY, self._look_at_memory)
        limit = self._config.memory_limit
        for host in self.everyone:
            host.rss = resident(host.pid) if host.pid else 0
            if limit is not None and host.rss > limit and host.state is not HostState.KILLED:
                host.too_large = host.rss
                log.error(
                    "child %d has %s, and the limit is %s (worker_memory_limit_per_child): it is killed",
                    host.pid,
                    in_words(host.rss),
                    in_words(limit),
                )
                host.kill()

    def kill_all(self) -> None:
        """End every child at once."""
        for host in self.everyone:
            host.kill()
