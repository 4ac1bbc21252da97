"""What a pool of processes promises: a process that dies takes one job with it, no other, and is replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ..outcome import Failure, Outcome, OutcomeKind
from .bench import Bench, PoolMaker, on_pool, with_bench
from .dying import exits, kills_itself, segfaults
from .fake_job import FakeJob

DEATHS = ((exits, r"\b3\b"), (kills_itself, r"SIGKILL|\b9\b"), (segfaults, r"SIGSEGV|\b11\b"))
"""Bodies that end their process, and what the failure must name."""

LARGE = 8 * 1024 * 1024
"""Bytes: more than any pipe or socket takes at once."""


def _name(value: object) -> str:
    return getattr(value, "__name__", "")


class IsolationPromises(PoolMaker):
    """The part of `PoolContract` about pools that run jobs in other processes, each apart from the others."""

    @pytest.mark.parametrize("death", DEATHS, ids=lambda death: _name(death[0]))
    @on_pool(slots=2)
    def test_a_job_that_ends_its_process_is_lost_alone(
        self, bench: Bench, death: tuple[Callable[[FakeJob], object], str]
    ) -> None:
        if not self._isolated:
            return
        body, named = death
        (other,) = bench.hold()
        dying = bench.submit(body=body)
        waiting = [bench.submit() for _ in range(3)]
        outcome = bench.outcome(dying)
        assert (outcome.kind, outcome.stored) == (OutcomeKind.LOST, False)
        assert outcome.failure is not None
        assert outcome.failure.type == "WorkerLostError"
        assert re.search(named, str(outcome.failure)), f"{outcome.failure} does not say how the process ended"
        for job in waiting:
            assert bench.outcome(job).kind is OutcomeKind.SUCCEEDED
            assert job.steps == ["prepare", "call", "finish"], "a job that waited is run exactly once"
        assert not bench.listener.outcomes(other.id), "another slot's job is harmed"
        bench.finish(other)
        assert bench.outcome(other).kind is OutcomeKind.SUCCEEDED
        bench.statistics_become(size=2, free=2, limit=2)
        assert not bench.listener.violations()

    @on_pool(slots=1)
    def test_the_only_process_may_die_again_and_again(self, bench: Bench) -> None:
        if not self._isolated:
            return
        jobs = [bench.submit(body=kills_itself if number % 2 else None) for number in range(6)]
        kinds = [bench.outcome(job).kind for job in jobs]
        assert kinds == [OutcomeKind.SUCCEEDED, OutcomeKind.LOST] * 3
        bench.still_works()

    @pytest.mark.parametrize("ending", ["stop", "terminate"])
    def test_no_process_is_left_after_the_end(self, ending: str) -> None:
        if not self.capabilities.runs_elsewhere:
            return
        before = _children()
        seen: set[int] = set()

        def scenario(bench: Bench) -> None:
            bench.outcome(bench.submit())
            bench.hold()
            seen.update(slot.pid for slot in bench.pool.statistics().slots if slot.pid)
            if ending == "stop":
                for job in bench.jobs:
                    job.release()
                assert bench.pool.stop(bench.patience)
            else:
                bench.pool.terminate()
            bench.eventually(lambda: not (_children() - before), f"all children have ended {_children() - before}")
            bench.eventually(lambda: not any(map(_lives, seen)), f"the processes {seen} have ended")

        with_bench(self, scenario, slots=2)
        assert seen

    @on_pool()
    def test_what_is_large_arrives_whole(self, bench: Bench) -> None:
        if not self.capabilities.runs_elsewhere:
            return
        value = os.urandom(LARGE)
        job = bench.submit(value=value)
        assert bench.outcome(job).kind is OutcomeKind.SUCCEEDED
        assert job.endings == [value]
        failure = Failure(type="Large", module="somewhere", traceback="x" * LARGE)
        scripted = Outcome(job_id="large", kind=OutcomeKind.FAILED, failure=failure, stored=True)
        assert bench.outcome(bench.submit(id="large", outcome=scripted)).failure == failure
        bench.still_works()

    @property
    def _isolated(self) -> bool:
        return self.capabilities.runs_elsewhere and self.capabilities.process_isolation


def _children() -> set[int]:
    """Return the processes that this one has started and that are not reaped; none where there is no /proc."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended since
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
