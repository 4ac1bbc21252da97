"""The pool of supervised child processes."""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import ClassVar

from worker_kernel import (
    Application,
    CancelHow,
    CancelReply,
    Capabilities,
    Hub,
    Job,
    Outcome,
    Pool,
    PoolClosed,
    PoolConfig,
    PoolStatistics,
    Slot,
    SlotStatistics,
    Unsupported,
    UsageError,
)

from .capabilities import CAPABILITIES
from .child import open_descriptors
from .crew import STRIDE, Crew
from .entry import Entry
from .frames import Word
from .host import Host
from .launch.executed import ExecLauncher
from .launch.fork import ForkLauncher
from .launch.launcher import Launcher
from .launch.zygote import ForkedZygote, ZygoteLauncher, fork_ahead
from .orders import Equipment, Orders
from .page import KillReason
from .reactor import Reactor
from .states import HostState

log = logging.getLogger("worker_pool_prefork")

_LISTENER_RAISED = "the pool's listener raised in %s"
_EXIT_PATIENCE = 5.0
"""Seconds that children without jobs have to exit by themselves."""


class PreforkPool(Pool):
    """Runs jobs in child processes, each with a pipe of its own to the worker, and nothing that is locked between them.

    A child runs one job at a time in its main thread, or, with ``config.hosted``, another pool with several slots. What
    ends a child ends the jobs that had started in it, which are told as *lost*; those that had only been sent there are
    given to another one. Bodies are decoded and results stored in the child.

    On the hub everything runs on the hub's thread; without one, a thread of the pool's own drives it, and the listener
    is called from that. Children die with the worker, whatever ends it.
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._method, patch = _start_method(config)
        self._reactor = Reactor(config.clock, name="worker-prefork")
        self._numbers = itertools.count(1)
        self._limit = config.limit
        self._done = self._failed = 0
        self._closed = self._released = False
        self._zombies = 0
        self._waiters: list[tuple[Callable[[], bool], threading.Event]] = []
        try:
            launcher = self._launcher(self._method, patch)
        except BaseException:
            self._reactor.close()
            raise
        self._launcher_in_use = launcher
        self._crew = Crew(config, _orders(config), self._reactor, launcher, self)

    def _launcher(self, method: str, patch: str) -> Launcher:
        config = self.config
        if method == "fork":
            if config.app is None:
                raise UsageError("the pool has no application to fork with")
            inherited = config.ahead if isinstance(config.ahead, dict) else {}
            return ForkLauncher(self._reactor, _equipment(config, config.app), inherited)
        if config.boot is None:
            raise UsageError(
                f"start method {method} is refused: child processes cannot find the application by name\n"
                "put it into a module, or use --pool-start-method fork"
            )
        if method == "forkserver":
            forked = config.ahead if isinstance(config.ahead, ForkedZygote) else None
            return ZygoteLauncher(self._reactor, patience=max(1.0, config.lost_wait), forked=forked)
        return ExecLauncher(self._reactor, patch=patch)

    # -- life

    @classmethod
    def get_ahead(cls, config: PoolConfig) -> object:
        """See `Pool.get_ahead`: fork the first zygote, before there is anything that it must not share.

        For children that are forked later: note which descriptors are the application's, and theirs as well.
        """
        method, _ = _start_method(config)
        if method == "fork":
            return open_descriptors()
        # An inner pool may want the application configured in another way than this process has it.
        if method != "forkserver" or config.hosted is not None or config.app is None or config.boot is None:
            return None
        return fork_ahead(_orders(config), _equipment(config, config.app))

    def start(self) -> None:
        """See `Pool.start`. Children come up on their own; what is submitted meanwhile waits for them."""
        if self.config.threaded:
            self._reactor.start_thread()
        try:
            self._reactor.call(self._enlist)
        except BaseException:
            self._release()
            raise

    def _enlist(self) -> None:
        limit = self.config.limit
        hosts = limit if self.config.hosted is None else min(limit, self.config.processes or os.cpu_count() or 1)
        for index in range(hosts):
            self._crew.enlist(limit // hosts + (index < limit % hosts))

    def register_with_event_loop(self, hub: Hub) -> None:
        """See `Pool.register_with_event_loop`: one descriptor, and one timer at a time."""
        self._reactor.join(hub)

    def submit(self, job: Job) -> None:
        """See `Pool.submit`."""
        if self._closed:
            raise PoolClosed(f"job {job.id} comes too late: the pool takes no more")
        entry = Entry(next(self._numbers), job)
        if self._reactor.threaded:
            self._reactor.post(lambda: self._put(entry))
        else:
            self._put(entry)

    def _put(self, entry: Entry) -> None:
        if self._closed:  # it was closed in between
            self.finished(entry, Outcome.never_started(entry.job.id))
            return
        self._crew.schedule.put(entry)
        self._crew.pump()

    def backlog(self, runtime: float) -> int:
        """See `Pool.backlog`: small jobs travel in frames of several."""
        if self.config.putlocks:
            return 0
        children = self._limit if self.config.hosted is None else len(self._crew.active)
        most, runs = self._crew.schedule.backlog(runtime), self.config.max_tasks_per_child
        return children * (most if runs is None else min(most, runs - 1))

    def close(self) -> None:
        """See `Pool.close`. What has been sent to a child and not started is asked back, and cancelled then."""
        self._reactor.call(self._close)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        waiting, self._crew.schedule.waiting = list(self._crew.schedule.waiting), type(self._crew.schedule.waiting)()
        for entry in waiting:
            self.finished(entry, Outcome.never_started(entry.job.id))
        for host in self._crew.everyone:
            for entry in host.entries.values():
                entry.unwanted = True
            if host.entries and host.takes_jobs:
                host.tell([Word.TAKE_BACK, []])

    def stop(self, timeout: float | None) -> bool:
        """See `Pool.stop`."""
        if self._released:
            return True
        self.close()
        if not self._wait(lambda: not self._crew.busy, timeout):
            return False
        self._release()
        return True

    def terminate(self) -> None:
        """See `Pool.terminate`. Tasks get ``limit_grace`` to end by themselves, then their processes are killed."""
        if self._released:
            return
        self.close()
        self._reactor.call(self._end_jobs)
        if not self._wait(lambda: not self._crew.busy, self.config.limit_grace + 1.0):
            self._reactor.call(self._crew.kill_all)
            self._wait(lambda: not self._crew.busy, None)
        self._release()

    def _end_jobs(self) -> None:
        for host in self._crew.everyone:
            if host.orders.inner:
                host.tell([Word.END_JOBS])
                for entry in host.entries.values():
                    entry.killed = KillReason.STOP
                continue
            for entry in list(host.entries.values())[:1]:
                if not entry.job.is_report:
                    self._crew.limits.kill(host, entry, KillReason.STOP, force=True)

    def _release(self) -> None:
        """Let the children exit, and give everything back."""
        if self._released:
            return
        self._closed = self._released = True
        self._reactor.call(self._crew.end)
        if not self._wait(lambda: not self._crew.everyone, _EXIT_PATIENCE):
            self._reactor.call(self._crew.kill_all)
            self._wait(lambda: not self._crew.everyone, _EXIT_PATIENCE)
        self._reactor.call(self._crew.limits.stop)
        self._reactor.leave()
        self._reactor.call(self._launcher_in_use.close)
        self._reactor.close()

    def _wait(self, happened: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until something has happened: here, where nobody else turns the reactor, else on its thread."""
        if not self._reactor.threaded:
            return self._reactor.turn_until(happened, timeout)
        event = threading.Event()
        self._reactor.call(lambda: self._waiters.append((happened, event)))
        self._reactor.post(self.changed)
        return event.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def changed(self) -> None:
        """See `CrewListener.changed`."""
        for happened, event in self._waiters:
            if happened():
                event.set()
        self._waiters = [(happened, event) for happened, event in self._waiters if not event.is_set()]

    # -- cancel, resize, restart

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        """See `Pool.cancel`. A job that has been sent to a child may have started there: then it is *cancelling*."""
        return self._reactor.call(lambda: self._cancel(job_id, how))

    def _cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        waiting = self._crew.schedule.waiting
        for entry in waiting:
            if entry.job.id == job_id and not entry.job.is_report:
                waiting.remove(entry)
                self.finished(entry, Outcome.never_started(job_id))
                return CancelReply.CANCELLED
        for host in self._crew.everyone:
            for entry in host.entries.values():
                if entry.job.id == job_id and not entry.job.is_report:
                    return self._cancel_in(host, entry, how)
        return CancelReply.UNKNOWN

    def _cancel_in(self, host: Host, entry: Entry, how: CancelHow) -> CancelReply:
        started = host.has_started(entry)
        if entry.number not in host.entries:  # it has just come back, or ended
            return self._cancel(entry.job.id, how)
        if not started:
            entry.unwanted = True
            host.tell([Word.TAKE_BACK, [entry.number]])
            if how is CancelHow.WAITING:
                return CancelReply.CANCELLING
        elif how is CancelHow.WAITING:
            return CancelReply.UNKNOWN
        if host.orders.inner:
            host.tell([Word.CANCEL, entry.number, how])
        else:
            self._crew.limits.kill(host, entry, KillReason.CANCEL, force=how is CancelHow.KILL)
        return CancelReply.CANCELLING

    def grow(self, n: int) -> None:
        """See `Pool.grow`."""
        self._reactor.call(lambda: self._grow(n))

    def _grow(self, n: int) -> None:
        self._limit += n
        for _ in range(n):
            if self.config.hosted is None or self._crew.excess:
                self._crew.increase()
            else:
                self._resize(min(self._crew.active.values(), key=lambda host: host.slots), 1)
        self._tell(self.config.listener.resized, self._limit)
        self._crew.pump()

    def shrink(self, n: int) -> None:
        """See `Pool.shrink`."""
        self._reactor.call(lambda: self._shrink(n))

    def _shrink(self, n: int) -> None:
        if self._limit - n < 1:
            raise ValueError(f"the pool has {self._limit} slots: it cannot give away {n}, one must stay")
        self._limit -= n
        for _ in range(n):
            host = min(self._crew.active.values(), key=lambda host: (-host.room, -host.slots, -host.orders.index))
            if host.slots > 1:
                self._resize(host, -1)
            else:
                self._crew.reduce()
        self._tell(self.config.listener.resized, self._limit)

    def _resize(self, host: Host, by: int) -> None:
        host.slots += by
        host.tell([Word.RESIZE, by])

    def restart(self) -> None:
        """See `Pool.restart`. New children have the code that is on disk now, but for start method fork."""
        if not self.config.allow_restart:
            raise Unsupported("restart", "the pool, without worker_pool_restarts,")
        self._reactor.call(self._crew.renew)

    # -- statistics

    def statistics(self) -> PoolStatistics:
        """See `Pool.statistics`."""
        hosts = self._crew.everyone
        running = sum(min(len(host.entries), host.slots) for host in hosts)
        size = max(self._crew.size, running)
        held = sum(len(host.entries) for host in hosts)
        return PoolStatistics(
            implementation=f"{type(self).__module__}:{type(self).__qualname__}",
            limit=self._limit,
            size=size,
            running=running,
            free=size - running,
            queued=len(self._crew.schedule.waiting) + held - running,
            zombies=self._zombies,
            done=self._done,
            failed=self._failed,
            recycled=dict(self._crew.recycled),
            slots=tuple(line for host in hosts for line in self._lines(host)),
            extra={
                "start_method": self._method,
                "strategy": self._crew.schedule.strategy,
                "children": [self._about(host) for host in hosts],
            },
        )

    def _lines(self, host: Host) -> list[SlotStatistics]:
        first = host.orders.index * (STRIDE if host.orders.inner else 1)
        busy = list(host.entries.values())[: host.slots]
        lines = []
        used = set()
        wall = self.config.clock.wall() - self.config.clock.monotonic()
        for entry in busy:
            place = entry.slot if host.orders.inner else 0
            used.add(place)
            since = wall + (entry.started or entry.since)
            lines.append(_line(first + place, host.pid, "running", entry, since))
        if host.state not in (HostState.RETIRING, HostState.KILLED) and host not in self._crew.spares.values():
            free = [place for place in range(host.slots) if place not in used][: host.slots - len(busy)]
            lines += [_line(first + place, host.pid, "free") for place in free]
        return lines

    def _about(self, host: Host) -> dict[str, object]:
        first = next(iter(list(host.entries.values())), None)
        return {
            "index": host.orders.index,
            "pid": host.pid,
            "state": str(host.state),
            "slots": host.slots,
            "generation": host.generation,
            "uptime": round(self.config.clock.monotonic() - host.born, 3),
            "done": host.done,
            "jobs": len(host.entries),
            "memory": host.rss,
            "task": None if first is None else first.job.task,
        }

    # -- what the crew tells

    def accepted(self, entry: Entry, host: Host) -> None:
        """See `CrewListener.accepted`."""
        slot = host.places.get(entry.slot)
        if slot is None:
            index = host.orders.index * STRIDE + entry.slot if host.orders.inner else host.orders.index
            slot = host.places[entry.slot] = Slot(index=index, pid=host.pid)
        try:
            self.config.listener.accepted(entry.job, slot)
        except Exception:
            log.exception(_LISTENER_RAISED, "accepted")

    def finished(self, entry: Entry, outcome: Outcome) -> None:
        """See `CrewListener.finished`."""
        if entry.accepted and not entry.job.is_report:
            self._done += 1
            self._failed += outcome.failure is not None and outcome.failed
        try:
            self.config.listener.finished(entry.job, outcome)
        except Exception:
            log.exception(_LISTENER_RAISED, "finished")

    def failing(self, reason: str, exit_code: int) -> None:
        """See `CrewListener.failing`."""
        self._tell(self.config.listener.failing, reason, exit_code)

    def _tell(self, what: Callable[..., None], *args: object) -> None:
        try:
            what(*args)
        except Exception:
            log.exception(_LISTENER_RAISED, getattr(what, "__name__", what))


def _start_method(config: PoolConfig) -> tuple[str, str]:
    """Return how children come to be, and the patch that they need."""
    asked = config.options.get("worker_pool_start_method")
    if config.hosted is not None and config.hosted.capabilities.is_green:
        if asked not in (None, "spawn"):
            raise UsageError(
                f"start method {asked} is refused: {config.hosted.name} has to patch before anything is imported\n"
                "leave it out, or use spawn"
            )
        return "spawn", config.hosted.name
    if isinstance(asked, str):
        return asked, ""
    return ("forkserver" if sys.platform == "linux" else "spawn"), ""


def _orders(config: PoolConfig) -> Orders:
    """Return the orders of a child, but for its index and slots."""
    inner = config.hosted
    return Orders(
        index=0,
        slots=(0,),
        title=config.node_name,
        parent=os.getpid(),
        boot=config.boot,
        inner="" if inner is None else inner.cls,
        soft_time_limit=config.soft_time_limit,
        time_limit=config.time_limit,
        limit_grace=config.limit_grace,
        zombie_budget=config.zombie_budget,
        options={} if inner is None else _plain(config.options),
    )


def _equipment(config: PoolConfig, app: Application) -> Equipment:
    """Return what children have that have this process's memory."""
    return Equipment(
        app=app,
        slot_start=config.slot_start,
        slot_end=config.slot_end,
        child_init=config.child_init,
        child_exit=config.child_exit,
    )


def _line(index: int, pid: int, state: str, entry: Entry | None = None, since: float | None = None) -> SlotStatistics:
    job = None if entry is None else entry.job
    return SlotStatistics(
        index=index,
        pid=pid,
        state=state,
        job_id=None if job is None else job.id,
        task=None if job is None else job.task,
        since=since,
    )


def _plain(options: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that orders can carry to the pool inside a child."""
    return {name: value for name, value in options.items() if value is None or isinstance(value, (str, int, float))}
