"""``--processes``: which pool comes out, what it can do then, and what contradicts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from worker_kernel.capabilities import OPTIONS, Effect, Support
from worker_kernel.choosing import choose_pool
from worker_kernel.core_settings import CORE_SETTINGS
from worker_kernel.errors import OptionRefused, SettingsError, UsageError
from worker_kernel.negotiation import Negotiated, negotiate
from worker_kernel.platforms import Platform
from worker_kernel.plugins.declarations import Declared
from worker_kernel.plugins.loading import Plugins
from worker_kernel.pool import PoolConfig, PoolSpec
from worker_kernel.sources import read_settings
from worker_kernel.testing import RecordingListener
from worker_kernel.testing.bench import options_elsewhere
from worker_pool_prefork import pools
from worker_pool_prefork.capabilities import hosted
from worker_pool_prefork.pool import PreforkPool
from worker_pool_threads import pools as threads_pools

MACHINE = Platform(name="linux", cpus=4, stop_signals={})
Bring = Callable[..., tuple[PoolSpec, Negotiated]]


@pytest.fixture
def threads() -> PoolSpec:
    (spec,) = threads_pools()
    return spec


@pytest.fixture
def bring(tmp_path: Path, threads: PoolSpec) -> Bring:
    """Choose a pool by what is on the command line, and negotiate."""

    def brought(*installed: PoolSpec, **line: str) -> tuple[PoolSpec, Negotiated]:
        plugins = Plugins(declared=[Declared(pools=installed or (*pools(), threads))])
        spellings = {setting.name: (setting.options or (setting.name,))[0] for setting in CORE_SETTINGS}
        given = {name: (spellings[name], value) for name, value in line.items()}
        settings, _ = read_settings(CORE_SETTINGS, environ={}, command_line=given, directory=tmp_path)
        pool, why = choose_pool(settings, plugins, MACHINE)
        return pool, negotiate(
            settings, pool, plugins=plugins, tasks={}, platform=MACHINE, best_effort=False, why_pool=why
        )

    return brought


def test_another_pool_with_processes_is_run_inside_by_this_one(bring: Bring, threads: PoolSpec) -> None:
    spec, negotiated = bring(worker_pool="threads", worker_processes="2", worker_concurrency="8")
    assert (spec.name, spec.cls, spec.inner) == ("threads", "worker_pool_prefork.pool:PreforkPool", threads)
    assert negotiated.concurrency == 8


def test_without_processes_it_stays_as_it_is(bring: Bring, threads: PoolSpec) -> None:
    assert bring(worker_pool="threads", worker_concurrency="8")[0] == threads


def test_where_nothing_can_host_it_processes_are_refused(bring: Bring, threads: PoolSpec) -> None:
    with pytest.raises(OptionRefused, match="--processes 2"):
        bring(threads, worker_pool="threads", worker_processes="2")


def test_what_a_process_can_do_comes_on_top_of_what_the_pool_can_do(threads: PoolSpec) -> None:
    own, told = threads.capabilities, hosted(threads).capabilities
    for option in OPTIONS:
        assert told.supports(option) is not Support.REFUSED or own.supports(option) is Support.REFUSED, option
    for option in ("memory_limit", "max_memory_per_child", "max_tasks_per_child", "restart", "processes"):
        assert told.supports(option) is Support.NATIVE
    assert told.process_isolation
    assert told.runs_elsewhere
    assert Effect.PROCESS_ENDS not in told.hard_effects.values(), "the worker's own process never ends for a task"
    assert told.soft_effects == own.soft_effects


def test_by_default_there_is_a_slot_for_each_cpu_and_at_least_one_for_each_process(bring: Bring) -> None:
    assert bring(worker_pool="threads", worker_processes="2")[1].concurrency == 4
    assert bring(worker_pool="threads", worker_processes="6")[1].concurrency == 6
    assert bring(worker_pool="prefork", worker_processes="3")[1].concurrency == 3


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"worker_pool": "prefork", "worker_processes": "2", "worker_concurrency": "3"}, "one slot in each process"),
        ({"worker_pool": "threads", "worker_processes": "3", "worker_concurrency": "2"}, "each process needs a slot"),
    ],
)
def test_slots_and_processes_that_do_not_go_together_are_refused(bring: Bring, line: dict[str, str], why: str) -> None:
    with pytest.raises(SettingsError, match=rf"--processes \d contradicts -c \d: .*{why}"):
        bring(**line)


def test_a_green_pool_inside_wants_a_fresh_interpreter(threads: PoolSpec) -> None:
    green = attrs.evolve(threads, name="gevent", capabilities=attrs.evolve(threads.capabilities, is_green=True))
    with pytest.raises(UsageError, match="start method fork is refused: gevent has to patch"):
        PreforkPool(
            PoolConfig(
                limit=2,
                listener=RecordingListener(),
                hosted=green,
                options={"worker_pool_start_method": "fork"},
            )
        )


def test_the_pool_inside_is_told_its_settings(threads: PoolSpec) -> None:
    options = {"worker_max_blocking_time": 3.5, "worker_queues": ("a", "b"), "worker_pool_start_method": None}
    pool = PreforkPool(
        PoolConfig(limit=2, listener=RecordingListener(), hosted=threads, options=options, **options_elsewhere())
    )
    assert pool._crew._orders.options == {"worker_max_blocking_time": 3.5, "worker_pool_start_method": None}
    pool.terminate()
