"""What every pool promises about a job: it is run once, told once, and gives its slot back once."""

from __future__ import annotations

import threading

import pytest

from ..errors import Ignore, Reject, Retry
from ..job import Raised
from ..outcome import Failure, Outcome, OutcomeKind
from .bench import Bench, PoolMaker, on_pool, with_bench
from .dying import recurses
from .fake_job import FakeJob
from .recording import never


class _HostileEnd(BaseException):
    """What no library expects."""


HOSTILE = (SystemExit(1), KeyboardInterrupt(), GeneratorExit(), MemoryError(), RecursionError(), _HostileEnd())
"""What a task must be able to raise without harm to anything but itself."""


class JobPromises(PoolMaker):
    """The part of `PoolContract` about single jobs."""

    @on_pool()
    def test_a_job_is_prepared_called_and_finished_once_each(self, bench: Bench) -> None:
        job = bench.submit()
        bench.outcome(job)
        assert job.steps == ["prepare", "call", "finish"]

    @on_pool()
    def test_the_task_gets_its_value_to_finish(self, bench: Bench) -> None:
        job = bench.submit(value=42)
        bench.outcome(job)
        assert job.endings == [42]

    @on_pool()
    def test_an_exception_that_is_returned_is_a_value(self, bench: Bench) -> None:
        job = bench.submit(value=ValueError("returned, not raised"))
        bench.outcome(job)
        assert not isinstance(job.endings[0], Raised)

    @pytest.mark.parametrize("step", ["prepare", "call"])
    @on_pool()
    def test_finish_is_told_what_was_raised(self, bench: Bench, step: str) -> None:
        error = ValueError(step)
        job = bench.submit(raises={step: error})
        bench.outcome(job)
        assert self.is_same(job.raised, error)

    @on_pool(slots=2)
    def test_accepted_is_told_before_the_job_starts_and_is_finished(self, bench: Bench) -> None:
        early: list[str] = []

        def look(job: FakeJob) -> None:
            if not bench.listener.slots(job.id):
                early.append(job.id)

        jobs = [bench.submit(body=look) for _ in range(20)]
        for job in jobs:
            bench.outcome(job)
            bench.listener.wait_accepted(job.id)
        order = [(told.what, told.job_id) for told in bench.listener.told]
        late = [job.id for job in jobs if order.index(("accepted", job.id)) > order.index(("finished", job.id))]
        assert not late, f"finished before they were accepted: {late}"
        if self.capabilities.runs_elsewhere:
            return  # here one hears of the start when the job may have begun there
        assert not early, f"began before they were accepted: {early}"

    @on_pool(slots=2)
    def test_accepted_names_a_slot_of_the_pool(self, bench: Bench) -> None:
        jobs = bench.hold(bench.slots)
        there = {(slot.index, slot.pid) for slot in bench.pool.statistics().slots}
        bench.finish(*jobs)
        named = [bench.listener.wait_accepted(job.id) for job in jobs]
        assert {(slot.index, slot.pid) for slot in named} == there

    @on_pool(slots=2)
    def test_each_job_is_finished_exactly_once(self, bench: Bench) -> None:
        scripts: list[dict[str, object]] = [{}, {"raises": {"prepare": OSError()}}, {"raises": {"call": SystemExit()}}]
        jobs = [bench.submit(**scripts[number % len(scripts)]) for number in range(21)]
        for job in jobs:
            bench.outcome(job)
        never(
            lambda: any(len(bench.listener.outcomes(job.id)) != 1 for job in jobs),
            "a job is finished more than once",
        )

    @pytest.mark.parametrize("kind", list(OutcomeKind))
    @on_pool()
    def test_every_kind_of_outcome_is_passed_through(self, bench: Bench, kind: OutcomeKind) -> None:
        scripted = Outcome(
            job_id="scripted",
            kind=kind,
            stored=kind is not OutcomeKind.LOST,
            requeue=kind is OutcomeKind.REJECTED,
            failure=Failure(type="Reason", module="somewhere", args=("because",)),
            result="'as scripted'",
        )
        told = bench.outcome(bench.submit(id="scripted", outcome=scripted))
        # The pool may know the run time better; everything else is the job's word.
        assert (told.kind, told.stored, told.requeue, told.failure, told.result) == (
            scripted.kind,
            scripted.stored,
            scripted.requeue,
            scripted.failure,
            scripted.result,
        )

    @pytest.mark.parametrize(
        "signal", [Retry("again"), Reject("no", requeue=True), Ignore()], ids=lambda s: type(s).__name__
    )
    @on_pool()
    def test_what_a_task_raises_to_say_how_it_ends_reaches_finish(self, bench: Bench, signal: Exception) -> None:
        job = bench.submit(raises={"call": signal})
        bench.outcome(job)
        assert self.is_same(job.raised, signal)

    @pytest.mark.parametrize("step", ["prepare", "call", "finish"])
    @on_pool()
    def test_a_raising_step_gives_the_slot_back_once(self, bench: Bench, step: str) -> None:
        for _ in range(3):
            bench.outcome(bench.submit(raises={step: ValueError(step)}))
        self._exactly_one_slot_works(bench)

    @pytest.mark.parametrize("error", [ValueError("no store"), SystemExit("no store")], ids=["Exception", "SystemExit"])
    @on_pool()
    def test_a_job_whose_finish_raises_is_failed_or_lost(self, bench: Bench, error: BaseException) -> None:
        outcome = bench.outcome(bench.submit(raises={"finish": error}))
        assert outcome.kind in (OutcomeKind.FAILED, OutcomeKind.LOST)
        assert not outcome.stored, "nobody stored it"

    @pytest.mark.parametrize("callback", ["accepted", "finished"])
    def test_a_raising_listener_gives_the_slot_back_once(self, callback: str) -> None:
        with_bench(self, self._after_a_raising_listener, raising=(callback,))

    def _after_a_raising_listener(self, bench: Bench) -> None:
        for _ in range(3):
            bench.outcome(bench.submit())
        self._exactly_one_slot_works(bench)

    def _exactly_one_slot_works(self, bench: Bench) -> None:
        """Fail unless exactly one of two held jobs gets a slot, and the other follows it."""
        first, second = bench.submit(held=True), bench.submit(held=True)
        bench.wait_started(first)
        never(second.started.is_set, "one slot runs two jobs: it was given back twice")
        bench.finish(first)
        bench.wait_started(second)

    @pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
    @on_pool()
    def test_a_hostile_exception_fails_that_task_only(self, bench: Bench, error: BaseException) -> None:
        outcome = bench.outcome(bench.submit(raises={"call": error}))
        assert outcome.kind is OutcomeKind.FAILED
        bench.still_works()

    @on_pool()
    def test_a_task_that_recurses_for_ever_fails_alone(self, bench: Bench) -> None:
        assert bench.outcome(bench.submit(body=recurses)).kind is OutcomeKind.FAILED
        bench.still_works()

    @on_pool()
    def test_submit_never_blocks(self, bench: Bench) -> None:
        (held,) = bench.hold()
        jobs = [bench.job() for _ in range(300)]
        submitted = threading.Event()

        def submit_all() -> None:
            for job in jobs:
                bench.pool.submit(job)
            submitted.set()

        submitter = threading.Thread(target=submit_all, name="submitter")
        submitter.start()
        in_time = submitted.wait(bench.patience)
        bench.finish(held)
        submitter.join(bench.patience)
        assert in_time, "submit waited for a slot"

    @on_pool()
    def test_waiting_jobs_start_in_the_order_of_submission(self, bench: Bench) -> None:
        started: list[str] = []
        (held,) = bench.hold()
        jobs = [bench.submit(body=lambda job: started.append(job.id)) for _ in range(20)]
        bench.finish(held, *jobs)
        assert started == [job.id for job in jobs]

    @on_pool(slots=3)
    def test_all_slots_run_at_once(self, bench: Bench) -> None:
        bench.hold(bench.slots)

    @on_pool(slots=3)
    def test_never_more_jobs_run_than_there_are_slots(self, bench: Bench) -> None:
        running = bench.hold(bench.slots)
        extra = bench.submit(held=True)
        never(extra.started.is_set, f"{bench.slots} slots run one job more")
        bench.finish(running[0])
        bench.wait_started(extra)

    def test_without_concurrency_there_is_exactly_one_slot(self) -> None:
        if not self.supports("concurrency"):
            with_bench(self, lambda bench: self._has_slots(bench, 1), limit=2)
        else:
            with_bench(self, lambda bench: self._has_slots(bench, 2), slots=2)

    def _has_slots(self, bench: Bench, number: int) -> None:
        assert bench.pool.statistics().size == number

    @on_pool(soft_time_limit=0.1, time_limit=0.2)
    def test_a_report_has_no_limits(self, bench: Bench) -> None:
        report = bench.submit(is_report=True, held=True, time_limit=0.2)
        never(report.finishing.is_set, "a limit ends a report", within=0.5)
        report.release()
        assert bench.outcome(report).kind is OutcomeKind.SUCCEEDED
        assert not report.caught

    @on_pool()
    def test_a_report_counts_as_no_run(self, bench: Bench) -> None:
        bench.outcome(bench.submit(is_report=True))
        bench.outcome(bench.submit())
        bench.eventually(lambda: bench.pool.statistics().done >= 1, "the run is counted")
        assert bench.pool.statistics().done == 1, "the report is counted, too"

    @on_pool()
    def test_async_jobs_are_awaited_or_fail_with_the_reason(self, bench: Bench) -> None:
        job = bench.submit(is_async=True, value=7)
        outcome = bench.outcome(job)
        if not self.supports("async_tasks"):
            assert outcome.kind is OutcomeKind.FAILED
            assert "async" in str(outcome.failure)
            assert "call" not in job.steps
        else:
            assert outcome.kind is OutcomeKind.SUCCEEDED
            assert job.endings == [7]
        bench.still_works()

    @on_pool()
    def test_plain_jobs_run_on_every_pool(self, bench: Bench) -> None:
        job = bench.submit(is_async=False, value=8)
        assert bench.outcome(job).kind is OutcomeKind.SUCCEEDED
        assert job.endings == [8]
