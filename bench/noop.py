"""The least that a pool can be given to do: a job without a body, and an application that makes it."""

from __future__ import annotations

from worker_kernel import Job, Outcome, OutcomeKind, Raised
from worker_kernel.testing.fake_application import FakeApplication


def noop() -> None:
    """What the other pools are given."""


class NoopJob(Job):
    """Calls `noop`; crosses to a child as its id."""

    task = "bench.noop"
    soft_time_limit = None
    time_limit = None
    is_async = False
    is_report = False

    def __init__(self, job_id: str) -> None:
        self.id = job_id

    def prepare(self) -> None:
        """There is no body."""

    def call(self) -> object:
        return noop()

    def finish(self, ending: object) -> Outcome:
        kind = OutcomeKind.FAILED if isinstance(ending, Raised) else OutcomeKind.SUCCEEDED
        return Outcome(job_id=self.id, kind=kind, stored=True)

    def to_frame(self) -> bytes:
        return self.id.encode()


class NoopApplication(FakeApplication):
    """Found by children as ``noop:app``."""

    def __init__(self) -> None:
        super().__init__()
        self.origin = "noop:app"

    def job_from_frame(self, frame: bytes) -> Job:
        return NoopJob(frame.decode())


app = NoopApplication()
