"""How many slots the policies want."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from worker_autoscale.load import PATIENCE, LoadPolicy
from worker_autoscale.resources import SHARE, ResourcesPolicy, Usage, usage_of
from worker_kernel import MemoryBudget, Resources

MIB = 1 << 20


class TestLoad:
    def test_an_idle_worker_wants_none_and_a_busy_one_what_it_has(self, settings: Any, load: Any) -> None:
        policy = LoadPolicy(settings())
        assert policy.wanted(load()) == 0
        assert policy.wanted(load(size=5, busy=3)) == 3

    def test_what_lies_at_the_broker_counts_whatever_is_prefetched(self, settings: Any, load: Any) -> None:
        policy = LoadPolicy(settings())
        assert policy.wanted(load(busy=1, depth=500)) == 501
        assert policy.wanted(load(busy=1, waiting=3, depth=0)) == 4

    def test_where_the_broker_does_not_tell_one_more_slot_will_show(self, settings: Any, load: Any) -> None:
        policy = LoadPolicy(settings())
        assert policy.wanted(load(size=4, busy=4, depth=None)) == 5

    def test_what_will_be_begun_in_a_moment_is_no_reason_to_grow(self, settings: Any, load: Any) -> None:
        policy = LoadPolicy(settings())
        assert policy.wanted(load(size=2, busy=2, depth=20, runtime=0.01)) == 2
        assert policy.wanted(load(size=2, busy=2, depth=2000, runtime=0.01)) == 2002
        assert policy.wanted(load(size=2, busy=2, depth=20, runtime=1.0)) == 22

    def test_a_message_that_waits_all_the_same_is(self, settings: Any, load: Any) -> None:
        short = {"size": 2, "busy": 2, "depth": 20, "runtime": 0.01}
        told, not_told = LoadPolicy(settings()), LoadPolicy(settings())
        assert told.wanted(load(**short, age=0.5)) == 2
        assert told.wanted(load(**short, age=PATIENCE)) == 22
        assert told.statistics() == {"qty": 22, "depth": 20, "age": PATIENCE}
        assert not_told.wanted(load(**short)) == 2
        assert not_told.wanted(load(**short, now=1000.0 + PATIENCE)) == 22
        not_told.wanted(load(now=1002.0))
        assert not_told.wanted(load(**short, now=1003.0)) == 2, "the queue has been empty in between"


class Machine:
    """What the policy reads, in memory."""

    def __init__(self, settings: Any, *, limit: int | None = 1000, cpus: float | None = 4.0, **given: Any) -> None:
        self.limit, self.used, self.cpus = limit, 100, cpus
        self.usages: dict[int, Usage] = {os.getpid(): Usage(memory=50 * MIB, cpu=0.0)}
        self.policy = ResourcesPolicy(settings(**given), read=self.read, usage=self.usages.get, cpus=lambda: 8)

    def read(self) -> Resources:
        memory = None
        if self.limit is not None:
            memory = MemoryBudget(limit=self.limit * MIB, used=self.used * MIB, source="cgroup /app")
        return Resources(cpus=self.cpus, memory=memory)

    def children(self, n: int, mib: int, cpu: float = 0.0) -> tuple[int, ...]:
        self.usages |= {10_000 + index: Usage(memory=mib * MIB, cpu=cpu) for index in range(n)}
        return tuple(10_000 + index for index in range(n))


class TestResources:
    def test_it_wants_what_the_load_policy_wants(self, settings: Any, load: Any) -> None:
        machine = Machine(settings)
        assert machine.policy.wanted(load(busy=2, depth=5)) == 7

    def test_no_more_children_than_fit_into_nine_tenths_of_the_memory(self, settings: Any, load: Any) -> None:
        machine = Machine(settings)
        machine.used = 400
        pids = machine.children(2, mib=100)
        assert machine.policy.ceiling(load(size=2, maximum=50, pids=pids)) == 2 + 5
        assert SHARE * 1000 - 400 == 500
        said = machine.policy.statistics()
        assert said["memory"] == {"limit": 900 * MIB, "used": 400 * MIB, "of": "cgroup /app"}

    def test_beyond_that_it_gives_slots_away_before_the_kernel_kills(self, settings: Any, load: Any) -> None:
        machine = Machine(settings)
        machine.used = 950
        pids = machine.children(8, mib=100)
        assert machine.policy.ceiling(load(size=8, pids=pids)) == 7
        machine.used = 3000
        assert machine.policy.ceiling(load(size=8, pids=pids)) == 1

    def test_a_budget_of_its_own_is_for_the_worker_and_its_children(self, settings: Any, load: Any) -> None:
        machine = Machine(settings, limit=None, worker_autoscale_memory=350 * 1024)
        pids = machine.children(2, mib=100)
        assert machine.policy.ceiling(load(size=2, pids=pids)) == 3

    def test_slots_in_the_worker_s_own_process_cost_what_it_has_grown_by(self, settings: Any, load: Any) -> None:
        machine = Machine(settings)
        machine.used = 100
        assert machine.policy.ceiling(load(size=4, maximum=10_000)) == 4 + 800, "so far each costs next to nothing"
        machine.usages[os.getpid()] = Usage(memory=450 * MIB, cpu=0.0)
        machine.used = 500
        assert machine.policy.ceiling(load(size=4)) == 4 + 4

    def test_it_does_not_grow_while_the_cpu_time_that_there_is_is_used_up(self, settings: Any, load: Any) -> None:
        machine = Machine(settings, cpus=2.0)
        pids = machine.children(2, mib=1, cpu=0.0)
        machine.policy.ceiling(load(size=2, pids=pids))
        machine.children(2, mib=1, cpu=0.5)
        assert machine.policy.ceiling(load(now=1001.0, size=2, pids=pids)) > 2
        machine.children(2, mib=1, cpu=1.5)
        assert machine.policy.ceiling(load(now=1002.0, size=2, pids=pids)) == 2
        assert machine.policy.statistics()["cpu"] == {"limit": 2.0, "used": 2.0}

    def test_where_memory_cannot_be_read_the_load_decides_and_a_warning_says_so(
        self, settings: Any, load: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        machine = Machine(settings, limit=None)
        assert [machine.policy.ceiling(load()) for _ in range(2)] == [10, 10]
        assert caplog.text.count("cannot find out what memory there is") == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc here")
def test_what_a_process_uses_is_read_from_proc() -> None:
    mine = usage_of(os.getpid())
    assert mine is not None
    assert MIB < mine.memory < 1 << 40
    assert mine.cpu > 0


def test_a_process_that_has_ended_uses_nothing_that_could_be_read(tmp_path: Path) -> None:
    assert usage_of(1, tmp_path) is None
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "statm").write_text("100 25 1")
    (tmp_path / "1" / "stat").write_text("1 (a ) odd name) S " + " ".join(str(number) for number in range(1, 40)))
    found = usage_of(1, tmp_path)
    assert found is not None
    assert found.memory == 25 * os.sysconf("SC_PAGE_SIZE")
    assert found.cpu == (11 + 12) / os.sysconf("SC_CLK_TCK")
