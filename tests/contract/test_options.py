"""Every option on every pool that is installed, by itself and with ``--processes``: honoured, emulated or refused.

The whole product is walked. What is not refused has to be seen: in the configuration that the pool is built from, and
in a promise of the conformance kit, which each pool is tested with. An option that nobody has placed fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

from worker_kernel import (
    BlueprintName,
    OptionNeedsStep,
    OptionRefused,
    PoolConfig,
    PoolSpec,
    Setting,
    SettingsError,
    StepContext,
    StepSpec,
    TaskOptions,
)
from worker_kernel.capabilities import OPTIONS, Support
from worker_kernel.choosing import choose_pool, hosted
from worker_kernel.core_settings import CORE_SETTINGS
from worker_kernel.kernelsteps import POOL_STEP
from worker_kernel.negotiation import Negotiated, negotiate
from worker_kernel.options import OPTION_SETTINGS, TUNINGS, UNASKED, can
from worker_kernel.platforms import Platform
from worker_kernel.plugins.declarations import Declared
from worker_kernel.plugins.loading import Plugins
from worker_kernel.poolstep import PoolStep
from worker_kernel.sources import read_settings
from worker_kernel.testing import FakePool, PoolContract
from worker_kernel.testing.fake_application import app
from worker_kernel.unhonoured import UNHONOURED
from worker_kernel.worker import Worker
from worker_kernel.worker_settings import POOL

ROOT = Path(__file__).parents[2]
LINUX = Platform(name="linux", cpus=2, stop_signals={})


@attrs.frozen
class Ask:
    """How an option is asked for, and where it shows that it has arrived."""

    given: Mapping[str, object]
    """Settings as on the command line."""
    field: str
    """What of the pool's configuration carries it: a field, or a name in its ``options``."""
    expected: object
    """What that is then, and not by default."""
    promise: str = ""
    """The kit's test of what comes of it."""


ASKS: Mapping[str, Ask] = {
    "concurrency": Ask({"worker_concurrency": "4"}, "limit", 4, "test_all_slots_run_at_once"),
    "soft_time_limit": Ask(
        {"task_soft_time_limit": "1.5"},
        "soft_time_limit",
        1.5,
        "test_the_pool_s_own_soft_limit_is_the_default",
    ),
    "time_limit": Ask(
        {"task_time_limit": "2.5"},
        "time_limit",
        2.5,
        "test_the_pool_s_own_hard_limit_is_the_default",
    ),
    "resize": Ask({"worker_autoscale": "7,3"}, "limit", 3, "test_grow_adds_slots_at_once"),
    "restart": Ask(
        {"worker_pool_restarts": "yes"},
        "allow_restart",
        True,
        "test_restart_replaces_each_slot_once_its_job_has_ended",
    ),
    "max_tasks_per_child": Ask(
        {"worker_max_tasks_per_child": "5"},
        "max_tasks_per_child",
        5,
        "test_a_slot_is_replaced_after_its_number_of_runs",
    ),
    "max_memory_per_child": Ask({"worker_max_memory_per_child": "64MiB"}, "max_memory_per_child", 64 << 20),
    "memory_limit": Ask({"worker_memory_limit_per_child": "96MiB"}, "memory_limit", 96 << 20),
    "putlocks": Ask(
        {"worker_pool_putlocks": "no"},
        "putlocks",
        False,
        "test_never_more_jobs_run_than_there_are_slots",
    ),
    "strategy": Ask({"worker_optimization": "fair"}, "strategy", "fair"),
    "processes": Ask({"worker_processes": "1"}, "processes", 1),
    "start_method": Ask({"worker_pool_start_method": "spawn"}, "worker_pool_start_method", "spawn"),
}
"""For each option that a setting asks for."""
TUNING_ASKS: Mapping[str, Ask] = {
    "worker_proc_alive_timeout": Ask({"worker_proc_alive_timeout": "7"}, "worker_proc_alive_timeout", 7.0),
    "worker_lost_wait": Ask({"worker_lost_wait": "7"}, "lost_wait", 7.0),
    "worker_limit_grace": Ask(
        {"worker_limit_grace": "7"},
        "limit_grace",
        7.0,
        "test_a_task_that_swallows_everything_is_ended_all_the_same",
    ),
    "worker_max_blocking_time": Ask({"worker_max_blocking_time": "7"}, "worker_max_blocking_time", 7.0),
    "worker_zombie_budget": Ask(
        {"worker_zombie_budget": "7"}, "zombie_budget", 7, "test_too_many_zombies_end_the_process"
    ),
}
"""For each setting that tunes something."""
PROMISED_ELSEWHERE = {
    "max_memory_per_child": ("tests/system/test_prefork.py", "max_memory_per_child"),
    "memory_limit": ("tests/plugins/prefork/test_pool.py", "memory_limit"),
    "strategy": ("tests/plugins/prefork/test_schedule.py", "strategy"),
    "processes": ("tests/system/test_hosted_green.py", "--processes"),
    "start_method": ("tests/contract/test_prefork.py", "worker_pool_start_method"),
    "worker_proc_alive_timeout": ("tests/plugins/prefork/test_pool.py", "worker_proc_alive_timeout"),
    "worker_lost_wait": ("tests/plugins/prefork/test_crew.py", "lost_wait"),
    "worker_max_blocking_time": ("tests/core/test_loopwatch.py", "patience"),
}
"""What only one family of pools has is tested with that: where, and a word that stands there."""
UNASKED_PROMISES = {
    "async_tasks": "test_async_jobs_are_awaited_or_fail_with_the_reason",
    "cancel": "test_a_running_job_is_cancelled_or_the_pool_refuses",
}
NOT_OF_A_POOL = {
    "worker_pool": "it is the pool",
    "worker_autoscaler": "it goes with worker_autoscale, and is refused without",
}
"""Settings of the group that no pool answers."""


FILLED_IN = {
    "ahead", "app", "boot", "child_exit", "child_init", "clock", "hosted", "listener", "max_restarts", "node_name",
    "options", "semaphore", "slot_end", "slot_start", "threaded", "upkeep",
}  # fmt: skip
"""Fields of the configuration that the worker fills in by itself."""
CONTRADICTIONS = {("prefork --processes 2", "resize"): "prefork has one slot in each process"}
"""What cannot be meant, and is an error though the pool can do either."""


class Recorder(FakePool):
    """Stands in for every pool, to look at what it would be built from."""

    last: ClassVar[PoolConfig]

    def __init__(self, config: PoolConfig) -> None:
        type(self).last = config
        super().__init__(config)


INSTALLED = Plugins.load(environ={})
AUTOSCALER = StepSpec(name="autoscaler", blueprint=BlueprintName.WORKER, factory="worker_kernel:Step")
PLUGINS = Plugins(declared=[Declared(pools=tuple(INSTALLED.pools.values()), steps=(POOL_STEP, AUTOSCALER))])
"""The pools that are installed, and every step that an option needs."""
OURS = [name for name in ("solo", "threads", "prefork", "gevent", "eventlet") if name in PLUGINS.pools]
VARIANTS = [*OURS, *(f"{name} --processes 2" for name in OURS)]
"""prefork has processes by itself; with the option it has a number of them."""


def asking(variant: str) -> dict[str, object]:
    name, _, processes = variant.partition(" --processes ")
    return {"worker_pool": name, **({"worker_processes": processes} if processes else {})}


def both(variant: str, ask: Ask) -> dict[str, object]:
    """Pool and option; numbers of slots and of processes agree where each process has one slot."""
    given = {**asking(variant), **ask.given}
    if variant == "prefork --processes 2" and "worker_concurrency" in given:
        given["worker_processes"] = given["worker_concurrency"]
    return given


def spec_of(variant: str) -> PoolSpec:
    name, _, processes = variant.partition(" --processes ")
    spec = hosted(PLUGINS.pools[name], PLUGINS) if processes else PLUGINS.pools[name]
    assert spec is not None
    return spec


def brought(
    folder: Path, given: Mapping[str, object], *, tasks: Mapping[str, TaskOptions] | None = None, effort: bool = False
) -> tuple[PoolSpec, Negotiated]:
    spellings = {setting.name: (setting.options or (setting.name,))[0] for setting in CORE_SETTINGS}
    line = {name: (spellings[name], raw) for name, raw in given.items()}
    settings, _ = read_settings(CORE_SETTINGS, environ={}, command_line=line, directory=folder)
    spec, why = choose_pool(settings, PLUGINS, LINUX)
    return spec, negotiate(
        settings, spec, plugins=PLUGINS, tasks=tasks or {}, platform=LINUX, best_effort=effort, why_pool=why
    )


def configured(spec: PoolSpec, negotiated: Negotiated) -> Mapping[str, object]:
    """What the pool is built from, by the step that builds it: the fields, and the settings in ``options``."""
    recording = attrs.evolve(spec, cls=f"{__name__}:Recorder")
    worker = Worker(app, negotiated.settings, PLUGINS, pool=recording, platform=LINUX)
    PoolStep().create(StepContext(worker, frozenset({"hub"}), {}))
    config = Recorder.last
    return {**config.options, **{field.name: getattr(config, field.name) for field in attrs.fields(PoolConfig)}}


def test_every_option_has_been_placed() -> None:
    assert {*ASKS, *UNASKED} == set(OPTIONS), "an option of the capabilities"
    assert set(OPTION_SETTINGS) == set(ASKS)
    assert set(TUNINGS) == set(TUNING_ASKS)
    assert set(UNASKED) == {*UNASKED_PROMISES, "beat"}
    answered = {*(option.setting for option in OPTION_SETTINGS.values()), *TUNINGS}
    assert {setting.name for setting in POOL} - answered == set(NOT_OF_A_POOL), "a setting of the group of pools"
    of_pools = {setting.name for setting in INSTALLED.settings if setting.owner.startswith("worker-pool-")}
    assert of_pools <= {*answered, *NOT_OF_A_POOL}, "a setting that a pool's distribution declares"


def test_every_field_of_a_pools_configuration_has_been_placed() -> None:
    carried = {ask.field for ask in (*ASKS.values(), *TUNING_ASKS.values())}
    fields = {field.name for field in attrs.fields(PoolConfig)}
    assert fields - carried == FILLED_IN


def test_every_promise_is_one_that_is_tested() -> None:
    for name, ask in (*ASKS.items(), *TUNING_ASKS.items()):
        assert bool(ask.promise) is (name not in PROMISED_ELSEWHERE), name
        assert not ask.promise or callable(getattr(PoolContract, ask.promise)), name
    for promise in UNASKED_PROMISES.values():
        assert callable(getattr(PoolContract, promise))
    for where, word in PROMISED_ELSEWHERE.values():
        assert word in (ROOT / where).read_text(encoding="utf-8"), f"{where} says nothing of {word}"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("option", [*ASKS, *TUNING_ASKS])
def test_an_option_is_carried_to_the_pool_or_refused_with_the_pools_that_can(
    option: str, variant: str, tmp_path: Path
) -> None:
    ask = {**ASKS, **TUNING_ASKS}[option]
    spec = spec_of(f"{variant} --processes 1" if option == "processes" and "--" not in variant else variant)
    given = both(variant, ask)
    if (variant, option) in CONTRADICTIONS:
        with pytest.raises(SettingsError, match=CONTRADICTIONS[variant, option]):
            brought(tmp_path, given)
    elif answers(spec, option):
        before = configured(*brought(tmp_path, asking(variant)))
        spec, negotiated = brought(tmp_path, given)
        assert negotiated.warnings == ()
        (verdict,) = [verdict for verdict in negotiated.verdicts if verdict.option == option]
        assert verdict.support is not Support.REFUSED
        if option in OPTIONS:
            assert verdict.support is spec.capabilities.supports(option)
        after = configured(spec, negotiated)
        assert before[ask.field] != ask.expected == after[ask.field]
    else:
        with pytest.raises(OptionRefused) as caught:
            brought(tmp_path, given)
        assert caught.value.exit_code == 2
        assert len(str(caught.value).splitlines()) <= 5
        assert set(caught.value.able) == {name for name in PLUGINS.pools if answers(PLUGINS.pools[name], option)}
        spec, negotiated = brought(tmp_path, given, effort=True)
        (warning,) = negotiated.warnings
        assert "is left out (--best-effort): " in warning
        before = configured(*brought(tmp_path, asking(variant)))
        assert configured(spec, negotiated)[ask.field] == before[ask.field] != ask.expected


def answers(spec: PoolSpec, option: str) -> bool:
    """Whether a pool honours or emulates an option, by what it declares."""
    return TUNINGS[option].useful(spec) if option in TUNINGS else can(spec.capabilities, option)


@pytest.mark.parametrize("variant", VARIANTS)
def test_async_tasks_are_run_or_refused_by_name(variant: str, tmp_path: Path) -> None:
    tasks = {"later": TaskOptions(name="later", is_async=True)}
    if can(spec_of(variant).capabilities, "async_tasks"):
        assert brought(tmp_path, asking(variant), tasks=tasks)[1].warnings == ()
        return
    with pytest.raises(OptionRefused, match="async def of task later is refused"):
        brought(tmp_path, asking(variant), tasks=tasks)
    (warning,) = brought(tmp_path, asking(variant), tasks=tasks, effort=True)[1].warnings
    assert "they will fail with UnsupportedOption" in warning


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_scheduler_beside_the_pool_is_refused_while_no_step_is_one(variant: str, tmp_path: Path) -> None:
    given = {**asking(variant), "worker_beat": True}
    words = "-B option doesn't work with eventlet/gevent" if spec_of(variant).capabilities.is_green else "step 'beat'"
    with pytest.raises(OptionRefused, match=words):
        brought(tmp_path, given)
    _, negotiated = brought(tmp_path, given, effort=True)
    assert len(negotiated.warnings) == 1
    assert negotiated.settings["worker_beat"] is False


@pytest.mark.parametrize("setting", UNHONOURED, ids=lambda setting: setting.name)
def test_what_no_pool_and_no_plugin_honours_is_refused_with_a_reason(setting: Setting, tmp_path: Path) -> None:
    raw = next(raw for raw in ("yes", "no", "something") if value_of(setting, raw) not in (*setting.idle, ERROR))
    with pytest.raises((OptionRefused, OptionNeedsStep)) as caught:
        brought(tmp_path, {"worker_pool": "threads", setting.name: raw})
    assert len(str(caught.value).splitlines()) <= 5
    _, negotiated = brought(tmp_path, {"worker_pool": "threads", setting.name: raw}, effort=True)
    assert any(setting.name in warning or warning.startswith("-") for warning in negotiated.warnings)
    assert not negotiated.settings.given(setting.name)


ERROR = object()


def value_of(setting: Setting, raw: str) -> object:
    try:
        return setting.parse(raw)
    except ValueError:
        return ERROR
