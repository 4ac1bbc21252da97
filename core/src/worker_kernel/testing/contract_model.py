"""Any sequence of calls leaves a pool where a model of forty lines says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ..errors import PoolClosed
from ..outcome import OutcomeKind
from ..pool import CancelHow, CancelReply
from .bench import Bench, PoolMaker, with_bench
from .fake_job import FakeJob

Command = tuple[str, int]
"""What to do, and a number that says to which job, or how often."""

COMMANDS = ("submit", "submit", "submit", "end", "cancel waiting", "cancel running", "grow", "shrink", "close")
"""Submitting stands thrice, so that there is something to do the rest to."""

_GROWN_WHILE_TOO_MANY_RUN: list[Command] = [("submit", 0), ("submit", 1), ("shrink", 0), ("grow", 0)]
"""Easy to get wrong, and tried always."""

_EXAMPLES = 40
_EXAMPLES_ELSEWHERE = 12
"""Processes take longer to start than threads."""


@attrs.define(eq=False)
class Model:
    """What a pool should look like from outside."""

    limit: int
    waiting: deque[FakeJob] = attrs.field(factory=deque)
    running: list[FakeJob] = attrs.field(factory=list)
    ended: dict[str, OutcomeKind] = attrs.field(factory=dict)
    closed: bool = False

    def fill(self) -> None:
        """Move waiting jobs into free slots, first in, first out."""
        while self.waiting and len(self.running) < self.limit:
            self.running.append(self.waiting.popleft())

    def take(self, jobs: deque[FakeJob] | list[FakeJob], number: int, kind: OutcomeKind) -> FakeJob:
        """End one of ``jobs`` as ``kind`` and return it."""
        job = jobs[number % len(jobs)]
        jobs.remove(job)
        self.ended[job.id] = kind
        return job

    def seen(self) -> dict[str, object]:
        """Return what statistics and listener should show."""
        return {
            "limit": self.limit,
            "size": max(self.limit, len(self.running)),
            "running": sorted(job.id for job in self.running),
            "queued": len(self.waiting),
            "ended": self.ended,
        }


class _Machine:
    """Does each command to the pool and to the model."""

    def __init__(self, bench: Bench, maker: PoolMaker) -> None:
        self.bench, self.maker, self.model = bench, maker, Model(bench.slots)

    def do(self, command: Command) -> None:
        """Carry out one command, where it makes sense now, and wait until the pool looks like the model."""
        what, number = command
        actions: dict[str, Callable[[int], None]] = {
            "submit": self._submit,
            "end": self._end,
            "cancel waiting": self._cancel_waiting,
            "cancel running": self._cancel_running,
            "grow": self._grow,
            "shrink": self._shrink,
            "close": self._close,
        }
        actions[what](number)
        self.model.fill()
        wanted = self.model.seen()
        try:
            self.bench.eventually(lambda: self._seen() == wanted, "the pool looks like the model")
        except AssertionError:
            raise AssertionError(f"after {command}: {self._seen()}, but the model says {wanted}") from None

    def _submit(self, number: int) -> None:
        job = self.bench.job(held=True)
        if self.model.closed:
            with pytest.raises(PoolClosed):
                self.bench.pool.submit(job)
            return
        self.bench.pool.submit(job)
        self.model.waiting.append(job)

    def _end(self, number: int) -> None:
        if self.model.running:
            self.model.take(self.model.running, number, OutcomeKind.SUCCEEDED).release()

    def _cancel_waiting(self, number: int) -> None:
        if self.model.waiting:
            job = self.model.take(self.model.waiting, number, OutcomeKind.CANCELLED)
            assert self.bench.pool.cancel(job.id, list(CancelHow)[number % 3]) is CancelReply.CANCELLED

    def _cancel_running(self, number: int) -> None:
        if self.model.running and self.maker.supports("cancel"):
            job = self.model.take(self.model.running, number, OutcomeKind.CANCELLED)
            assert self.bench.pool.cancel(job.id, CancelHow.RAISE) is CancelReply.CANCELLING

    def _grow(self, number: int) -> None:
        if self.maker.supports("resize") and not self.model.closed and self.model.limit < 6:
            self.bench.pool.grow(1 + number % 2)
            self.model.limit += 1 + number % 2

    def _shrink(self, number: int) -> None:
        if not self.maker.supports("resize") or self.model.closed:
            return
        less = 1 + number % 3
        if self.model.limit - less < 1:
            with pytest.raises(ValueError, match=r"\S"):
                self.bench.pool.shrink(less)
            return
        self.bench.pool.shrink(less)
        self.model.limit -= less

    def _close(self, number: int) -> None:
        if number % 4 == 0:  # now and then: after it there is less to see
            self.bench.pool.close()
            self.model.closed = True
            while self.model.waiting:
                self.model.take(self.model.waiting, 0, OutcomeKind.CANCELLED)

    def _seen(self) -> dict[str, object]:
        seen = self.bench.pool.statistics()
        told = {job.id: self.bench.listener.outcomes(job.id) for job in self.bench.jobs}
        ours = [job.id for job in self.bench.jobs if job.started.is_set() and not told[job.id]]
        running = sorted(slot.job_id or "" for slot in seen.slots if slot.state == "running")
        return {
            "limit": seen.limit,
            "size": seen.size,
            "running": running if running == sorted(ours) else [f"slots say {running}, tasks say {sorted(ours)}"],
            "queued": seen.queued,
            "ended": {job_id: outcomes[0].kind for job_id, outcomes in told.items() if outcomes},
        }


class ModelPromises(PoolMaker):
    """The part of `PoolContract` that tries what nobody thought of."""

    def test_any_sequence_of_calls_ends_where_the_model_says(self) -> None:
        def scenario(bench: Bench, commands: list[Command]) -> None:
            machine = _Machine(bench, self)
            for command in commands:
                machine.do(command)
            violations = bench.listener.violations()
            assert not violations, violations

        @settings(
            max_examples=_EXAMPLES_ELSEWHERE if self.capabilities.runs_elsewhere else _EXAMPLES,
            derandomize=True,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],  # each attempt at a shorter example waits for what never comes
            suppress_health_check=[HealthCheck.too_slow],
        )
        @example(commands=_GROWN_WHILE_TOO_MANY_RUN)
        @given(commands=st.lists(st.tuples(st.sampled_from(COMMANDS), st.integers(0, 11)), min_size=5, max_size=20))
        def attempt(commands: list[Command]) -> None:
            with_bench(self, lambda bench: scenario(bench, commands), slots=2)

        attempt()
