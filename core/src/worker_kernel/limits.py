"""One job in a slot: what may be raised in its call, by whom it is reported, and the limits that end it.

A `Run` is for pools that run a job in a thread of their own. Between the marks of the job's call, and nowhere else,
other threads can have an exception raised in it: while a result is stored, a message settled or the next job begun,
nothing is raised. `Limits` raises what the clock, or a cancellation, asks for.

The subtle part is leaving the call. An exception sent from another thread can arrive at any bytecode, so also in the
code that closes the window. Three things make that safe. Each reason (soft limit, cancellation, hard limit) is raised
at most once per run, so at most three can arrive. The window is left through one layer more than that, each of which
closes it, so one layer runs undisturbed. And CPython looks for such exceptions only where a function begins, loops or
has called, so that the plain assignments around the call cannot be split.
"""

from __future__ import annotations

import abc
import ctypes
import enum
import logging
import threading
from collections.abc import Callable
from types import TracebackType

from .clock import Clock
from .deadlines import Deadline, Deadlines, NativeBackstop
from .errors import JobKilled, SoftTimeLimitExceeded, TaskRevoked, TimeLimitExceeded, UnsupportedOption, WorkerLostError
from .job import Job, Raised
from .native import THREADS, Native, NativeLock
from .outcome import Failure, Outcome, OutcomeKind
from .pool import CancelHow, PoolConfig, Slot

log = logging.getLogger("worker_kernel.limits")

_BACKSTOP_MARGIN = 2.0
"""Seconds, beyond the grace, that a busy machine may keep the watchdog waiting before the process is ended."""
_FIRST_REMINDER, _LONGEST_REMINDER = 0.02, 1.0
"""Seconds after which what has not arrived is sent once more; doubled each time, up to the second."""
_NOTHING = object()


class _Phase(enum.Enum):
    NEW = enum.auto()
    PREPARING = enum.auto()
    CALLING = enum.auto()
    OVER = enum.auto()
    ABANDONED = enum.auto()


class Run(abc.ABC):
    """One job in one slot. Made by the thread that runs it; the others may use what says so.

    Exactly one of three reports the job's end: the thread that ran it (`claim`), whoever found it stuck (`abandon`),
    or whoever ends everything (`give_up`). Each returns True to one caller only, and to one of them only.
    """

    def __init__(self, job: Job, slot: Slot, clock: Clock, lock: NativeLock | None = None) -> None:
        """Make it in the thread that is to run the job. Args: ``lock``, where threads beside the library's take it."""
        self.job = job
        self.slot = slot
        self.thread = threading.get_ident()
        """Identifies the thread that runs the job."""
        self.started = clock.monotonic()
        """Time of the clock at which limits begin to count."""
        self.since = clock.wall()
        """Seconds since the epoch at which the job started."""
        self._clock = clock
        self._lock: NativeLock = threading.Lock() if lock is None else lock
        self._phase = _Phase.NEW
        self._open = False
        self._closed = False
        self._claimed = False
        self._doomed = False
        self._sent: set[str] = set()
        self._early: BaseException | None = None
        self._undelivered: BaseException | None = None
        self._kill: JobKilled | None = None
        self._deadlines: list[Deadline] = []

    # -- in the run's own thread

    def begin(self) -> bool:
        """Say that the listener knows of the job. False: it was given up meanwhile, `claim` it and report it lost."""
        with self._lock:
            self._phase = _Phase.PREPARING
            return not self._doomed

    def perform(self) -> Outcome | None:
        """Run the job. Never raises, and nothing is raised in this thread after it has returned.

        What was killed has no other ending: where the task swallowed the exception, the outcome is still that of the
        kill. What arrived after the call had ended changes nothing.

        Returns:
            How it ended; None if it was given up meanwhile: its result was not stored then, because somebody else
            has decided, and is storing, its fate.
        """
        value: object = _NOTHING
        raised: BaseException | None = None
        kill: BaseException | None = None
        try:
            if self.job.is_async:
                raised = _async_refused(self.job)
            else:
                self.job.prepare()
                with self, self, self, self:  # see the module's docstring: one layer more than reasons to raise
                    self._open_window()
                    try:
                        value = self.job.call()
                    except BaseException as exc:  # noqa: BLE001  (SystemExit and the like fail the task only)
                        raised = exc
                    kill = self._kill
        except BaseException as exc:  # noqa: BLE001  (from prepare, or from entering or leaving the window)
            if raised is None and value is _NOTHING:
                raised = exc
        if not self._end():
            return None
        error = raised if kill is None else kill
        ending = value if error is None else Raised(error)
        raised = kill = error = None  # an exception's traceback holds this frame: leave no cycle
        try:
            return self.job.finish(ending)
        except BaseException as exc:  # a store's failure must not take the slot with it
            log.exception("task %s[%s] ended, but could not be finished", self.job.task, self.job.id)
            return self.outcome(OutcomeKind.FAILED, exc)

    def claim(self) -> bool:
        """Take the right to report how the job ended."""
        with self._lock:
            return self._claim()

    # -- in any thread

    def abandon(self) -> bool:
        """Take the right to report while the task's call goes on, and only then: for a call that cannot be ended.

        What was raised before the call is raised when it begins, so a job that is still being prepared ends by itself.
        """
        with self._lock:
            if self._phase is not _Phase.CALLING:
                return False
            self._phase = _Phase.ABANDONED
            return self._claim()

    def give_up(self) -> bool:
        """Take the right to report, whatever the job does; a job not yet `begin` reports itself when it comes there."""
        with self._lock:
            if self._phase is _Phase.NEW:
                self._doomed = True
                return False
            if self._phase is not _Phase.OVER:
                self._phase = _Phase.ABANDONED
            return self._claim()

    def raise_soft(self, limit: float) -> bool:
        """Raise `SoftTimeLimitExceeded` in the call, once and not after a kill. Returns whether it was sent."""
        return self._send("soft", SoftTimeLimitExceeded(limit))

    def raise_kill(self, reason: str, limit: float | None = None) -> bool:
        """Raise `JobKilled` in the call, once per reason (see there). Returns whether it was sent."""
        return self._send(reason, JobKilled(reason, limit))

    def remind(self) -> bool:
        """Send once more what was sent and has not arrived, where that may help. Returns whether something was sent."""
        return False

    @property
    def calling(self) -> bool:
        """Whether the task's call is neither over nor given up."""
        return self._phase in (_Phase.NEW, _Phase.PREPARING, _Phase.CALLING)

    @property
    def undelivered(self) -> bool:
        """Whether something was sent and has not arrived: the call runs no Python."""
        return self.calling and self._undelivered is not None

    def outcome(self, kind: OutcomeKind, error: BaseException) -> Outcome:
        """Return an outcome that the pool decides, and nobody has stored."""
        return Outcome(
            job_id=self.job.id,
            kind=kind,
            failure=Failure.of(error),
            runtime=max(0.0, self._clock.monotonic() - self.started),
        )

    def killed(self, kill: JobKilled) -> Outcome:
        """Return the outcome of a job that did not end when it was killed."""
        if kill.reason == "time_limit":
            return self.outcome(OutcomeKind.TIMED_OUT, TimeLimitExceeded(kill.limit))
        return self.outcome(OutcomeKind.CANCELLED, TaskRevoked("cancelled"))

    def lost(self) -> Outcome:
        """Return the outcome of a job that still ran when everything was ended."""
        return self.outcome(OutcomeKind.LOST, WorkerLostError("the worker stopped while the task ran"))

    # -- how exceptions travel

    @abc.abstractmethod
    def _deliver(self, exc: BaseException) -> None:
        """Have ``exc`` raised in the run's thread; called with the lock held, while the window is open.

        An exception that is still under way is replaced. On arrival, `_arrived` is called.
        """

    @abc.abstractmethod
    def _retract(self) -> None:
        """Forget what is still under way. Called in the run's thread, lock held, nothing can be sent any more."""

    def _arrived(self, exc: BaseException) -> None:
        self._undelivered = None
        if isinstance(exc, JobKilled):
            self._kill = exc

    def _send(self, reason: str, exc: BaseException) -> bool:
        with self._lock:
            if not self.calling or reason in self._sent or (reason == "soft" and self._sent):
                return False
            self._sent.add(reason)
            if self._phase is _Phase.CALLING:
                self._undelivered = exc
                self._deliver(exc)
            else:
                self._early = exc
            return True

    def _claim(self) -> bool:
        claimed, self._claimed = self._claimed, True
        return not claimed

    def _end(self) -> bool:
        with self._lock:
            if self._phase is not _Phase.ABANDONED:
                self._phase = _Phase.OVER
            return self._phase is _Phase.OVER

    # -- the window around the call

    def __enter__(self) -> None:  # noqa: B027  (empty on purpose)
        """Open nothing: what arrived while it opened here would leave a layer that nobody closes."""

    def _open_window(self) -> None:
        with self._lock:
            if self._phase is _Phase.ABANDONED:
                raise JobKilled
            if self._early is not None:
                raise self._early
            self._open = True
            self._phase = _Phase.CALLING

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._closed:
            return
        with self._lock:
            self._open = False
            if self._phase is not _Phase.ABANDONED:
                self._phase = _Phase.OVER
            self._retract()
            self._closed = True


def _async_refused(job: Job) -> UnsupportedOption:
    return UnsupportedOption(f"task {job.task!r} is async def, and this pool runs plain functions only")


_set_async_exc = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


class _Retracted(BaseException):
    """Raised by a run in its own thread, to take back what has not arrived.

    NULL would do so as well, but then CPython 3.11 looks for an exception for ever: each function is slower to enter,
    and one that is traced, by a debugger or for coverage, is never entered at all.
    """


class ThreadRun(Run):
    """A run that exceptions reach through the interpreter: as soon as the thread next runs Python.

    A blocking call is not interrupted; the exception is raised when it returns. Works in any thread, on every platform
    of CPython.
    """

    def _deliver(self, exc: BaseException) -> None:
        def arrive(cls: type, *made: object) -> BaseException:
            self._arrived(exc)
            return exc

        # The interpreter takes a class only, and calls it on arrival (CPython 3.11: perhaps again, with what it made).
        # This one makes our exception, so that the task sees the very instance, and we learn that it has arrived.
        courier = type(type(exc).__name__, (type(exc),), {"__new__": arrive})
        _set_async_exc(self.thread, courier)

    def _retract(self) -> None:
        if not self._sent:
            return
        try:
            _set_async_exc(self.thread, _Retracted)  # replaces what is still under way
            while True:
                pass
        except _Retracted:
            pass


def limit_deadlines(config: PoolConfig, native: Native = THREADS) -> Deadlines:
    """Return deadlines for limits, of which those that must not be missed end the process where no Python runs."""
    backstop = NativeBackstop(config.clock, margin=config.limit_grace + _BACKSTOP_MARGIN)
    return Deadlines(config.clock, name="worker-limits", backstop=backstop, native=native)


class Limits:
    """Ends runs when their time has come: raises the soft limit, then the hard one, then finds them stuck.

    Limits count from `Run.started`; a job's own win over those of the configuration; ``inf`` means none. Reports have
    none. Methods may be called from any thread.
    """

    def __init__(
        self,
        config: PoolConfig,
        stuck: Callable[[Run, JobKilled], None],
        *,
        deadlines: Deadlines | None = None,
        log: logging.Logger = log,
    ) -> None:
        """Make the limits of one pool.

        Args:
            config: limits, grace and clock.
            stuck: called on the watchdog thread for a run that has not ended within ``limit_grace`` of being killed.
                It is to `Run.abandon` it and, if that succeeds, to report it.
            deadlines: what calls at the given times; by default one of its own, with a native backstop.
            log: where what cannot be delivered is told, from the thread of the deadlines.
        """
        self._config = config
        self._clock = config.clock
        self._stuck = stuck
        self._running = 0
        self._log = log
        self._deadlines = deadlines or limit_deadlines(config)
        self._lock = threading.Lock()

    def begin(self, run: Run) -> None:
        """Begin to watch a run."""
        job, config = run.job, self._config
        if not job.is_report:
            soft = job.soft_time_limit if job.soft_time_limit is not None else config.soft_time_limit
            hard = job.time_limit if job.time_limit is not None else config.time_limit
            if soft is not None and (hard is None or soft < hard):
                self._at(run, run.started + soft, lambda: self._soft(run, soft))
            if hard is not None:
                self._at(run, run.started + hard, lambda: self._hard(run, hard), guarded=True)
        with self._lock:
            self._running += 1
        self._deadlines.cover()

    def end(self, run: Run) -> None:
        """Watch a run no longer: it has ended."""
        for deadline in run._deadlines:  # noqa: SLF001  (they are kept there for us)
            deadline.cancel()
        with self._lock:
            self._running -= 1
            busy = self._running > 0
        if busy:  # an idle process holds no GIL: the next job sees to the backstop
            self._deadlines.cover()

    def cancel(self, run: Run, how: CancelHow) -> None:
        """Kill a run by cancellation; with KILL, one that does not end is stuck after ``limit_grace``."""
        run.raise_kill("cancel")
        self.remind(run)
        if how is CancelHow.KILL:
            self._allow_grace(run, JobKilled("cancel"))

    def remind(self, run: Run, pause: float = _FIRST_REMINDER) -> None:
        """See to it that what was just raised in a run arrives, also where its messenger came a moment too early."""
        self._at(run, self._clock.monotonic() + pause, lambda: self._remind(run, pause))

    def stop(self) -> None:
        """End the watchdog. Runs that go on have no limits any more. Idempotent."""
        self._deadlines.stop()

    def _at(self, run: Run, when: float, action: Callable[[], object], *, guarded: bool = False) -> None:
        deadline = self._deadlines.at(when, action, guarded=guarded)
        run._deadlines.append(deadline)  # noqa: SLF001
        if not run.calling:  # `end` may have come first
            deadline.cancel()

    def _remind(self, run: Run, pause: float) -> None:
        if run.remind():
            self.remind(run, min(2 * pause, _LONGEST_REMINDER))

    def _soft(self, run: Run, limit: float) -> None:
        if run.raise_soft(limit):
            self.remind(run)
            wait = self._config.limit_grace / 2
            self._at(run, self._clock.monotonic() + wait, lambda: self._look_after_soft(run, limit))

    def _look_after_soft(self, run: Run, limit: float) -> None:
        if run.undelivered:
            self._log.warning(
                "soft time limit of %g s is undeliverable to task %s[%s] for now: it is in a call that runs no "
                "Python, and is told when that returns",
                limit,
                run.job.task,
                run.job.id,
            )

    def _hard(self, run: Run, limit: float) -> None:
        run.raise_kill("time_limit", limit)
        self.remind(run)
        self._allow_grace(run, JobKilled("time_limit", limit))

    def _allow_grace(self, run: Run, kill: JobKilled) -> None:
        when = self._clock.monotonic() + self._config.limit_grace
        self._at(run, when, lambda: self._stuck(run, kill), guarded=True)
