"""How each option is asked for, and what a pool lacks that refuses it.

`OPTION_SETTINGS` are the options that a pool declares an answer to. `TUNINGS` are settings that tune something which
not every pool has: where it is missing they are refused as well, because nothing would come of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import attrs

from .capabilities import Capabilities, Support
from .pool import PoolSpec
from .settings import Settings

AUTO = "auto"
"""The value of ``-P`` and of ``-c`` that leaves the choice to the worker."""
UNASKED = ("async_tasks", "beat", "cancel")
"""The options of `Capabilities` that no setting of a pool asks for: tasks do, the step ``beat``, and remote control."""


@attrs.frozen(kw_only=True)
class Option:
    """How an option of `Capabilities` is asked for."""

    setting: str
    """The setting that asks for it."""
    idle: tuple[object, ...] = (None, False)
    """The values of the setting that do not."""
    lacking: str
    """Why a pool refuses it, after the pool's name."""


@attrs.frozen(kw_only=True)
class Tuning:
    """A setting that only some pools can do anything with. Whoever gives it a value asks for it."""

    useful: Callable[[PoolSpec], bool]
    """Whether a pool can."""
    lacking: str
    """Why a pool cannot, after the pool's name."""


OPTION_SETTINGS: Mapping[str, Option] = MappingProxyType(
    {
        "concurrency": Option(setting="worker_concurrency", idle=(None, 1, AUTO), lacking="runs one task at a time"),
        "soft_time_limit": Option(setting="task_soft_time_limit", lacking="cannot raise a soft limit in a task"),
        "time_limit": Option(setting="task_time_limit", lacking="cannot end a task"),
        "resize": Option(setting="worker_autoscale", lacking="cannot resize"),
        "restart": Option(setting="worker_pool_restarts", lacking="cannot replace its slots while it runs"),
        "max_tasks_per_child": Option(
            setting="worker_max_tasks_per_child", lacking="cannot replace a slot after a number of runs"
        ),
        "max_memory_per_child": Option(
            setting="worker_max_memory_per_child", lacking="cannot replace what runs a slot when it has grown"
        ),
        "memory_limit": Option(
            setting="worker_memory_limit_per_child", lacking="cannot end a task whose process has grown"
        ),
        "putlocks": Option(setting="worker_pool_putlocks", lacking="has no queue to hold jobs back from"),
        "strategy": Option(
            setting="worker_optimization", idle=(None, "default"), lacking="has no scheduling strategies"
        ),
        "processes": Option(setting="worker_processes", lacking="runs tasks in the worker's own process"),
        "start_method": Option(setting="worker_pool_start_method", lacking="starts no child processes"),
    }
)
"""The options that a setting asks for, by name. ``beat`` is negotiated with its step; ``cancel`` is asked for later."""

_OTHER_LACKING = MappingProxyType(
    {
        "async_tasks": "cannot run async def tasks",
        "beat": "cannot have a scheduler beside it",
        "cancel": "cannot end a running job",
    }
)


def _in_child_processes(pool: PoolSpec) -> bool:
    return pool.capabilities.runs_elsewhere


def _ends_tasks(pool: PoolSpec) -> bool:
    return any(can(pool.capabilities, option) for option in ("time_limit", "cancel"))


def _slots_share_a_process(pool: PoolSpec) -> bool:
    """Whether something is left of the pool when one slot is stuck: prefork's children have one slot each."""
    where = pool.inner or pool
    return can(where.capabilities, "concurrency") and not where.capabilities.runs_elsewhere


def _has_a_green_loop(pool: PoolSpec) -> bool:
    return (pool.inner or pool).capabilities.is_green


TUNINGS: Mapping[str, Tuning] = MappingProxyType(
    {
        "worker_proc_alive_timeout": Tuning(useful=_in_child_processes, lacking="starts no child processes"),
        "worker_lost_wait": Tuning(useful=_in_child_processes, lacking="has no child processes that can be lost"),
        "worker_limit_grace": Tuning(useful=_ends_tasks, lacking="cannot end a task"),
        "worker_max_blocking_time": Tuning(
            useful=_has_a_green_loop, lacking="has no loop of greenlets that a task could hold"
        ),
        "worker_zombie_budget": Tuning(
            useful=_slots_share_a_process, lacking="has one slot in each process, which ends with a task that does not"
        ),
    }
)
"""By setting."""


def can(capabilities: Capabilities, option: str) -> bool:
    """Whether a pool with ``capabilities`` honours or emulates ``option``."""
    return capabilities.supports(option) is not Support.REFUSED


def lacking(option: str, pool: str) -> str:
    """Return why ``pool`` refuses ``option``, in words."""
    words = OPTION_SETTINGS[option].lacking if option in OPTION_SETTINGS else _OTHER_LACKING[option]
    return f"{pool} {words}"


def asked_for(settings: Settings, option: str) -> bool:
    """Whether somebody asks for ``option``, one of `OPTION_SETTINGS`."""
    how = OPTION_SETTINGS[option]
    return settings.given(how.setting) and settings[how.setting] not in how.idle


def refusals(settings: Settings, pool: PoolSpec) -> Iterator[str]:
    """Yield each setting that asks ``pool`` for what it refuses."""
    for option, how in OPTION_SETTINGS.items():
        if asked_for(settings, option) and not can(pool.capabilities, option):
            yield how.setting
    for setting, tuning in TUNINGS.items():
        if settings.given(setting) and not tuning.useful(pool):
            yield setting
