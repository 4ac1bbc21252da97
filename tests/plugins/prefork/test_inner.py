"""The lane of a child with another pool in it: what comes back from that pool is what is told to the worker."""

from __future__ import annotations

from typing import Any

from tests.plugins.prefork.small_application import SmallJob

from worker_kernel import CancelHow, CancelReply, Outcome
from worker_pool_prefork.frames import Word
from worker_pool_prefork.inner import InnerLane, _Given


class OldestFirst:
    """A pool that gives back the oldest waiting job of a name."""

    def __init__(self, lane: InnerLane, jobs: list[SmallJob]) -> None:
        self.lane, self.jobs = lane, jobs

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        assert how is CancelHow.WAITING
        oldest = next(job for job in self.jobs if job.id == job_id)
        self.jobs.remove(oldest)
        self.lane.finished(oldest, Outcome.never_started(job_id))
        return CancelReply.CANCELLED


class Heard:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def tell(self, news: list[Any]) -> None:
        self.told.append(news)


def test_of_two_jobs_with_one_id_the_one_that_comes_back_is_told_of_and_the_other_kept() -> None:
    first, second = SmallJob("twice"), SmallJob("twice")
    lane: Any = InnerLane.__new__(InnerLane)
    lane._given = {first: _Given(1), second: _Given(2)}
    lane._link = Heard()
    lane._pool = OldestFirst(lane, [first, second])

    still_to_tell = lane.take_back(frozenset([2]))

    assert (still_to_tell, lane._link.told) == ([], [[Word.RETURNED, [1]]])
    assert list(lane._given) == [second], "it runs here, and its end will be told"
