"""A job that does what a test tells it to."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import Ignore, JobKilled, Reject, Retry
from ..job import Job, Raised
from ..outcome import Failure, Outcome, OutcomeKind
from .stage import CALL_BACK, Stage, speak

_POLL = 0.005
"""Seconds between two looks at a gate: short steps, so that an exception from another thread gets in."""


class FakeJob(Job):
    """A job by script. It records what is done to it; its attributes may be read from any thread.

    It lives in the process that made it. Put on a `Stage`, it may run in another one: what arrives there is its twin,
    which does the same and tells the stage, so that everything is recorded here all the same. Bodies that can be
    pickled by name run where the twin runs; the others are called back here, with this very job.

    Args:
        id: the task id; by default each job has its own.
        held: block in `call`, in short steps, until `release`.
        swallows: what is raised into the held call ends the holding, but the task catches it and returns.
        body: run in `call` with the job as its argument; its value is the task's value.
        value: what the task returns where there is no ``body``.
        prepare_body, finish_body: run in `prepare` and in `finish`.
        raises: by step (``prepare``, ``call``, ``finish``), what it raises.
        outcome: what `finish` returns, whatever the ending; by default it is derived from the ending.
        soft_time_limit, time_limit: in seconds, as in `Job`.
        is_async: whether `call` returns an awaitable.
        is_report: as in `Job`.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  (the contract's name)
        *,
        held: bool = False,
        swallows: bool = False,
        body: Callable[[FakeJob], object] | None = None,
        value: object = None,
        prepare_body: Callable[[FakeJob], object] | None = None,
        finish_body: Callable[[FakeJob], object] | None = None,
        raises: dict[str, BaseException] | None = None,
        outcome: Outcome | None = None,
        soft_time_limit: float | None = None,
        time_limit: float | None = None,
        is_async: bool = False,
        is_report: bool = False,
    ) -> None:
        self.id = f"job-{next(self._numbers)}" if id is None else id
        self.task = "fake.task"
        self.soft_time_limit, self.time_limit = soft_time_limit, time_limit
        self.is_async, self.is_report = is_async, is_report
        self._held, self._swallows, self._body, self._value = held, swallows, body, value
        self._bodies = {"prepare": prepare_body, "finish": finish_body}
        self._stage: Stage | None = None
        self._number = -1
        self._raises = raises or {}
        self._outcome = outcome
        self._gate = threading.Event()
        self.steps: list[str] = []
        """The steps that were begun, in order."""
        self.endings: list[object] = []
        """What `finish` was given, once for each time it was called."""
        self.threads: dict[str, int] = {}
        """By step, the identifier of the thread that did it."""
        self.caught: list[BaseException] = []
        """What was raised into the held call from outside."""
        self.interrupted: list[tuple[str, BaseException]] = []
        """What was raised from outside into `prepare` or `finish`, with the step: must stay empty."""
        self.started = threading.Event()
        """Set when the task's own code has begun."""
        self.stuck = threading.Event()
        """Set when a `stuck_task` is where it catches what is raised into it."""
        self.finishing = threading.Event()
        """Set when `finish` has begun."""

    def __repr__(self) -> str:
        return f"<FakeJob {self.id} {self.steps}>"

    def release(self) -> None:
        """Let a held call go on. Idempotent; may come before the call."""
        self._gate.set()
        if self._stage is not None:
            with suppress(OSError):  # the stage is closed
                self._stage.mark(self._number).touch()

    def dwell(self) -> None:
        """Block in short steps until `release`; for use as a body."""
        while not self.released:
            self._gate.wait(_POLL)

    @property
    def released(self) -> bool:
        """Whether `release` was called: code that would run for ever looks at this now and then."""
        return self._gate.is_set()

    @property
    def raised(self) -> BaseException | None:
        """What was raised by `prepare` or `call`, as the first `finish` was told; None: nothing, or not finished."""
        ending = self.endings[0] if self.endings else None
        return ending.exception if isinstance(ending, Raised) else None

    def prepare(self) -> None:
        """See `Job.prepare`."""
        self._begin("prepare")

    def call(self) -> object:
        """See `Job.call`."""
        if self.is_async:
            return self._call_async()
        self._begin("call")
        try:
            self.record("started")
            if self._held:
                self.dwell()
        except BaseException as exc:
            self._was_interrupted(exc)
        return self._body(self) if self._body else self._value

    def _call_async(self) -> Awaitable[object]:
        async def task() -> object:
            self._begin("call")
            try:
                self.record("started")
                while self._held and not self.released:  # noqa: ASYNC110  (the gate belongs to other threads)
                    await asyncio.sleep(_POLL)
            except BaseException as exc:
                self._was_interrupted(exc)
            return self._body(self) if self._body else self._value

        return task()

    def finish(self, ending: object) -> Outcome:
        """See `Job.finish`."""
        self.record("endings", ending)
        self.record("finishing")
        self._begin("finish")
        return self._outcome or outcome_of(self.id, ending)

    def record(self, what: str, value: Any = None) -> None:
        """Write down what happens: set the event of this name, or append to the list."""
        if what == "steps":
            step, thread = value
            self.steps.append(step)
            self.threads[step] = thread
        elif what in ("started", "stuck", "finishing"):
            getattr(self, what).set()
        else:
            getattr(self, what).append(value)

    def put_on(self, stage: Stage) -> None:
        """Let the job run in another process, and its twin tell this stage. To be called before it is submitted."""
        self._number = stage.admit(self)
        self._stage = stage

    def body_of(self, step: str) -> Callable[[FakeJob], object] | None:
        """Return what the script says is run in a step."""
        return self._body if step == "call" else self._bodies[step]

    def to_frame(self) -> bytes:
        """Return what `Twin.of` makes a twin from.

        Raises:
            TypeError: the job is on no stage.
        """
        if self._stage is None:
            raise TypeError("a FakeJob that is on no stage runs in the process that made it")
        script = {
            "id": self.id,
            "held": self._held,
            "swallows": self._swallows,
            "value": self._value,
            "raises": self._raises,
            "outcome": self._outcome,
            "soft_time_limit": self.soft_time_limit,
            "time_limit": self.time_limit,
            "is_async": self.is_async,
            "is_report": self.is_report,
        }
        bodies = {step: _by_name(body) for step in ("prepare", "call", "finish") if (body := self.body_of(step))}
        mark = str(self._stage.mark(self._number))
        return pickle.dumps((self._stage.address, self._number, mark, script, bodies))

    def _was_interrupted(self, exc: BaseException) -> None:
        self.record("caught", exc)
        if not self._swallows:
            raise exc

    def _begin(self, step: str) -> None:
        self.record("steps", (step, threading.get_ident()))
        body = self._bodies.get(step)
        try:
            if body is not None:
                body(self)
        except BaseException as exc:
            self.record("interrupted", (step, exc))
            raise
        if step in self._raises:
            raise self._raises[step]


class Twin(FakeJob):
    """What another process runs in a `FakeJob`'s place. It records what is done to it here and there."""

    def __init__(self, address: str, number: int, mark: str, **script: Any) -> None:
        super().__init__(**script)
        self._address, self._number, self._mark = address, number, Path(mark)
        self._looked = 0.0

    @classmethod
    def of(cls, frame: bytes) -> Twin:
        """Return the twin of the job that wrote ``frame``."""
        address, number, mark, script, bodies = pickle.loads(frame)  # noqa: S301  (the kit's own)
        twin = cls(address, number, mark, **script)
        for step, named in bodies.items():
            body = pickle.loads(named) if named is not None else _CalledBack(step)  # noqa: S301
            if step == "call":
                twin._body = body
            else:
                twin._bodies[step] = body
        return twin

    @property
    def released(self) -> bool:
        """See `FakeJob.released`. Looks for the mark now and then, so that a busy task stays busy."""
        now = time.monotonic()
        if now - self._looked >= _POLL and not self._gate.is_set():
            self._looked = now
            if self._mark.exists():
                self._gate.set()
        return self._gate.is_set()

    def record(self, what: str, value: Any = None) -> None:
        """Write it down here, and return once it is written down there."""
        super().record(what, value)
        speak(self._address, self._number, what, value)

    def call_back(self, step: str) -> object:
        """Run the body of a step there; return what it returns, raise what it raises."""
        return speak(self._address, self._number, CALL_BACK, step)


class _CalledBack:
    """A body that cannot leave the test's process: it is run there."""

    def __init__(self, step: str) -> None:
        self._step = step

    def __call__(self, twin: FakeJob) -> object:
        assert isinstance(twin, Twin)
        return twin.call_back(self._step)


def _by_name(body: Callable[[FakeJob], object]) -> bytes | None:
    """Return ``body`` pickled; None where it has no name by which another process finds it."""
    try:
        return pickle.dumps(body)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


_KINDS: tuple[tuple[type[BaseException], OutcomeKind], ...] = (
    (Retry, OutcomeKind.RETRIED),
    (Reject, OutcomeKind.REJECTED),
    (Ignore, OutcomeKind.IGNORED),
)


def outcome_of(job_id: str, ending: object) -> Outcome:
    """Return the outcome that a real job would make of ``ending``, without storing anything."""
    if not isinstance(ending, Raised):
        return Outcome(job_id=job_id, kind=OutcomeKind.SUCCEEDED, stored=True, result=repr(ending)[:1024])
    exc = ending.exception
    if isinstance(exc, JobKilled):
        kind = OutcomeKind.TIMED_OUT if exc.reason == "time_limit" else OutcomeKind.CANCELLED
    else:
        kind = next((kind for cls, kind in _KINDS if isinstance(exc, cls)), OutcomeKind.FAILED)
    return Outcome(
        job_id=job_id,
        kind=kind,
        stored=True,
        failure=None if kind is OutcomeKind.IGNORED else Failure.of(exc, with_traceback=False),
        requeue=isinstance(exc, Reject) and exc.requeue,
    )
