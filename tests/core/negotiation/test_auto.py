"""``-P auto`` takes the pool that fits what the tasks say of themselves, what was asked for, and the platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import pytest

from worker_kernel.application import TaskOptions
from worker_kernel.capabilities import Capabilities, Fitness, Support
from worker_kernel.cgroups import Resources
from worker_kernel.choosing import choose_pool
from worker_kernel.concurrency import Machine
from worker_kernel.errors import OptionRefused, PluginNotFound
from worker_kernel.negotiation import negotiate
from worker_kernel.platforms import Platform
from worker_kernel.plugins.declarations import Declared
from worker_kernel.plugins.loading import Plugins
from worker_kernel.pool import PoolSpec
from worker_kernel.settings import Settings

MakeSettings = Callable[..., Settings]
NATIVE = Support.NATIVE

SOLO = Capabilities(windows=True)
THREADS = Capabilities(io_bound=Fitness.GOOD, windows=True, concurrency=NATIVE)
GREEN = Capabilities(io_bound=Fitness.EXCELLENT, concurrency=NATIVE, is_green=True)
PREFORK = Capabilities(
    true_parallelism=True,
    cpu_bound=Fitness.EXCELLENT,
    io_bound=Fitness.GOOD,
    memory_efficiency="Moderate",
    concurrency=NATIVE,
    max_memory_per_child=NATIVE,
    runs_elsewhere=True,
)
ASYNCIO = attrs.evolve(GREEN, is_green=False, async_tasks=NATIVE)
POOLS = {
    "solo": SOLO, "threads": THREADS, "prefork": PREFORK, "gevent": GREEN, "eventlet": GREEN, "someone.aio": ASYNCIO,
}  # fmt: skip
OURS = ("solo", "threads", "prefork", "gevent", "eventlet")


def installed(*names: str) -> Plugins:
    pools = tuple(PoolSpec(name=name, cls=f"fake:{name}", capabilities=POOLS[name]) for name in names)
    return Plugins(declared=[Declared(pools=pools)])


def tasks(*kinds: str) -> Mapping[str, TaskOptions]:
    made = {}
    for number, kind in enumerate(kinds):
        workload = kind if kind in ("cpu", "io") else None
        made[f"t{number}"] = TaskOptions(name=f"t{number}", workload=workload, is_async=kind == "async")
    return made


@pytest.mark.parametrize(
    ("pools", "kinds", "chosen", "why"),
    [
        (OURS, ("cpu",), "prefork", "task t0 is cpu"),
        (OURS, ("io", "cpu", "cpu", ""), "prefork", "2 tasks (t1, ...) are cpu"),
        (("threads", "solo"), ("cpu",), "threads", "task t0 is cpu"),
        (OURS, ("io", "io"), "gevent", "every task is declared io"),
        (("solo", "eventlet"), ("io",), "eventlet", "every task is declared io"),
        (("solo", "threads", "prefork"), ("io",), "threads", "every task is declared io"),
        (("solo", "prefork"), ("io",), "prefork", "every task is declared io"),
        (OURS, ("io", ""), "prefork", "task t1 is not declared cpu or io"),
        (("solo", "gevent"), ("", ""), "solo", "2 tasks (t0, ...) are not declared cpu or io"),
        (("gevent",), ("",), "gevent", "task t0 is not declared cpu or io"),
        (("prefork", "someone.aio"), ("async", "cpu"), "someone.aio", "task t0 is async def"),
        (("prefork", "someone.aio"), ("",), "prefork", "task t0 is not declared cpu or io"),
    ],
)
def test_the_pool_fits_the_tasks(
    pools: tuple[str, ...], kinds: tuple[str, ...], chosen: str, why: str, make_settings: MakeSettings, linux: Platform
) -> None:
    spec, reason = choose_pool(make_settings(worker_pool="auto"), installed(*pools), linux, tasks(*kinds))
    assert (spec.name, reason) == (chosen, f"-P auto: {why}")


def test_on_windows_only_pools_that_are_meant_for_it_are_looked_at(
    make_settings: MakeSettings, windows: Platform
) -> None:
    for kinds in (("cpu",), ("io",), ("",)):
        spec, _ = choose_pool(make_settings(worker_pool="auto"), installed(*OURS), windows, tasks(*kinds))
        assert spec.name == "threads"


def test_a_pool_that_would_refuse_what_was_asked_for_is_passed_over(
    make_settings: MakeSettings, linux: Platform
) -> None:
    settings = make_settings(worker_pool="auto", worker_max_memory_per_child="100MB")
    spec, why = choose_pool(settings, installed(*OURS), linux, tasks("io"))
    assert spec.name == "prefork"
    assert why == "-P auto: every task is declared io, and gevent would refuse worker_max_memory_per_child"


def test_where_every_pool_would_refuse_the_refusal_is_told(make_settings: MakeSettings, linux: Platform) -> None:
    settings = make_settings(worker_pool="auto", worker_max_memory_per_child="100MB")
    plugins = installed("solo", "threads")
    spec, why = choose_pool(settings, plugins, linux, tasks("io"))
    with pytest.raises(OptionRefused, match="threads cannot replace what runs a slot"):
        negotiate(settings, spec, plugins=plugins, tasks={}, platform=linux, best_effort=False, why_pool=why)


def test_with_processes_the_pool_that_fits_is_hosted(make_settings: MakeSettings, linux: Platform) -> None:
    pytest.importorskip("worker_pool_prefork")
    host = PoolSpec(
        name="prefork",
        cls="fake:prefork",
        capabilities=attrs.evolve(PREFORK, processes=NATIVE),
        hosting="worker_pool_prefork.capabilities:hosted",
    )
    green = PoolSpec(name="gevent", cls="fake:gevent", capabilities=GREEN)
    plugins = Plugins(declared=[Declared(pools=(green, host))])
    settings = make_settings(worker_pool="auto", worker_processes="2", worker_max_memory_per_child="100MB")
    spec, why = choose_pool(settings, plugins, linux, tasks("io"))
    assert (spec.name, spec.inner, spec.capabilities.is_green) == ("gevent", green, False)
    assert why == "-P auto: every task is declared io"


def test_async_tasks_that_no_pool_can_run_are_refused_as_ever(make_settings: MakeSettings, linux: Platform) -> None:
    settings, plugins = make_settings(worker_pool="auto"), installed(*OURS)
    spec, why = choose_pool(settings, plugins, linux, tasks("async"))
    with pytest.raises(OptionRefused, match="async def of task t0"):
        negotiate(
            settings, spec, plugins=plugins, tasks=tasks("async"), platform=linux, best_effort=False, why_pool=why
        )


def test_without_any_pool_it_is_said_what_to_install(make_settings: MakeSettings, linux: Platform) -> None:
    with pytest.raises(PluginNotFound, match="pip install worker-pool-threads"):
        choose_pool(make_settings(worker_pool="auto"), Plugins(), linux, tasks("io"))


@pytest.mark.parametrize(("given", "number"), [({}, 200), ({"worker_concurrency": "7"}, 7)])
def test_who_leaves_the_pool_to_the_worker_leaves_it_the_number_too(
    given: dict[str, object], number: int, make_settings: MakeSettings, linux: Platform
) -> None:
    settings, plugins = make_settings(worker_pool="auto", **given), installed(*OURS)
    spec, why = choose_pool(settings, plugins, linux, tasks("io"))
    negotiated = negotiate(
        settings, spec, plugins=plugins, tasks=tasks("io"), platform=linux, best_effort=False, why_pool=why,
        machine=lambda: Machine(resources=Resources(cpus=2.0, memory=None), size=None),
    )  # fmt: skip
    assert negotiated.concurrency == number
    assert negotiated.settings["worker_pool"] == "gevent"
    assert str(negotiated.settings.source("worker_pool")) == "-P auto: every task is declared io"
