"""One job on its way through the pool."""

from __future__ import annotations

from worker_kernel import Job

from .page import KillReason


class Entry:
    """A job that the pool has taken and not yet told the end of. Belongs to whoever turns the reactor."""

    __slots__ = (
        "accepted",
        "data",
        "job",
        "kill_by",
        "killed",
        "number",
        "remind",
        "since",
        "slot",
        "soft_at",
        "started",
        "undelivered",
        "unwanted",
    )

    def __init__(self, number: int, job: Job) -> None:
        """Take a job; it is turned into bytes here, on the thread that submits it."""
        self.number = number
        """What it is called in the pipe: unique in this pool, unlike the task id."""
        self.job = job
        self.data = job.to_frame()
        """What the child gets."""
        self.since = 0.0
        """When it was first in its child's queue, in the clock's monotonic time: limits count from here at least."""
        self.started = 0.0
        """When the child says that it started; 0: not yet, as far as is known."""
        self.slot = 0
        """In which of its child's slots."""
        self.accepted = False
        """Whether the listener was told that it starts. It stays so when the job has to be given to another child."""
        self.soft_at: float | None = None
        """When the soft limit was sent."""
        self.undelivered = False
        """Whether it was logged that the soft limit does not arrive."""
        self.killed: KillReason | None = None
        """Why it is being ended."""
        self.unwanted = False
        """Whether it was cancelled while it waited in a child: it is not given to another one."""
        self.kill_by = float("inf")
        """When its process is killed, should it still run."""
        self.remind = 0.0
        """Seconds after which a signal that has not arrived is sent again."""
