"""``-c auto``: the smaller of CPUs, quota and what fits into memory, with its arithmetic."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from worker_kernel.capabilities import Capabilities, Support
from worker_kernel.cgroups import MemoryBudget, Resources
from worker_kernel.concurrency import GREEN_SLOTS_PER_CPU, Machine, measure, slots
from worker_kernel.core_settings import CORE_SETTINGS
from worker_kernel.platforms import Platform
from worker_kernel.pool import PoolSpec
from worker_kernel.settings import Layer, Settings, Source, Value

MIB = 1 << 20
NATIVE = Support.NATIVE


def pool(name: str, **can: Any) -> PoolSpec:
    return PoolSpec(name=name, cls="fake:Pool", capabilities=Capabilities(**can))


SOLO = pool("solo")
THREADS = pool("threads", concurrency=NATIVE)
GEVENT = pool("gevent", concurrency=NATIVE, is_green=True)
PREFORK = pool("prefork", concurrency=NATIVE, processes=NATIVE, runs_elsewhere=True)
HOSTED_GEVENT = attrs.evolve(PREFORK, name="gevent", inner=GEVENT)
HOSTED_THREADS = attrs.evolve(PREFORK, name="threads", inner=THREADS)


def settings(**given: object) -> Settings:
    source = Source(layer=Layer.COMMAND_LINE)
    values = {one.name: Value(value=one.default, source=Source(layer=Layer.DEFAULT)) for one in CORE_SETTINGS}
    values |= {name: Value(value=value, source=source) for name, value in given.items()}
    return Settings({one.name: one for one in CORE_SETTINGS}, values)


def machine(*, quota: float | None = None, free: int | None = None, size: int | None = 50 * MIB) -> Machine:
    memory = MemoryBudget(limit=1000 * MIB, used=1000 * MIB - free, source="cgroup /app") if free is not None else None
    return Machine(resources=Resources(cpus=quota, memory=memory), size=size)


def reckoned(spec: PoolSpec, at: Machine, *, cpus: int = 8, **given: object) -> tuple[int, str]:
    return slots(spec, settings(**given), Platform(name="linux", cpus=cpus, stop_signals={}), at)


@pytest.mark.parametrize(
    ("at", "number"),
    [
        (machine(free=900 * MIB), 8),
        (machine(free=900 * MIB, quota=3.0), 3),
        (machine(free=900 * MIB, quota=2.5), 3),
        (machine(free=900 * MIB, quota=0.25), 1),
        (machine(free=900 * MIB, quota=99.0), 8),
        (machine(free=320 * MIB), 6),
        (machine(free=120 * MIB, quota=3.0), 2),
        (machine(free=0), 1),
        (machine(free=None), 8),
        (machine(free=100 * MIB, size=None), 8),
    ],
)
def test_children_are_as_many_as_affinity_quota_and_memory_allow(at: Machine, number: int) -> None:
    assert reckoned(PREFORK, at)[0] == number


def test_the_arithmetic_is_told() -> None:
    number, why = reckoned(PREFORK, machine(free=320 * MIB, quota=7.5))
    left = "320 MiB left of 1000 MiB of cgroup /app / 50 MiB measured"
    assert number == 6
    assert why == f"the smaller of 8 CPUs [affinity 8, quota 7.5] and 6 children [{left}]"
    assert reckoned(PREFORK, machine(), cpus=1)[1] == "1 CPU [affinity 1, no quota]; memory is not known here"


@pytest.mark.parametrize("name", ["worker_max_memory_per_child", "worker_memory_limit_per_child"])
def test_a_child_that_may_grow_counts_with_what_it_may_grow_to(name: str) -> None:
    number, why = reckoned(PREFORK, machine(free=320 * MIB), **{name: 100 * 1024})
    assert number == 3
    assert f"100 MiB {name}" in why
    assert reckoned(PREFORK, machine(free=320 * MIB), **{name: 10 * 1024})[0] == 6, "less than it has already"


def test_slots_that_share_a_process_share_its_memory() -> None:
    assert reckoned(THREADS, machine(free=0, quota=2.0))[0] == 2
    assert reckoned(HOSTED_THREADS, machine(free=0, quota=2.0))[0] == 2


@pytest.mark.parametrize("spec", [GEVENT, HOSTED_GEVENT])
def test_greenlets_wait_so_there_are_many_for_each_cpu(spec: PoolSpec) -> None:
    number, why = reckoned(spec, machine(quota=2.0))
    assert number == 2 * GREEN_SLOTS_PER_CPU
    assert why == f"{GREEN_SLOTS_PER_CPU} greenlets for each of 2 CPUs [affinity 8, quota 2]"


def test_a_pool_of_one_slot_has_one() -> None:
    assert reckoned(SOLO, machine(free=900 * MIB)) == (1, "solo runs one task at a time")


def test_this_process_has_a_size_that_its_system_tells() -> None:
    size = measure().size
    assert size is None or 5 * MIB < size < 100_000 * MIB
