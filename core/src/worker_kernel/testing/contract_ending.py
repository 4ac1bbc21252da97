"""What every pool promises about its end: close, stop and terminate lose no job and can be called again."""

from __future__ import annotations

import threading

import pytest

from ..errors import PoolClosed, Unsupported
from ..outcome import OutcomeKind
from .bench import Bench, PoolMaker, on_pool
from .recording import never


class EndingPromises(PoolMaker):
    """The part of `PoolContract` about the end of a pool."""

    @pytest.mark.parametrize("ending", ["close", "stop", "terminate"])
    @on_pool()
    def test_a_closed_pool_refuses_jobs_and_does_not_report_them(self, bench: Bench, ending: str) -> None:
        _end(bench, ending)
        refused = bench.job()
        with pytest.raises(PoolClosed):
            bench.pool.submit(refused)
        never(lambda: any(told.job_id == refused.id for told in bench.listener.told), "the refused job is reported")
        assert not refused.steps

    @on_pool()
    def test_close_cancels_what_waits_and_leaves_what_runs(self, bench: Bench) -> None:
        (held,) = bench.hold()
        waiting = [bench.submit() for _ in range(3)]
        bench.pool.close()
        for job in waiting:
            assert bench.outcome(job).kind is OutcomeKind.CANCELLED
            assert not bench.listener.slots(job.id), "a job that waited was accepted"
        never(held.finishing.is_set, "close ends a job that runs")
        bench.finish(held)
        assert bench.outcome(held).kind is OutcomeKind.SUCCEEDED

    @on_pool(slots=2)
    def test_stop_waits_for_what_runs(self, bench: Bench) -> None:
        held = bench.hold(bench.slots)
        told_at_return: list[bool] = []

        def release() -> None:
            for job in held:
                job.release()

        releaser = threading.Timer(0.1, release)
        releaser.start()
        drained = bench.pool.stop(bench.patience)
        told_at_return.extend(bool(bench.listener.outcomes(job.id)) for job in held)
        releaser.join()
        assert drained, "all jobs had ended"
        assert all(told_at_return), "stop returned before all jobs were reported"

    @on_pool()
    def test_stop_says_when_jobs_are_still_running(self, bench: Bench) -> None:
        (held,) = bench.hold()
        assert bench.pool.stop(0.05) is False
        never(held.finishing.is_set, "stop ends a job that runs")
        bench.finish(held)
        assert bench.pool.stop(bench.patience) is True

    @on_pool()
    def test_stop_cancels_what_waits(self, bench: Bench) -> None:
        (held,) = bench.hold()
        waiting = bench.submit()
        bench.pool.stop(0.0)
        assert bench.outcome(waiting).kind is OutcomeKind.CANCELLED
        bench.finish(held)

    @on_pool(slots=2)
    def test_terminate_reports_every_job_before_it_returns(self, bench: Bench) -> None:
        held = bench.hold(bench.slots)
        waiting = [bench.submit() for _ in range(5)]
        bench.pool.terminate()
        missing = [job.id for job in [*held, *waiting] if not bench.listener.outcomes(job.id)]
        assert not missing, f"not reported when terminate returned: {missing}"

    @on_pool(slots=2)
    def test_terminate_says_what_became_of_each_job(self, bench: Bench) -> None:
        held = bench.hold(bench.slots)
        waiting = [bench.submit() for _ in range(3)]
        bench.pool.terminate()
        for job in held:
            assert bench.outcome(job).kind in (OutcomeKind.CANCELLED, OutcomeKind.LOST)
        for job in waiting:
            if bench.listener.outcomes(job.id):
                assert bench.outcome(job).kind is OutcomeKind.CANCELLED
            assert not bench.listener.slots(job.id), "a job that waited was accepted"

    @on_pool(slots=2)
    def test_nothing_is_told_twice_when_a_terminated_task_ends_late(self, bench: Bench) -> None:
        held = bench.hold(bench.slots, swallows=True)
        bench.pool.terminate()
        for job in held:
            job.release()
        never(
            lambda: any(len(bench.listener.outcomes(job.id)) > 1 for job in held),
            "a job that was reported by terminate is reported again",
        )

    @pytest.mark.parametrize("ending", ["close", "stop", "terminate"])
    @on_pool()
    def test_each_ending_can_be_called_again(self, bench: Bench, ending: str) -> None:
        bench.outcome(bench.submit())
        _end(bench, ending)
        _end(bench, ending)
        _end(bench, "terminate")
        _end(bench, "stop")
        assert len(bench.listener.told) == 2, "one job, accepted and finished"

    @on_pool()
    def test_an_idle_pool_stops_at_once(self, bench: Bench) -> None:
        assert bench.pool.stop(None) is True

    @on_pool()
    def test_a_healthy_pool_never_says_that_it_fails(self, bench: Bench) -> None:
        for error in (ValueError(), SystemExit()):
            bench.outcome(bench.submit(raises={"call": error}))
        bench.pool.stop(bench.patience)
        assert not [told for told in bench.listener.told if told.what == "failing"]

    @on_pool()
    def test_serve_is_refused_unless_jobs_have_the_main_thread(self, bench: Bench) -> None:
        if self.capabilities.runs_in_main_thread:
            job = bench.submit()
            bench.outcome(job)
            assert job.threads["call"] == threading.main_thread().ident
        else:
            with pytest.raises(Unsupported):
                bench.pool.serve()


def _end(bench: Bench, ending: str) -> None:
    if ending == "stop":
        assert bench.pool.stop(bench.patience) is True
    elif ending == "terminate":
        bench.pool.terminate()
    else:
        bench.pool.close()
