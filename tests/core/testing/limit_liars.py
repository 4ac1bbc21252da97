"""Pools with one lie each about limits, or about a task that is ended; see ``liars.py``."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from worker_kernel.capabilities import Support
from worker_kernel.errors import JobKilled, SoftTimeLimitExceeded
from worker_kernel.outcome import Outcome, OutcomeKind
from worker_kernel.testing import FakePool
from worker_kernel.testing.fake_window import Window


class _ForgivingWindow(Window):
    """Takes the value of a task that swallowed its end for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self._reason = reason

    def run(self, call: Callable[[], object]) -> object:
        values: list[object] = []

        def noted() -> object:
            values.append(call())
            return values[0]

        try:
            return super().run(noted)
        except JobKilled as killed:
            if values and killed.reason == self._reason:
                return values[0]
            raise


class CallsACancelledJobASuccess(FakePool):
    """A task that swallows its cancelling is told as succeeded."""

    caught_by: ClassVar[str] = "test_a_cancelled_job_is_no_success_though_its_task_swallows_it"

    def _carry_out(self, slot: Any, run: Any) -> Outcome:
        run.window = _ForgivingWindow("cancel")
        return super()._carry_out(slot, run)


class CallsATimedOutJobASuccess(FakePool):
    """A task that swallows its hard limit is told as succeeded."""

    caught_by: ClassVar[str] = "test_a_hard_limit_is_no_success_though_its_task_swallows_it"

    def _carry_out(self, slot: Any, run: Any) -> Outcome:
        run.window = _ForgivingWindow("time_limit")
        return super()._carry_out(slot, run)


class IgnoresHardLimits(FakePool):
    """Leaves a task alone that does not notice its hard limit."""

    caught_by: ClassVar[str] = "test_the_hard_limit_has_its_declared_effect"

    def _give_up(self, slot: Any, run: Any, kind: OutcomeKind) -> None:
        if kind is OutcomeKind.TIMED_OUT and not run.job.caught:
            return
        super()._give_up(slot, run, kind)


class IgnoresSoftLimitsThatCannotBeDelivered(FakePool):
    """Says nothing about a soft limit that did not reach the task."""

    caught_by: ClassVar[str] = "test_the_soft_limit_has_its_declared_effect"

    def _soft(self, run: Any) -> None:
        run.window.raise_soft()


class IgnoresItsOwnSoftLimit(FakePool):
    """Takes soft limits from jobs only."""

    caught_by: ClassVar[str] = "test_the_pool_s_own_soft_limit_is_the_default"

    def _limit_of(self, option: str, own: float | None) -> float | None:
        return own if option == "soft_time_limit" else super()._limit_of(option, own)


class PrefersItsOwnLimits(FakePool):
    """The pool's default wins over the job's own limit, where it is lower."""

    caught_by: ClassVar[str] = "test_a_job_s_own_limits_win"

    def _limit_of(self, option: str, own: float | None) -> float | None:
        default = super()._limit_of(option, None)
        own = super()._limit_of(option, own)
        return min(own, default) if own is not None and default is not None else own


class LimitsReports(FakePool):
    """Ends reports like any task."""

    caught_by: ClassVar[str] = "test_a_report_has_no_limits"

    def _arm(self, slot: Any, run: Any) -> None:
        report, run.job.is_report = run.job.is_report, False
        super()._arm(slot, run)
        run.job.is_report = report


class RaisesLimitsDuringFinish(FakePool):
    """Takes its timers back when the job is over, not when its call is."""

    caught_by: ClassVar[str] = "test_limits_never_interrupt_prepare_or_finish"

    def _disarm(self, run: Any) -> None:
        for timer in run.timers:
            if timer.function != self._soft or timer.interval > 5.0:
                timer.cancel()
        soft, run.timers = run.timers, []
        super()._disarm(run)
        run.timers = soft

    def _soft(self, run: Any) -> None:
        with self._changed:
            in_finish = any(slot.run is run for slot in self._slots) and run.job.finishing.is_set()
        if in_finish:
            thread = ctypes.c_ulong(run.job.threads["finish"])
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(SoftTimeLimitExceeded))
        else:
            super()._soft(run)


class LimitsUndeclared(FakePool):
    """Ends tasks by limits that it does not declare."""

    capabilities = attrs.evolve(
        FakePool.capabilities,
        soft_time_limit=Support.REFUSED,
        time_limit=Support.REFUSED,
        soft_effects={},
        hard_effects={},
    )
    caught_by: ClassVar[str] = "test_undeclared_limits_do_nothing"

    def _limit_of(self, option: str, own: float | None) -> float | None:
        return own if option == "time_limit" and own == getattr(self.config, option) else None
