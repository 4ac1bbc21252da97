"""What became of a job whose child has ended under it."""

from __future__ import annotations

from worker_kernel import (
    Failure,
    MemoryLimitExceeded,
    Outcome,
    OutcomeKind,
    PoolConfig,
    TaskRevoked,
    TimeLimitExceeded,
    WorkerLostError,
)

from .entry import Entry
from .host import Host
from .launch.launcher import Exit
from .memory import in_words
from .page import KillReason


def fate(entry: Entry, host: Host, ending: Exit, config: PoolConfig, now: float) -> Outcome:
    """Return the outcome of a job that had started when its child ended; nobody has stored it."""
    kind, error = _ending(entry, host, ending, config)
    return Outcome(
        job_id=entry.job.id,
        kind=kind,
        failure=Failure.of(error, with_traceback=False),
        runtime=max(0.0, now - entry.started),
    )


def _ending(entry: Entry, host: Host, ending: Exit, config: PoolConfig) -> tuple[OutcomeKind, Exception]:
    if entry.killed is KillReason.TIME_LIMIT:
        limit = entry.job.time_limit if entry.job.time_limit is not None else config.time_limit
        return OutcomeKind.TIMED_OUT, TimeLimitExceeded(limit)
    if entry.killed is KillReason.CANCEL:
        return OutcomeKind.CANCELLED, TaskRevoked("terminated")
    if host.too_large:
        limit = config.memory_limit or 0
        words = f"its process grew to {in_words(host.too_large)}, and the limit is {in_words(limit)}"
        return OutcomeKind.FAILED, MemoryLimitExceeded(words)
    if entry.killed is KillReason.STOP:
        return OutcomeKind.LOST, WorkerLostError("the worker stopped while the task ran")
    return OutcomeKind.LOST, WorkerLostError(describe(host, ending))


def describe(host: Host, ending: Exit) -> str:
    """Say how a child ended: by what, how large it was, and where its code was."""
    peak = f", peak memory {in_words(ending.peak)}" if ending.peak else ""
    words = f"child process {host.pid} ended with {ending.words}{peak}"
    seen = host.last_words()
    return f"{words}; last seen at:\n{seen}" if seen else f"{words}; it was gone before its code was looked at"
