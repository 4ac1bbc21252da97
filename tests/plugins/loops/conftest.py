"""A desk with everything around it faked: application, broker messages, pool, clock, timers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest

from worker_kernel import (
    CancelHow,
    CancelReply,
    Capabilities,
    Envelope,
    Hooks,
    Job,
    LoopCalls,
    MessageInvalid,
    Outcome,
    OutcomeKind,
    Pool,
    PoolClosed,
    PoolInbox,
    PoolSpec,
    PoolStatistics,
    Setting,
    Settings,
    Slot,
    Slots,
    SlotStatistics,
    Source,
    Status,
    StopRequest,
    Support,
    TaskOptions,
    Value,
    Worker,
)
from worker_kernel.settings import Layer
from worker_loops.connection import Generation
from worker_loops.desk import Desk
from worker_loops.pools import PoolMap

ABLE = Capabilities(
    concurrency=Support.NATIVE, soft_time_limit=Support.NATIVE, time_limit=Support.NATIVE, cancel=Support.NATIVE
)


class ScriptedClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ManualTimers:
    """Fires only when told to."""

    def __init__(self, clock: ScriptedClock) -> None:
        self.clock = clock
        self.pending: list[ManualHandle] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ManualHandle:
        handle = ManualHandle(self, self.clock.now + delay, callback, args)
        self.pending.append(handle)
        return handle

    call_repeatedly = call_later

    def next_due(self) -> float | None:
        return min((handle.due - self.clock.now for handle in self.pending), default=None)

    def fire(self) -> int:
        due = [handle for handle in self.pending if handle.due <= self.clock.now]
        for handle in due:
            handle.cancel()
            handle.callback(*handle.args)
        return len(due)


class ManualHandle:
    def __init__(self, timers: ManualTimers, due: float, callback: Callable[..., object], args: Any) -> None:
        self.timers, self.due, self.callback, self.args = timers, due, callback, args

    def cancel(self) -> None:
        if self in self.timers.pending:
            self.timers.pending.remove(self)


class ScriptedMessage:
    """A kombu message as the desk sees it, which writes down its fate."""

    delivery_info = {"routing_key": "celery"}

    def __init__(self, task_id: str = "1", **envelope: Any) -> None:
        self.task_id = task_id
        self.envelope = envelope
        self.fates: list[str] = []

    @property
    def acknowledged(self) -> bool:
        return bool(self.fates)

    def ack(self) -> None:
        self.fates.append("ack")

    def requeue(self) -> None:
        self.fates.append("requeue")

    def reject(self) -> None:
        self.fates.append("reject")

    def quarantine(self, reason: str) -> None:
        self.fates.append(f"quarantine: {reason}")


class ParkableMessage(ScriptedMessage):
    def park(self, seconds: float) -> None:
        self.fates.append(f"park {seconds:g}")


class ScriptedJob(Job):
    def __init__(self, envelope: Envelope, *, report: Outcome | None = None) -> None:
        self.id, self.task = envelope.id, envelope.task
        self.soft_time_limit = self.time_limit = None
        self.is_async = False
        self.is_report = report is not None
        self.report = report
        self.envelope = envelope

    def prepare(self) -> None:
        raise AssertionError("the desk never prepares a job")

    def call(self) -> object:
        raise AssertionError("the desk never calls a job")

    def finish(self, ending: object) -> Outcome:
        raise AssertionError("the desk never finishes a job")

    def run(self, window: object = None) -> Outcome:
        assert self.report is not None, "the desk runs reports only"
        return attrs.evolve(self.report, stored=True)

    def to_frame(self) -> bytes:
        raise AssertionError("the desk never frames a job")


class ScriptedPool(Pool):
    """Keeps what it is given until the test says how it ends."""

    capabilities = ABLE

    def __init__(self, inbox: PoolInbox) -> None:
        self.inbox = inbox
        self.jobs: list[ScriptedJob] = []
        self.slots: Slots | None = None
        self.accepted: set[Job] = set()
        self.closed = False
        self.stored_at_terminate = OutcomeKind.LOST
        self.likes: Callable[[float], int] = lambda runtime: 0

    def start(self) -> None: ...

    def submit(self, job: Job) -> None:
        if self.closed:
            raise PoolClosed("closed")
        assert isinstance(job, ScriptedJob)
        self.jobs.append(job)

    def accept(self, job: Job) -> None:
        self.accepted.add(job)
        self.inbox.accepted(job, Slot(index=0, pid=1))

    def finish(self, job: Job, kind: OutcomeKind, **outcome: Any) -> None:
        if job not in self.accepted and kind is not OutcomeKind.CANCELLED:
            self.accept(job)
        assert isinstance(job, ScriptedJob)
        self.jobs.remove(job)
        self.inbox.finished(job, Outcome(job_id=job.id, kind=kind, **{"stored": True, **outcome}))

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        for job in self.jobs:
            if job.id == job_id and job not in self.accepted:
                self.finish(job, OutcomeKind.CANCELLED, stored=False)
                return CancelReply.CANCELLED
        return CancelReply.UNKNOWN

    def backlog(self, runtime: float) -> int:
        return self.likes(runtime)

    def close(self) -> None:
        self.closed = True

    def stop(self, timeout: float | None) -> bool:
        return not self.jobs

    def terminate(self) -> None:
        for job in list(self.jobs):
            self.finish(job, self.stored_at_terminate, stored=False)

    def statistics(self) -> PoolStatistics:
        limit = self.slots.limit if self.slots else 2
        running = self.jobs[:limit]
        lines = [SlotStatistics(index=i, pid=1, state="running", job_id=job.id) for i, job in enumerate(running)]
        return PoolStatistics(
            implementation="t:P",
            limit=limit,
            size=limit,
            running=len(running),
            free=limit - len(running),
            queued=len(self.jobs) - len(running),
            zombies=0,
            done=0,
            failed=0,
            slots=tuple(lines),
        )


class ScriptedApp:
    name = "scripted"

    def __init__(self, *options: TaskOptions) -> None:
        self._options = {option.name: option for option in options}

    def tasks(self) -> dict[str, TaskOptions]:
        return self._options

    def parse(self, message: ScriptedMessage) -> Envelope:
        invalid = message.envelope.pop("invalid", "")
        fields = {
            "id": message.task_id,
            "task": "t",
            "queue": "celery",
            "headers": {},
            "body": b"[[], {}, {}]",
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "properties": {},
            "delivery_info": {},
        }
        envelope = Envelope(**{**fields, **message.envelope})
        if invalid:
            error = MessageInvalid("it makes no sense")
            error.salvaged = envelope if invalid == "salvaged" else None
            raise error
        return envelope

    def job(self, envelope: Envelope, options: TaskOptions) -> Job:
        return ScriptedJob(envelope)

    def report(self, envelope: Envelope, outcome: Outcome) -> Job:
        return ScriptedJob(envelope, report=outcome)


class ScriptedGeneration:
    losses = (ConnectionError,)
    courier = ladder = acks = None

    def __init__(self, timers: ManualTimers) -> None:
        self.timers = timers
        self.alive = True
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


DEFAULTS: dict[str, object] = {
    "worker_prefetch_buffer": 0,
    "worker_prefetch_multiplier": None,
    "worker_max_tasks_per_child": None,
    "worker_disable_prefetch": False,
    "worker_eta_task_limit": None,
    "worker_max_attempts": 3,
    "worker_disable_rate_limits": False,
    "task_default_rate_limit": None,
    "worker_grace": 25.0,
    "worker_revokes_max": 100,
    "worker_revoke_expires": 3600.0,
    "worker_watchdog": 0.0,
    "worker_enable_remote_control": False,
}


def settings_of(**given: object) -> Settings:
    values = {**DEFAULTS, **given}
    declared = {name: Setting(name=name, parse=lambda value: value, kind="any") for name in values}
    source = Source(layer=Layer.DEFAULT)
    return Settings(declared, {name: Value(value=value, source=source) for name, value in values.items()})


class Office:
    """The desk and its surroundings."""

    job = ScriptedJob

    def __init__(self, *options: TaskOptions, slots: int = 2, capabilities: Capabilities = ABLE, **settings: object):
        self.clock = ScriptedClock()
        self.timers = ManualTimers(self.clock)
        self.generation = ScriptedGeneration(self.timers)
        self.stops: list[StopRequest] = []
        self.hooks = Hooks()
        self.inbox = PoolInbox()
        self.pool = ScriptedPool(self.inbox)
        self.slots = self.pool.slots = Slots(slots)
        self.worker = SimpleNamespace(
            app=ScriptedApp(*(options or (TaskOptions(name="t"),))),
            settings=settings_of(**settings),
            hooks=self.hooks,
            slots=self.slots,
            inbox=self.inbox,
            clock=self.clock,
            pool_spec=PoolSpec(name="scripted", cls="x:Y", capabilities=capabilities),
            request_stop=self.stops.append,
            status=Status(self.clock.wall),
            loop_calls=LoopCalls(lambda: None),
        )
        self.desk = Desk(cast("Worker", self.worker), PoolMap(self.pool), self.timers)

    def deliver(self, message: ScriptedMessage) -> ScriptedMessage:
        self.desk.on_message(message, cast("Generation", self.generation))
        self.audit()
        return message

    def events(self) -> None:
        self.desk.on_events(self.inbox.take())
        self.audit()

    def audit(self) -> None:
        """Granted is running and free, at every moment, in every test."""
        holders = sum(request.ticket is not None for request in self.desk.requests())
        assert holders == self.slots.running
        assert self.slots.free == max(0, self.slots.limit - self.slots.running)

    def end(self, kind: OutcomeKind, **outcome: Any) -> None:
        """The first job in the pool ends."""
        self.pool.finish(self.pool.jobs[0], kind, **outcome)
        self.events()

    def at(self, offset: float) -> datetime:
        return datetime.fromtimestamp(self.clock.now + offset, tz=UTC)


@pytest.fixture
def office() -> type[Office]:
    return Office


@pytest.fixture
def message() -> type[ScriptedMessage]:
    return ScriptedMessage


@pytest.fixture
def parkable() -> type[ParkableMessage]:
    return ParkableMessage
