"""Which pool it is to be: the one that was named, the default one, or with ``-P auto`` the one that fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from .application import TaskOptions
from .capabilities import Fitness
from .errors import PluginNotFound
from .options import AUTO, can, refusals
from .platforms import Platform
from .pool import PoolSpec
from .settings import Settings

if TYPE_CHECKING:
    from .plugins.loading import Plugins

DEFAULT_POOLS = ("prefork", "threads", "solo")
"""The default pool is the first of these that is installed."""
DEFAULT_POOLS_ON_WINDOWS = ("threads", "solo", "prefork")
"""The same where processes cannot be forked."""
GREEN_POOLS = ("gevent", "eventlet")
"""What ``-P auto`` looks at next; pools by others come last, by name."""

_FITNESS = (Fitness.POOR, Fitness.GOOD, Fitness.EXCELLENT)
_NO_TASKS: Mapping[str, TaskOptions] = MappingProxyType({})


def choose_pool(
    settings: Settings, plugins: Plugins, platform: Platform, tasks: Mapping[str, TaskOptions] = _NO_TASKS
) -> tuple[PoolSpec, str]:
    """Return the pool that was asked for, or the default one, and why it is that one.

    Args:
        settings: as they were read.
        plugins: what is installed.
        platform: on Windows no process can be forked.
        tasks: what there is to run; ``-P auto`` looks at it.

    Raises:
        PluginNotFound: the pool is not installed, or none of the default ones is.
        PluginError: the pool that was asked for is installed and cannot be used.
    """
    name = settings.get_str("worker_pool")
    if name is None:
        pool, why = _default(plugins, platform)
    elif name == AUTO:
        pool, why = _fitting(settings, plugins, platform, tasks)
        why = f"{settings.spelled('worker_pool')}: {why}"
    else:
        pool, why = plugins.pool(name), str(settings.source("worker_pool"))
    return _hosted(pool, settings, plugins), why


def _hosted(pool: PoolSpec, settings: Settings, plugins: Plugins) -> PoolSpec:
    """Return the pool as it runs inside several processes, where that was asked for and another pool can host it."""
    if settings.get_int("worker_processes") is None:
        return pool
    return hosted(pool, plugins) or pool  # which refuses the option, and says what could


def hosted(pool: PoolSpec, plugins: Plugins) -> PoolSpec | None:
    """Return the pool as it runs with ``--processes``; itself where it has processes anyway, None where nothing can."""
    if can(pool.capabilities, "processes"):
        return pool
    host = next((spec for _, spec in sorted(plugins.pools.items()) if spec.hosting), None)
    if host is None:
        return None
    make = cast("Callable[[PoolSpec], PoolSpec]", plugins.load_object(host.hosting))
    return make(pool)


def _default(plugins: Plugins, platform: Platform) -> tuple[PoolSpec, str]:
    candidates = _defaults(platform)
    for candidate in candidates:
        if candidate in plugins.pools:
            return plugins.pools[candidate], f"default: first installed of {', '.join(candidates)}"
    others = ", ".join(sorted(plugins.pools))
    remedy = f"choose another with -P: {others}" if others else "install one: pip install worker-pool-threads"
    raise PluginNotFound(f"none of the default pools ({', '.join(candidates)}) is installed\n{remedy}")


def _defaults(platform: Platform) -> tuple[str, ...]:
    return DEFAULT_POOLS_ON_WINDOWS if platform.windows else DEFAULT_POOLS


# -- -P auto: first what the tasks cannot do without, then what was asked for, then what they say of themselves


def _fitting(
    settings: Settings, plugins: Plugins, platform: Platform, tasks: Mapping[str, TaskOptions]
) -> tuple[PoolSpec, str]:
    pools = list(_candidates(plugins, platform))
    if not pools:
        return _default(plugins, platform)
    asynchronous = sorted(name for name, options in tasks.items() if options.is_async)
    awaiting = [pool for pool in pools if can(pool.capabilities, "async_tasks")]
    if asynchronous and awaiting:
        pools = awaiting
    pool, why = _fittest(pools, tasks)
    # What refuses an option would end in an error: that is the last resort, which says so.
    able = [other for other in pools if not any(refusals(settings, _hosted(other, settings, plugins)))]
    if able and pool not in able:
        refusing = f"{pool.name} would refuse {next(refusals(settings, _hosted(pool, settings, plugins)))}"
        pool, why = _fittest(able, tasks)
        why += f", and {refusing}"
    if asynchronous and awaiting:
        why = f"{_first(asynchronous)} async def"
    return pool, why


def _candidates(plugins: Plugins, platform: Platform) -> Iterator[PoolSpec]:
    """Yield every pool that is meant for this platform, the default ones first."""
    known = (*_defaults(platform), *GREEN_POOLS)
    for name in (*known, *sorted(set(plugins.pools) - set(known))):
        pool = plugins.pools.get(name)
        if pool is not None and (pool.capabilities.windows or not platform.windows):
            yield pool


def _fittest(pools: Sequence[PoolSpec], tasks: Mapping[str, TaskOptions]) -> tuple[PoolSpec, str]:
    """Return what suits the tasks by what they declare; of equals the first."""
    computing = sorted(name for name, options in tasks.items() if options.workload == "cpu")
    silent = sorted(name for name, options in tasks.items() if options.workload is None)
    if computing:
        return max(pools, key=lambda pool: _FITNESS.index(pool.capabilities.cpu_bound)), f"{_first(computing)} cpu"
    if tasks and not silent:
        best = max(_FITNESS.index(pool.capabilities.io_bound) for pool in pools)
        fit = [pool for pool in pools if _FITNESS.index(pool.capabilities.io_bound) == best]
        light = [pool for pool in fit if pool.capabilities.memory_efficiency == "High"]
        return (light or fit)[0], "every task is declared io"
    return pools[0], f"{_first(silent)} not declared cpu or io" if silent else "no task is known"


def _first(names: Sequence[str]) -> str:
    """Return the subject of a sentence: one task, or how many."""
    return f"task {names[0]} is" if len(names) == 1 else f"{len(names)} tasks ({names[0]}, ...) are"
