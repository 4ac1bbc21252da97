"""The pool contract: what runs jobs in slots."""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Protocol

import attrs

from .capabilities import Capabilities
from .clock import Clock, SystemClock
from .errors import Unsupported
from .job import Job
from .outcome import Outcome

if TYPE_CHECKING:
    from .application import Application
    from .bootrecord import BootRecord
    from .hub import Hub


def _frozen(options: Mapping[str, object]) -> Mapping[str, object]:
    return MappingProxyType(dict(options))


@attrs.frozen(kw_only=True)
class Slot:
    """Where a job runs."""

    index: int
    """Position in the pool, from 0; reused when a slot is replaced."""
    pid: int
    """The process that the slot lives in."""


class PoolListener(Protocol):
    """Whom a pool tells what happens. A pool may call these from any thread; none of them blocks or raises.

    For each submitted job: `accepted` at most once, then `finished` exactly once, in this order. A job that never
    started (cancelled while it waited, handed back at a stop) is finished without having been accepted.
    """

    def accepted(self, job: Job, slot: Slot) -> None:
        """``job`` is about to start in ``slot``."""
        ...

    def finished(self, job: Job, outcome: Outcome) -> None:
        """``job`` has ended and its slot is free (or replaced). The right to run one job is given back by this call."""
        ...

    def resized(self, size: int) -> None:
        """The pool now has ``size`` slots, because of `Pool.grow` or `Pool.shrink`."""
        ...

    def failing(self, reason: str, exit_code: int) -> None:
        """The pool cannot go on: settle what has finished, hand back the rest, and end the process with ``exit_code``.

        Called at most once, for example when a task has outlived its hard limit in the only slot.
        """
        ...


@attrs.frozen(kw_only=True)
class PoolConfig:
    """What a pool is built from. Keyword-only; it only ever gains fields with defaults."""

    limit: int
    """Number of slots to start with (>= 1)."""
    listener: PoolListener
    """Whom to report to."""
    app: Application | None = None
    """The application, for pools that run jobs in other processes."""
    node_name: str = "kernel@localhost"
    """The worker's name, for process titles and logs."""
    threaded: bool = True
    """True when there is no event loop (or on Windows): the pool drives itself with threads."""
    putlocks: bool = False
    """In threaded mode: hold back jobs while no slot is free (``worker_pool_putlocks``)."""
    semaphore: Callable[[], int] | None = None
    """Not threaded: answers how many slots are free, so that the pool need not count them again. None: threaded."""
    soft_time_limit: float | None = None
    """Default soft limit in seconds; a job's own limit wins. None: no limit."""
    time_limit: float | None = None
    """Default hard limit in seconds; a job's own limit wins. None: no limit."""
    max_tasks_per_child: int | None = None
    """Replace a slot after this many runs (>= 1). None: never."""
    max_memory_per_child: int | None = None
    """Replace what runs the slot above this size, in bytes, once its jobs have ended. None: never."""
    memory_limit: int | None = None
    """End what runs the slot, and the task with it, above this size, in bytes. None: never."""
    max_restarts: int | None = None
    """How many abnormal ends of slots to bear before giving up. None: no limit."""
    allow_restart: bool = False
    """Whether `Pool.restart` may be used (``worker_pool_restarts``)."""
    lost_wait: float = 10.0
    """Seconds to wait for word from a slot that seems dead (``worker_lost_wait``)."""
    processes: int | None = None
    """For pools of child processes: how many to spread the slots over (>= 1). None: as the pool does by itself."""
    hosted: PoolSpec | None = None
    """For pools of child processes: the pool that each process runs inside. None: the pool's own way."""
    boot: BootRecord | None = None
    """How another process gets the application. None: it cannot, or there is no need to."""
    ahead: object = None
    """What `Pool.get_ahead` returned for this pool; None: it was not called, or had nothing to do."""
    limit_grace: float = 1.0
    """Seconds that a task may take to end after its hard limit was raised in it, before it counts as a zombie."""
    zombie_budget: int = 10
    """How many zombies to bear at a time before the pool reports that it is failing (>= 0)."""
    strategy: str | None = None
    """Scheduling strategy (``-O``); None: the pool's default."""
    options: Mapping[str, object] = attrs.field(factory=dict, converter=_frozen)
    """The pool's own settings, by name."""
    clock: Clock = attrs.field(factory=SystemClock)
    """Where the time comes from."""
    slot_start: Callable[[int], None] | None = None
    """Called with the slot's index in the slot's own thread (greenlet) before its first job: hook kernel_slot_start."""
    slot_end: Callable[[int], None] | None = None
    """The pair of ``slot_start``, called also when the slot ends by an error. Not for a slot left to a zombie."""
    child_init: Callable[[int], None] | None = None
    """For forked children: called with the child's index in its main thread before its first job. What it raises ends
    the child: hook kernel_child_init."""
    child_exit: Callable[[int], None] | None = None
    """For forked children: the pair of ``child_init``, in a child that exits by itself: hook kernel_child_exit."""
    upkeep: Callable[[], None] | None = None
    """What keeps the worker's connections alive while a task keeps the loop from turning: never blocks, and is called
    on a thread beside it, by pools whose tasks can do so. See `Upkeep`."""


class CancelHow(enum.StrEnum):
    """How far `Pool.cancel` may go."""

    WAITING = "waiting"
    """Only if the job has not started."""
    RAISE = "raise"
    """Also when it runs: raise `JobKilled` in the task, which may tidy up."""
    KILL = "kill"
    """Also when it runs: end it by any means the pool has; what cannot be ended becomes a zombie."""


class CancelReply(enum.StrEnum):
    """What `Pool.cancel` came to. Either way the job's `finished` is still to come, or has come already."""

    CANCELLED = "cancelled"
    """The job had not started and never will; its outcome is *cancelled*."""
    CANCELLING = "cancelling"
    """The job runs and is being ended; its outcome says whether the task ended first."""
    UNKNOWN = "unknown"
    """No such job waits or runs here, or it runs and ``how`` was WAITING."""


@attrs.frozen(kw_only=True)
class SlotStatistics:
    """One slot, as of now."""

    index: int
    """Position in the pool."""
    pid: int
    """Its process; 0 while that is being started."""
    state: str
    """``free``, ``running`` or ``zombie``."""
    job_id: str | None = None
    """What it runs."""
    task: str | None = None
    """The name of the task it runs."""
    since: float | None = None
    """Wall-clock time at which the job started, in seconds since the epoch."""


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """One shape on every pool. At every moment ``size == running + free``; zombies are not part of the size."""

    implementation: str
    """``module:Class``."""
    limit: int
    """Slots asked for: the initial limit, grown and shrunk."""
    size: int
    """Slots there are."""
    running: int
    """Slots that run a job."""
    free: int
    """Slots that do not."""
    queued: int
    """Jobs that wait in the pool for a slot."""
    zombies: int
    """Jobs that outlived their hard limit and still run."""
    done: int
    """Runs that ended, in whatever way, reports not counted."""
    failed: int
    """Those of them that failed, timed out or were lost."""
    recycled: Mapping[str, int] = attrs.field(factory=dict)
    """Slots replaced so far, by reason (``max_tasks_per_child``, ``zombie``, ...)."""
    slots: tuple[SlotStatistics, ...] = ()
    """Each slot."""
    extra: Mapping[str, object] = attrs.field(factory=dict)
    """What is this pool's own."""


class Pool(abc.ABC):
    """Runs jobs in slots.

    Life: built as ``PoolClass(config)``, `start`, any number of `submit`, `close`, `stop` or `terminate`. The methods
    are called by one thread at a time: the loop's while the loop runs, the worker's own before and after that (under
    `serve` these are two); only `statistics` may be called from any thread at any time. The pool may call its listener
    from any thread. A method that belongs to a capability which the pool does not declare raises `Unsupported`.
    """

    capabilities: ClassVar[Capabilities]
    """What the pool can do."""

    def __init__(self, config: PoolConfig) -> None:
        self.config = config

    @classmethod
    def get_ahead(cls, config: PoolConfig) -> object:
        """Do what is best done right after the application was loaded, for the pool that is built later.

        Called where the process is the worker's alone, before it has opened, connected or started anything: a process
        that is forked now shares nothing with the worker but memory. What is begun here ends with the process by
        itself, also where no pool is built.

        Args:
            config: as the pool will have it, but for the listener, and for what depends on the loop.

        Returns:
            What the pool finds as ``config.ahead``; None: nothing.
        """
        del config
        return None

    @abc.abstractmethod
    def start(self) -> None:
        """Make the slots. On failure nothing is left behind."""

    @abc.abstractmethod
    def submit(self, job: Job) -> None:
        """Take a job. Never blocks; where no slot is free the job waits in the pool, first in, first out.

        Raises:
            PoolClosed: after `close`; the job was not taken.
        """

    @abc.abstractmethod
    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        """End a job. A job that waits can be cancelled on every pool.

        Raises:
            Unsupported: the job runs, ``how`` is not WAITING, and the pool does not declare ``cancel``.
        """

    def backlog(self, runtime: float) -> int:
        """Return how many jobs beyond its slots the pool likes to hold while a run takes ``runtime`` seconds.

        The consumer gives it no more than that, and takes back (`cancel` with WAITING) what waits behind long jobs.
        Cheap: called often, on the loop's thread. The default is 0: a job only where a slot is free.
        """
        return 0

    def grow(self, n: int) -> None:
        """Add ``n`` (>= 1) slots.

        Raises:
            Unsupported: the pool does not declare ``resize``.
        """
        raise Unsupported("resize", type(self).__name__)

    def shrink(self, n: int) -> None:
        """Take ``n`` (>= 1) slots away; a busy one goes when its job has ended, and is never killed. One slot stays.

        Raises:
            Unsupported: the pool does not declare ``resize``.
            ValueError: fewer than one slot would be left; nothing was changed.
        """
        raise Unsupported("resize", type(self).__name__)

    def restart(self) -> None:
        """Replace every slot, each once its job has ended.

        Raises:
            Unsupported: the pool does not declare ``restart``, or the configuration does not allow it.
        """
        raise Unsupported("restart", type(self).__name__)

    @abc.abstractmethod
    def close(self) -> None:
        """Take no more jobs. Those that wait are finished as *cancelled* without having been accepted. Idempotent."""

    @abc.abstractmethod
    def stop(self, timeout: float | None) -> bool:
        """Wait for running jobs, then release everything. Implies `close`. Idempotent.

        Args:
            timeout: seconds to wait (>= 0); None waits for ever.

        Returns:
            Whether all jobs had ended. If not, nothing was ended: call `terminate`.
        """

    @abc.abstractmethod
    def terminate(self) -> None:
        """End everything now. Implies `close`.

        ``JobKilled("stop")`` is raised in running jobs where that is possible; those that do not end are *lost*.

        Every job is reported to the listener before this returns. What cannot be ended (a thread in C code) is left
        to the end of the process. Idempotent.
        """

    @abc.abstractmethod
    def statistics(self) -> PoolStatistics:
        """Return the state of the pool as of now. Callable from any thread."""

    def register_with_event_loop(self, hub: Hub) -> None:  # noqa: B027  (most pools have nothing to register)
        """Put the pool's file descriptors and timers on the hub. Called once, before the loop runs, if there is one."""

    def serve(self) -> None:
        """Give the main thread to the jobs; returns after `stop` or `terminate`.

        Called once, in the main thread, for pools whose capabilities say ``runs_in_main_thread``.
        """
        raise Unsupported("runs_in_main_thread", type(self).__name__)


@attrs.frozen(kw_only=True)
class PoolSpec:
    """What a plugin declares for a pool, without importing it."""

    name: str
    """The choice of ``-P``."""
    cls: str
    """``package.module:Class``, imported only when the pool is chosen."""
    capabilities: Capabilities
    """The same record as the class's own."""
    summary: str = ""
    """One line for ``kernel pools``."""
    hosting: str = ""
    """``package.module:function`` that takes the spec of another pool and returns the spec of that pool run inside
    supervised child processes (``--processes``). Empty: this pool hosts no other."""
    inner: PoolSpec | None = None
    """The pool that each child process runs inside, in a spec that such a function has returned."""
