"""Pools with one lie each. ``caught_by`` is the one promise of the contract that must break, and no other."""

from __future__ import annotations

import os
import threading
from typing import Any, ClassVar

import attrs

from worker_kernel.capabilities import Capabilities, Support
from worker_kernel.errors import JobKilled, PoolClosed, Unsupported
from worker_kernel.job import Job
from worker_kernel.outcome import Outcome, OutcomeKind
from worker_kernel.pool import CancelHow, CancelReply, PoolConfig, PoolStatistics, Slot
from worker_kernel.testing import FakePool


class Plain(FakePool):
    """No liar: what most liars start from, without limits so that their contract is quick."""

    capabilities: ClassVar[Capabilities] = attrs.evolve(
        FakePool.capabilities,
        soft_time_limit=Support.REFUSED,
        time_limit=Support.REFUSED,
        soft_effects={},
        hard_effects={},
    )
    caught_by: ClassVar[str] = ""


class FinishesTwice(Plain):
    """Reports a job twice when its body cannot be read."""

    caught_by = "test_each_job_is_finished_exactly_once"

    def _tell_finished(self, job: Job, outcome: Outcome) -> None:
        super()._tell_finished(job, outcome)
        if outcome.failure and outcome.failure.type == "OSError":
            super()._tell_finished(job, outcome)


class LosesTheSlotOnABaseException(Plain):
    """A KeyboardInterrupt from a task takes the slot with it."""

    caught_by = "test_a_hostile_exception_fails_that_task_only"

    def _end(self, slot: Any, run: Any, outcome: Outcome) -> None:
        super()._end(slot, run, outcome)
        if outcome.failure and outcome.failure.type == "KeyboardInterrupt":
            with self._changed:
                self._slots.remove(slot)


class GivesTheSlotBackTwice(Plain):
    """One more slot after each job whose `finish` raises."""

    caught_by = "test_a_raising_step_gives_the_slot_back_once"

    def _end(self, slot: Any, run: Any, outcome: Outcome) -> None:
        super()._end(slot, run, outcome)
        if not outcome.stored and outcome.failure and outcome.failure.args == ("finish",):
            with self._changed:
                self._slots.append(self._new_slot(len(self._slots)))


class DiesOfItsListener(Plain):
    """A listener that raises costs the slot."""

    caught_by = "test_a_raising_listener_gives_the_slot_back_once"

    def _tell(self, what: str, *args: object) -> None:
        try:
            getattr(self.config.listener, what)(*args)
        except Exception:
            with self._changed:
                self._slots.clear()


class CallsALostJobASuccess(Plain):
    """A result that could not be stored counts as stored."""

    caught_by = "test_a_job_whose_finish_raises_is_failed_or_lost"

    def _tell_finished(self, job: Job, outcome: Outcome) -> None:
        if outcome.kind is OutcomeKind.FAILED and not outcome.stored:
            outcome = attrs.evolve(outcome, kind=OutcomeKind.SUCCEEDED)
        super()._tell_finished(job, outcome)


class SubmitBlocks(Plain):
    """Holds its caller up when a hundred jobs wait."""

    caught_by = "test_submit_never_blocks"

    def submit(self, job: Job) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < 100)
        super().submit(job)


class TellsAcceptedLate(Plain):
    """Reports that a job was accepted after it has finished."""

    caught_by = "test_accepted_is_told_before_the_job_starts_and_is_finished"

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._late: dict[str, tuple[object, ...]] = {}

    def _tell(self, what: str, *args: object) -> None:
        job = args[0]
        assert isinstance(job, Job)
        if what == "accepted":
            self._late[job.id] = args
            return
        super()._tell(what, *args)
        if job.id in self._late:
            super()._tell("accepted", *self._late.pop(job.id))


class ReordersJobs(Plain):
    """Takes the newest job first when many wait."""

    caught_by = "test_waiting_jobs_start_in_the_order_of_submission"

    def submit(self, job: Job) -> None:
        super().submit(job)
        with self._changed:
            if len(self._waiting) > 10:
                self._waiting.appendleft(self._waiting.pop())


class AddsASlotUnderLoad(Plain):
    """Runs one job more than it has slots for, from three slots on."""

    caught_by = "test_never_more_jobs_run_than_there_are_slots"

    def submit(self, job: Job) -> None:
        super().submit(job)
        with self._changed:
            if self.config.limit == 3 and len(self._slots) == 3 and all(slot.run for slot in self._slots):
                self._slots.append(self._new_slot(3))


class SwallowsRejections(Plain):
    """Reports a rejected job as failed."""

    caught_by = "test_every_kind_of_outcome_is_passed_through"

    def _tell_finished(self, job: Job, outcome: Outcome) -> None:
        if outcome.kind is OutcomeKind.REJECTED:
            outcome = attrs.evolve(outcome, kind=OutcomeKind.FAILED)
        super()._tell_finished(job, outcome)


class CountsReports(Plain):
    """Counts a report among the runs."""

    caught_by = "test_a_report_counts_as_no_run"

    def _end(self, slot: Any, run: Any, outcome: Outcome) -> None:
        if run.job.is_report:
            with self._changed:
                self._done += 1
        super()._end(slot, run, outcome)


class WearsSlotsOutByReports(Plain):
    """Lets a report use up a slot."""

    caught_by = "test_a_report_does_not_use_up_a_slot"

    def _end(self, slot: Any, run: Any, outcome: Outcome) -> None:
        slot.runs += run.job.is_report
        super()._end(slot, run, outcome)


class CallsACoroutineAValue(Plain):
    """Does not await an ``async`` task, and calls that a success."""

    caught_by = "test_async_jobs_are_awaited_or_fail_with_the_reason"

    def _carry_out(self, slot: Any, run: Any) -> Outcome:
        if not run.job.is_async:
            return super()._carry_out(slot, run)
        run.job.call().close()
        outcome: Outcome = run.job.finish("<coroutine object>")
        return outcome


class ForgetsSlotEnd(Plain):
    """Starts slots for the plugins, and never ends them."""

    caught_by = "test_slot_start_and_slot_end_come_in_pairs"

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(attrs.evolve(config, slot_end=None))


class CountsWhatWaitsAsFree(Plain):
    """Statistics that do not add up while jobs wait."""

    caught_by = "test_statistics_add_up_at_every_moment"

    def statistics(self) -> PoolStatistics:
        seen = super().statistics()
        return attrs.evolve(seen, free=seen.free + min(1, seen.queued))


class TellsBeforeTheSlotIsFree(Plain):
    """Reports the end of a job while its slot still counts as busy."""

    caught_by = "test_a_slot_is_free_when_its_job_is_told_finished"

    def _carry_out(self, slot: Any, run: Any) -> Outcome:
        outcome = super()._carry_out(slot, run)
        super()._tell_finished(run.job, outcome)
        run.job.told = True
        return outcome

    def _tell_finished(self, job: Job, outcome: Outcome) -> None:
        if not hasattr(job, "told"):
            super()._tell_finished(job, outcome)


class ShrinkKills(Plain):
    """Ends running jobs to get rid of their slots."""

    caught_by = "test_shrink_never_ends_a_busy_slot"

    def shrink(self, n: int) -> None:
        super().shrink(n)
        with self._changed:
            excess = [slot.run for slot in self._slots[self._limit :] if slot.run]
        for run in excess:
            run.window.kill(JobKilled())


class ShrinksToNothing(Plain):
    """Gives its last slot away."""

    caught_by = "test_one_slot_always_stays"

    def shrink(self, n: int) -> None:
        if self._limit - n < 1:
            n = self._limit - 1
        if n:
            super().shrink(n)


class GrowsUndeclared(Plain):
    """Grows although it does not declare that it can."""

    capabilities = attrs.evolve(Plain.capabilities, resize=Support.REFUSED)
    caught_by = "test_grow_adds_slots_at_once"

    def _require(self, option: str) -> None:
        if option != "resize":
            super()._require(option)

    def shrink(self, n: int) -> None:
        raise Unsupported("resize")


class CancelsUndeclared(Plain):
    """Ends running jobs although it does not declare that it can."""

    capabilities = attrs.evolve(Plain.capabilities, cancel=Support.REFUSED)
    caught_by = "test_a_running_job_is_cancelled_or_the_pool_refuses"

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        try:
            return super().cancel(job_id, how)
        except Unsupported:
            with self._changed:
                runs = [slot.run for slot in self._slots if slot.run and slot.run.job.id == job_id]
            for run in runs:
                run.window.kill(JobKilled())
            return CancelReply.CANCELLING


class RefusesTheRestartItDeclares(Plain):
    """Declares `restart`, and raises when it is asked for."""

    caught_by = "test_restart_replaces_each_slot_once_its_job_has_ended"

    def restart(self) -> None:
        raise Unsupported("restart")


class NeverReplacesASlot(Plain):
    """Declares ``max_tasks_per_child``, and ignores it."""

    caught_by = "test_a_slot_is_replaced_after_its_number_of_runs"

    def _is_used_up(self, slot: Any) -> bool:
        return bool(slot.recycle)


class AcceptsWhatIsCancelled(Plain):
    """Tells that a cancelled job was accepted, for the sake of symmetry."""

    caught_by = "test_a_job_that_waits_is_cancelled_and_never_accepted"

    def cancel(self, job_id: str, how: CancelHow) -> CancelReply:
        with self._changed:
            waiting = [job for job in self._waiting if job.id == job_id]
        for job in waiting:
            self._tell("accepted", job, Slot(index=0, pid=os.getpid()))
        return super().cancel(job_id, how)


class SwallowsJobsAfterClose(Plain):
    """Takes jobs after `close`, and does nothing with them."""

    caught_by = "test_a_closed_pool_refuses_jobs_and_does_not_report_them"

    def submit(self, job: Job) -> None:
        try:
            super().submit(job)
        except PoolClosed:
            return


class SaysThatItHasStopped(Plain):
    """`stop` returns True while jobs run."""

    caught_by = "test_stop_says_when_jobs_are_still_running"

    def stop(self, timeout: float | None) -> bool:
        super().stop(timeout)
        return True


class ForgetsWhatWaitsWhenTerminated(Plain):
    """`terminate` reports running jobs only."""

    caught_by = "test_terminate_reports_every_job_before_it_returns"

    def terminate(self) -> None:
        with self._changed:
            self._waiting.clear()
        super().terminate()


class LeavesAThread(Plain):
    """A thread of the pool outlives `stop`."""

    caught_by = "test_no_thread_is_left_after_stop"

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self._end_of_test = threading.Event()

    def stop(self, timeout: float | None) -> bool:
        stopped = super().stop(timeout)
        threading.Thread(target=self._end_of_test.wait, name="left behind").start()
        return stopped

    def terminate(self) -> None:
        super().terminate()
        self._end_of_test.set()


class GrowsTooMuchAfterAShrink(Plain):
    """Counts busy slots that are to go as missing when it grows."""

    caught_by = "test_any_sequence_of_calls_ends_where_the_model_says"

    def grow(self, n: int) -> None:
        with self._changed:
            self._limit += max(0, len(self._slots) - self._limit)
        super().grow(n)
