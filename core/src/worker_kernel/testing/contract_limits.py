"""What a pool promises about limits: each kind of stuck task meets the end that the capabilities declare for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from ..capabilities import Effect, LimitTable, Stuck
from ..errors import JobKilled, SoftTimeLimitExceeded
from ..outcome import OutcomeKind
from .bench import GRACE, Bench, PoolMaker, on_pool, with_bench
from .fake_job import FakeJob
from .limits_child import LIMIT
from .patched import python_for
from .recording import never
from .stuck import stuck_task

DEADLINE = 12.0
"""Seconds that a limit of a quarter of a second may take to show on a busy machine; stuck tasks are stuck for 30."""

_HERE = (Stuck.YIELDS, Stuck.BUSY)
"""The kinds that can be let go, and so may be tried in the test's own process."""


@attrs.frozen(kw_only=True)
class Seen:
    """What a child process told about a stuck task."""

    events: tuple[dict[str, Any], ...]
    """One record per line that it wrote."""
    exit_code: int
    """Its exit status; negative: the signal that ended it."""
    stderr: str
    """What it wrote to stderr: its log."""

    def first(self, event: str, **fields: object) -> dict[str, Any] | None:
        """Return the first record of this event with these fields."""
        wanted = {"event": event, **fields}.items()
        return next((record for record in self.events if wanted <= record.items()), None)

    def seconds_until(self, event: str, **fields: object) -> float:
        """Return the seconds from the start of the stuck task to ``event``.

        Raises:
            AssertionError: it did not happen.
        """
        start, end = self.first("started"), self.first(event, **fields)
        assert start is not None, f"the stuck task did not start: {self}"
        assert end is not None, f"did not happen: {event} {fields}; {self}"
        return float(end["at"] - start["at"])


class LimitPromises(PoolMaker):
    """The part of `PoolContract` about limits and about ends by force."""

    def test_the_soft_limit_has_its_declared_effect(self) -> None:
        table = self.capabilities.soft_effects
        if not self.supports("soft_time_limit"):
            assert not table, "soft_time_limit is refused, but has declared effects"
            return
        assert set(table) == set(Stuck), "a soft limit that is not refused has an effect on each kind of stuck task"
        assert set(table.values()) <= {Effect.RAISED, Effect.UNDELIVERABLE}, "a soft limit ends nothing by force"
        self._try_each_kind(table, self._soft_limit_here, self._soft_limit_in_a_child)

    def test_the_hard_limit_has_its_declared_effect(self) -> None:
        table = self.capabilities.hard_effects
        if not self.supports("time_limit"):
            assert not table, "time_limit is refused, but has declared effects"
            return
        assert set(table) == set(Stuck), "a hard limit that is not refused has an effect on each kind of stuck task"
        assert Effect.UNDELIVERABLE not in table.values(), "a hard limit ends every task"
        if not self.capabilities.runs_elsewhere:
            assert Effect.REPLACED not in table.values(), "a process is replaced where jobs run in other ones"
        self._try_each_kind(table, self._hard_limit_here, self._hard_limit_in_a_child)

    def _try_each_kind(
        self,
        table: LimitTable,
        here: Callable[[Bench, Stuck], None],
        in_a_child: Callable[[Stuck, Effect], None],
    ) -> None:
        """Try each row of a limits table: side by side where it takes a child process, else one after the other.

        Raises:
            AssertionError: a row does not hold; it says which.
        """
        wrong: dict[str, BaseException] = {}

        def attempt(kind: Stuck) -> None:
            try:
                in_a_child(kind, table[kind])
            except BaseException as error:
                wrong[kind] = error

        def attempt_here(kind: Stuck) -> None:
            try:
                with_bench(self, lambda bench: here(bench, kind))
            except AssertionError as error:
                wrong[kind] = error

        harmless = [kind for kind in _HERE if table[kind] is Effect.RAISED]
        with ThreadPoolExecutor(len(Stuck)) as executor:
            attempts = executor.map(attempt, [kind for kind in Stuck if kind not in harmless])
            for kind in harmless:
                attempt_here(kind)
            list(attempts)
        if wrong:
            raise AssertionError(
                "\n".join(f"{kind}, declared as {table[Stuck(kind)]}: {wrong[kind]}" for kind in wrong)
            )

    def _soft_limit_here(self, bench: Bench, kind: Stuck) -> None:
        job = bench.submit(body=stuck_task(kind), soft_time_limit=LIMIT)
        assert bench.outcome(job).kind is OutcomeKind.FAILED
        assert isinstance(job.raised, SoftTimeLimitExceeded)
        bench.still_works()

    def _soft_limit_in_a_child(self, kind: Stuck, effect: Effect) -> None:
        seen = self._in_a_child(kind, "soft", *_grace_for(effect))
        assert seen.exit_code == 0, seen
        raised = "SoftTimeLimitExceeded" in (seen.first("over") or {}).get("raised", ())
        if effect is Effect.RAISED:
            assert raised, seen
        elif kind is not Stuck.C_WITH_GIL or not raised:  # after that call, it may be raised late instead
            if self.capabilities.runs_elsewhere and "undeliverable" in seen.stderr:
                return  # said by the process that runs the task, in its own log: it is not known when
            assert seen.seconds_until("undeliverable") < DEADLINE
        assert seen.seconds_until("over") < DEADLINE

    def _hard_limit_here(self, bench: Bench, kind: Stuck) -> None:
        job = bench.submit(body=stuck_task(kind), time_limit=LIMIT)
        assert bench.outcome(job).kind is OutcomeKind.TIMED_OUT
        raised = job.raised
        assert isinstance(raised, JobKilled)
        assert raised.reason == "time_limit"
        bench.still_works()

    def _hard_limit_in_a_child(self, kind: Stuck, effect: Effect) -> None:
        seen = self._in_a_child(kind, "hard", *_grace_for(effect))
        _assert_ended_by_force(seen, effect, OutcomeKind.TIMED_OUT, kind)

    @on_pool(soft_time_limit=LIMIT, time_limit=LIMIT)
    def test_undeclared_limits_do_nothing(self, bench: Bench) -> None:
        if self.supports("soft_time_limit") or self.supports("time_limit"):
            return
        job = bench.submit(held=True, soft_time_limit=LIMIT, time_limit=LIMIT)
        bench.wait_started(job)
        never(job.finishing.is_set, "a limit that is not declared ends a job", within=2 * LIMIT)
        bench.finish(job)
        assert bench.outcome(job).kind is OutcomeKind.SUCCEEDED

    @on_pool(soft_time_limit=LIMIT)
    def test_the_pool_s_own_soft_limit_is_the_default(self, bench: Bench) -> None:
        if not self.supports("soft_time_limit"):
            return
        assert bench.outcome(bench.submit(held=True)).kind is OutcomeKind.FAILED

    @on_pool(time_limit=LIMIT)
    def test_the_pool_s_own_hard_limit_is_the_default(self, bench: Bench) -> None:
        if not self.supports("time_limit"):
            return
        assert bench.outcome(bench.submit(held=True)).kind is OutcomeKind.TIMED_OUT

    @on_pool(soft_time_limit=LIMIT / 2, time_limit=LIMIT)
    def test_a_job_s_own_limits_win(self, bench: Bench) -> None:
        if not self.supports("soft_time_limit") and not self.supports("time_limit"):
            return
        job = bench.submit(held=True, soft_time_limit=60.0, time_limit=60.0)
        bench.wait_started(job)
        never(lambda: bool(job.caught), "the pool's default wins over the job's own limit", within=2 * LIMIT)
        bench.finish(job)
        assert bench.outcome(job).kind is OutcomeKind.SUCCEEDED

    @on_pool()
    def test_a_task_may_catch_its_soft_limit(self, bench: Bench) -> None:
        if not self.supports("soft_time_limit"):
            return
        job = bench.submit(held=True, swallows=True, value="tidied up", soft_time_limit=LIMIT)
        assert bench.outcome(job).kind is OutcomeKind.SUCCEEDED
        assert job.endings == ["tidied up"]

    @on_pool()
    def test_a_hard_limit_is_no_success_though_its_task_swallows_it(self, bench: Bench) -> None:
        if not self.supports("time_limit"):
            return
        job = bench.submit(held=True, swallows=True, time_limit=LIMIT)
        assert bench.outcome(job).kind is OutcomeKind.TIMED_OUT

    @pytest.mark.parametrize("step", ["prepare", "finish"])
    @on_pool(soft_time_limit=LIMIT / 2, time_limit=LIMIT)
    def test_limits_never_interrupt_prepare_or_finish(self, bench: Bench, step: str) -> None:
        if not self.supports("soft_time_limit") and not self.supports("time_limit"):
            return
        job = bench.submit(**{f"{step}_body": FakeJob.dwell})
        bench.eventually(lambda: job.steps[-1:] == [step], f"{step} has begun")
        never(
            lambda: bool(job.interrupted or bench.listener.outcomes(job.id)),
            f"a limit ends {step}",
            within=2.5 * LIMIT,
        )
        bench.finish(job)
        bench.still_works()

    def test_a_task_that_swallows_everything_is_ended_all_the_same(self) -> None:
        if not self.supports("time_limit"):
            return
        seen = self._in_a_child(Stuck.BUSY, "hard", "--swallows")
        lives = Effect.REPLACED if self.capabilities.runs_elsewhere else Effect.ZOMBIE
        effect = lives if seen.exit_code == 0 else Effect.PROCESS_ENDS
        _assert_ended_by_force(seen, effect, OutcomeKind.TIMED_OUT, Stuck.BUSY)
        finished = [record for record in seen.events if record["event"] == "finished" and record["job"] == "stuck"]
        assert len(finished) == 1, f"told more than once: {seen}"

    def test_too_many_zombies_end_the_process(self) -> None:
        if self.capabilities.hard_effects.get(Stuck.SLEEPS) is not Effect.ZOMBIE:
            return
        seen = self._in_a_child(Stuck.BUSY, "hard", "--swallows", "--zombie-budget=0")
        effect = Effect.REPLACED if self.capabilities.runs_elsewhere else Effect.PROCESS_ENDS
        _assert_ended_by_force(seen, effect, OutcomeKind.TIMED_OUT, Stuck.BUSY)

    def test_kill_ends_even_a_task_that_sleeps(self) -> None:
        effect = self.capabilities.hard_effects.get(Stuck.SLEEPS)
        if not self.supports("cancel") or effect is None:
            return
        seen = self._in_a_child(Stuck.SLEEPS, "kill", *_grace_for(effect))
        _assert_ended_by_force(seen, effect, OutcomeKind.CANCELLED, Stuck.SLEEPS)

    def test_terminate_returns_though_a_task_cannot_be_ended(self) -> None:
        if self.capabilities.is_green:  # nobody can call it: such a task has the thread of whoever would
            return
        seen = self._in_a_child(Stuck.C_WITHOUT_GIL, "terminate")
        assert seen.exit_code == 0, seen
        told = seen.seconds_until("finished", job="stuck")
        assert told <= seen.seconds_until("terminated") < DEADLINE
        assert seen.first("finished", kind="lost") or seen.first("finished", kind="cancelled"), seen

    def _as_configured(self) -> tuple[str, ...]:
        return f"--patience={self.patience}", f"--options={json.dumps(dict(self.options))}"

    def _in_a_child(self, kind: Stuck, ending: str, *more: str) -> Seen:
        """Run one case in a process of its own."""
        command = [*python_for(self.patch), "worker_kernel.testing.limits_child", self.pool_path]
        done = subprocess.run(  # noqa: S603  (our own module)
            [*command, "--stuck", kind.name, "--ending", ending, *self._as_configured(), *more],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        events = tuple(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
        return Seen(events=events, exit_code=done.returncode, stderr=done.stderr[-4000:])


def _grace_for(effect: Effect) -> tuple[str, ...]:
    """Return the option that keeps a busy machine from turning a task that was hit into a zombie."""
    return (f"--grace={GRACE}",) if effect is Effect.RAISED else ()


def _assert_ended_by_force(seen: Seen, effect: Effect, told: OutcomeKind, kind: Stuck) -> None:
    """Fail unless the stuck task met ``effect``, was told as ``told``, and the next job ran where there is a next."""
    if kind is not Stuck.C_WITH_GIL or effect is Effect.REPLACED:  # where no Python runs, nothing can be told
        assert seen.seconds_until("finished", job="stuck", kind=told) < DEADLINE
    if effect is Effect.PROCESS_ENDS:
        assert seen.exit_code not in (0, 70), f"the process did not end by the limit: {seen}"
        assert seen.first("over") is None, seen
        return
    assert seen.exit_code == 0, seen
    assert seen.seconds_until("finished", job="next", kind="succeeded") < DEADLINE
    statistics = seen.first("statistics") or {}
    assert statistics.get("size") == 1, f"the slot was lost or doubled: {seen}"
    if effect is Effect.REPLACED:
        assert statistics.get("zombies") == 0, seen
    if effect is Effect.RAISED:
        assert "JobKilled" in (seen.first("over") or {}).get("raised", ()), f"nothing was raised in the task: {seen}"
        assert statistics.get("zombies") == 0, seen
