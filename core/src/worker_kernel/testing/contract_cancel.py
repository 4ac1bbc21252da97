"""What every pool promises about cancelling: what waits never starts, what runs is never told as a success."""

from __future__ import annotations

import pytest

from ..errors import JobKilled, Unsupported
from ..outcome import OutcomeKind
from ..pool import CancelHow, CancelReply
from .bench import Bench, PoolMaker, on_pool
from .fake_job import FakeJob
from .recording import never

RUNNING = (CancelHow.RAISE, CancelHow.KILL)


class CancelPromises(PoolMaker):
    """The part of `PoolContract` about cancelling."""

    @pytest.mark.parametrize("how", list(CancelHow))
    @on_pool()
    def test_a_job_that_waits_is_cancelled_and_never_accepted(self, bench: Bench, how: CancelHow) -> None:
        (held,) = bench.hold()
        waiting = [bench.submit() for _ in range(3)]
        assert bench.pool.cancel(waiting[1].id, how) is CancelReply.CANCELLED
        assert bench.outcome(waiting[1]).kind is OutcomeKind.CANCELLED
        bench.finish(held, waiting[0], waiting[2])
        assert not bench.listener.slots(waiting[1].id), "it was accepted"
        assert "call" not in waiting[1].steps
        bench.still_works()

    @pytest.mark.parametrize("how", list(CancelHow))
    @on_pool()
    def test_cancelling_an_unknown_job_says_so(self, bench: Bench, how: CancelHow) -> None:
        done = bench.submit()
        bench.outcome(done)
        assert bench.pool.cancel("nobody", how) is CancelReply.UNKNOWN
        bench.statistics_become(running=0)
        assert bench.pool.cancel(done.id, how) is CancelReply.UNKNOWN

    @on_pool()
    def test_cancelling_what_waits_leaves_what_runs_alone(self, bench: Bench) -> None:
        (held,) = bench.hold()
        assert bench.pool.cancel(held.id, CancelHow.WAITING) is CancelReply.UNKNOWN
        never(held.finishing.is_set, "the job was ended")
        bench.finish(held)
        assert bench.outcome(held).kind is OutcomeKind.SUCCEEDED

    @pytest.mark.parametrize("how", RUNNING)
    @on_pool(slots=2)
    def test_a_running_job_is_cancelled_or_the_pool_refuses(self, bench: Bench, how: CancelHow) -> None:
        job, *others = bench.hold(bench.slots)
        if not self.supports("cancel"):
            with pytest.raises(Unsupported):
                bench.pool.cancel(job.id, how)
            never(job.finishing.is_set, "the job was ended by a capability that is not declared")
            bench.finish(job)
            assert bench.outcome(job).kind is OutcomeKind.SUCCEEDED
            return
        assert bench.pool.cancel(job.id, how) is CancelReply.CANCELLING
        assert bench.outcome(job).kind is OutcomeKind.CANCELLED
        for other in others:
            assert not other.caught, "another job was hit"
        bench.finish(*others)
        bench.still_works()

    @on_pool()
    def test_finish_is_told_of_the_cancelling(self, bench: Bench) -> None:
        if not self.supports("cancel"):
            return
        (job,) = bench.hold()
        bench.pool.cancel(job.id, CancelHow.RAISE)
        bench.outcome(job)
        raised = job.raised
        assert isinstance(raised, JobKilled)
        assert raised.reason == "cancel"

    @pytest.mark.parametrize("how", RUNNING)
    @on_pool()
    def test_a_cancelled_job_is_no_success_though_its_task_swallows_it(self, bench: Bench, how: CancelHow) -> None:
        if not self.supports("cancel"):
            return
        (job,) = bench.hold(swallows=True)
        bench.pool.cancel(job.id, how)
        assert bench.outcome(job).kind is OutcomeKind.CANCELLED
        bench.still_works()

    @on_pool()
    def test_cancelling_twice_is_harmless(self, bench: Bench) -> None:
        if not self.supports("cancel"):
            return
        (job,) = bench.hold()
        for _ in range(2):
            bench.pool.cancel(job.id, CancelHow.RAISE)
        assert bench.outcome(job).kind is OutcomeKind.CANCELLED
        bench.still_works()

    @pytest.mark.parametrize("step", ["prepare", "finish"])
    @on_pool()
    def test_cancelling_never_interrupts_prepare_or_finish(self, bench: Bench, step: str) -> None:
        if not self.supports("cancel"):
            return
        job = bench.submit(**{f"{step}_body": FakeJob.dwell})
        bench.eventually(lambda: job.steps[-1:] == [step], f"{step} has begun")
        bench.pool.cancel(job.id, CancelHow.RAISE)
        never(lambda: bool(job.interrupted), f"{step} is interrupted")
        bench.finish(job)
        assert not job.interrupted
        if step == "prepare":
            assert bench.outcome(job).kind is OutcomeKind.CANCELLED
        bench.still_works()
