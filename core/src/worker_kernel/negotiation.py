"""Brings options and pool together: each option is honoured, emulated or refused, never ignored.

An option that the chosen pool refuses is an error at boot where it was given at least as close to the user as the
pool was (``-c 3 -P solo``). Inherited from further away (``worker_concurrency = 8`` in a file, under ``-P solo``) it is
left out with one warning. ``--best-effort`` leaves out, with a warning each, whatever would be an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import attrs

from .application import TaskOptions
from .capabilities import OPTIONS, Capabilities, Support
from .errors import KernelError, OptionNeedsStep, OptionRefused, PluginNotFound, SettingsError
from .platforms import Platform
from .pool import PoolSpec
from .settings import Setting, Settings

if TYPE_CHECKING:
    from .plugins.loading import Plugins

DEFAULT_POOLS = ("prefork", "threads", "solo")
"""The default pool is the first of these that is installed."""
DEFAULT_POOLS_ON_WINDOWS = ("threads", "solo", "prefork")
"""The same where processes cannot be forked."""

GREEN_BEAT = "-B option doesn't work with eventlet/gevent pools: use standalone beat instead."


@attrs.frozen(kw_only=True)
class _Option:
    """How an option of `Capabilities` is asked for."""

    setting: str
    """The setting that asks for it."""
    idle: tuple[object, ...] = (None, False)
    """The values of the setting that do not."""
    lacking: str
    """Why a pool refuses it, after the pool's name."""


OPTION_SETTINGS: Mapping[str, _Option] = MappingProxyType(
    {
        "concurrency": _Option(setting="worker_concurrency", idle=(None, 1), lacking="runs one task at a time"),
        "soft_time_limit": _Option(setting="task_soft_time_limit", lacking="cannot raise a soft limit in a task"),
        "time_limit": _Option(setting="task_time_limit", lacking="cannot end a task"),
        "resize": _Option(setting="worker_autoscale", lacking="cannot resize"),
        "restart": _Option(setting="worker_pool_restarts", lacking="cannot replace its slots while it runs"),
        "max_tasks_per_child": _Option(
            setting="worker_max_tasks_per_child", lacking="cannot replace a slot after a number of runs"
        ),
        "max_memory_per_child": _Option(
            setting="worker_max_memory_per_child", lacking="cannot replace what runs a slot when it has grown"
        ),
        "memory_limit": _Option(
            setting="worker_memory_limit_per_child", lacking="cannot end a task whose process has grown"
        ),
        "putlocks": _Option(setting="worker_pool_putlocks", lacking="has no queue to hold jobs back from"),
        "strategy": _Option(
            setting="worker_optimization", idle=(None, "default"), lacking="has no scheduling strategies"
        ),
        "processes": _Option(setting="worker_processes", lacking="runs tasks in the worker's own process"),
        "start_method": _Option(setting="worker_pool_start_method", lacking="starts no child processes"),
    }
)
"""The options that a setting asks for, by name. ``beat`` is negotiated with its step; ``cancel`` is asked for later."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What has become of one option."""

    option: str
    """A name of `OPTIONS`, or of a setting that belongs to no pool."""
    support: Support
    """How the pool, or the worker, deals with it."""
    asked: str = ""
    """How it was asked for: ``-c 3``; empty where it was not."""
    note: str = ""
    """Why or how, where there is something to say."""


@attrs.frozen(kw_only=True)
class Negotiated:
    """The settings as they hold for the chosen pool."""

    settings: Settings
    """With ``worker_pool`` and ``worker_concurrency`` filled in, and without what was left out."""
    concurrency: int
    """Slots to start with (>= 1)."""
    verdicts: tuple[Verdict, ...]
    """One for each of `OPTIONS`, then one for each other setting that had to be looked at."""
    warnings: tuple[str, ...]
    """One line for each thing that does not hold as it was given."""


def choose_pool(settings: Settings, plugins: Plugins, platform: Platform) -> tuple[PoolSpec, str]:
    """Return the pool that was asked for, or the default one, and why it is that one.

    Raises:
        PluginNotFound: the pool is not installed, or none of the default ones is.
        PluginError: the pool that was asked for is installed and cannot be used.
    """
    pool, why = _named_or_default(settings, plugins, platform)
    return _hosted(pool, settings, plugins), why


def _hosted(pool: PoolSpec, settings: Settings, plugins: Plugins) -> PoolSpec:
    """Return the pool as it runs inside several processes, where that was asked for and another pool can host it."""
    if settings.get_int("worker_processes") is None or can(pool.capabilities, "processes"):
        return pool
    host = next((spec for _, spec in sorted(plugins.pools.items()) if spec.hosting), None)
    if host is None:
        return pool  # which refuses the option, and says what could
    make = cast("Callable[[PoolSpec], PoolSpec]", plugins.load_object(host.hosting))
    return make(pool)


def _named_or_default(settings: Settings, plugins: Plugins, platform: Platform) -> tuple[PoolSpec, str]:
    name = settings.get_str("worker_pool")
    if name is not None:
        return plugins.pool(name), str(settings.source("worker_pool"))
    candidates = DEFAULT_POOLS_ON_WINDOWS if platform.windows else DEFAULT_POOLS
    for candidate in candidates:
        if candidate in plugins.pools:
            return plugins.pools[candidate], f"default: first installed of {', '.join(candidates)}"
    others = ", ".join(sorted(plugins.pools))
    remedy = f"choose another with -P: {others}" if others else "install one: pip install worker-pool-threads"
    raise PluginNotFound(f"none of the default pools ({', '.join(candidates)}) is installed\n{remedy}")


def negotiate(
    settings: Settings,
    pool: PoolSpec,
    *,
    plugins: Plugins,
    tasks: Mapping[str, TaskOptions],
    platform: Platform,
    best_effort: bool,
    why_pool: str = "",
) -> Negotiated:
    """Bring settings, tasks and pool together.

    Args:
        settings: as they were read.
        pool: the chosen pool.
        plugins: the other pools, and the steps that there are.
        tasks: the application's tasks with their own options.
        platform: for the default concurrency.
        best_effort: leave out what would be an error.
        why_pool: the reason that `choose_pool` gave.

    Raises:
        OptionRefused: an option, or an option of a task, cannot be had; others stand in a note.
        OptionNeedsStep: an option needs a plugin that is not installed.
        SettingsError: settings contradict each other.
    """
    work = _Negotiation(settings, pool, plugins, best_effort=best_effort)
    work.options()
    work.beyond_pools()
    work.tasks(tasks)
    work.conclude()
    work.limits()
    concurrency = work.concurrency(platform)
    work.prefetch(concurrency)
    if why_pool:
        work.settings = work.settings.replacing("worker_pool", pool.name, why_pool)
    return Negotiated(
        settings=work.settings,
        concurrency=concurrency,
        verdicts=tuple(work.verdicts),
        warnings=tuple(work.warnings),
    )


def lacking(option: str, pool: str) -> str:
    """Return why ``pool`` refuses ``option``, in words."""
    words = OPTION_SETTINGS[option].lacking if option in OPTION_SETTINGS else _OTHER_LACKING[option]
    return f"{pool} {words}"


_OTHER_LACKING = MappingProxyType(
    {
        "async_tasks": "cannot run async def tasks",
        "beat": "cannot have a scheduler beside it",
        "cancel": "cannot end a running job",
    }
)


class _Negotiation:
    """One negotiation, while it goes on."""

    def __init__(self, settings: Settings, pool: PoolSpec, plugins: Plugins, *, best_effort: bool) -> None:
        self.settings = settings
        self.pool = pool
        self.verdicts: list[Verdict] = []
        self.warnings: list[str] = []
        self._plugins = plugins
        self._best_effort = best_effort
        self._errors: list[tuple[str, KernelError]] = []

    def options(self) -> None:
        """Judge every option of the pool."""
        for name in OPTIONS:
            support = self.pool.capabilities.supports(name)
            option = OPTION_SETTINGS.get(name)
            asked = ""
            if option is not None and self._asked(option.setting, option.idle):
                asked = self.settings.spelled(option.setting)
            self.verdicts.append(Verdict(option=name, support=support, asked=asked))
            if option is not None and asked and support is Support.REFUSED:
                self._refuse_option(name, option, asked)

    def _refuse_option(self, name: str, option: _Option, asked: str) -> None:
        reason = lacking(name, self.pool.name)
        if self.settings.source(option.setting).layer < self.settings.source("worker_pool").layer:
            self._leave_out(option.setting, f"{asked} is left out: {reason}")
        else:
            self._refuse(option.setting, OptionRefused(asked, self.pool.name, reason, self._able(name)))

    def beyond_pools(self) -> None:
        """Judge what no pool decides: settings that need a step, and those that are never honoured."""
        steps = {name for step in self._plugins.steps for name in (step.name, *step.provides)}
        for name, setting in self.settings.declared.items():
            if not (setting.refused or setting.step):
                continue
            if not self._asked(name, setting.idle) or self._refused_already(name):
                continue
            asked = self.settings.spelled(name)
            error = self._beyond(setting, asked, steps)
            support = Support.NATIVE if error is None else Support.REFUSED
            self.verdicts.append(Verdict(option=name, support=support, asked=asked, note=setting.refused))
            if error is not None:
                self._refuse(name, error)

    def _beyond(self, setting: Setting, asked: str, steps: set[str]) -> KernelError | None:
        capabilities = self.pool.capabilities
        if setting.name == "worker_beat" and capabilities.is_green:
            return OptionRefused(asked, self.pool.name, GREEN_BEAT, self._able("beat"))
        if setting.refused:
            return OptionRefused(asked, "", setting.refused)
        if setting.step not in steps:
            install = self._plugins.install_hint(setting.step)
            if install is not None:
                return OptionNeedsStep(asked, setting.step, install)
            return OptionRefused(asked, "", f"no installed plugin provides the step {setting.step!r}")
        if setting.name == "worker_beat" and capabilities.beat is Support.REFUSED:
            return OptionRefused(asked, self.pool.name, lacking("beat", self.pool.name), self._able("beat"))
        return None

    def tasks(self, tasks: Mapping[str, TaskOptions]) -> None:
        """Judge what tasks ask for by themselves."""
        for name, words, consequence, asking in (
            ("async_tasks", "async def", "they will fail with UnsupportedOption", _asynchronous(tasks)),
            ("soft_time_limit", "soft_time_limit", "they run without it", _limited(tasks, "soft_time_limit")),
            ("time_limit", "time_limit", "they run without it", _limited(tasks, "time_limit")),
        ):
            if not asking or self.pool.capabilities.supports(name) is not Support.REFUSED:
                continue
            reason = lacking(name, self.pool.name)
            asked = f"{words} of {_some_tasks(asking)}"
            if self._best_effort:
                self.warnings.append(f"{asked}: {reason}; {consequence}")
            else:
                self._errors.append((asked, OptionRefused(asked, self.pool.name, reason, self._able(name))))

    def conclude(self) -> None:
        """Raise the first error there is; the others stand in a note."""
        if self._errors:
            (_, error), *others = self._errors
            if others:
                error.add_note(f"refused as well: {', '.join(asked for asked, _ in others)}")
            raise error

    def limits(self) -> None:
        """Warn of a soft limit that can never be raised."""
        soft, hard = self.settings.get_float("task_soft_time_limit"), self.settings.get_float("task_time_limit")
        if soft is not None and hard is not None and soft >= hard:
            self.warnings.append(f"task_soft_time_limit {soft:g} is not below task_time_limit {hard:g}: never raised")

    def concurrency(self, platform: Platform) -> int:
        """Fill in and return the number of slots to start with."""
        settings, name = self.settings, "worker_concurrency"
        autoscale, given = settings["worker_autoscale"], settings.get_int(name)
        if isinstance(autoscale, tuple):
            if given is not None:
                self.warnings.append(f"{settings.spelled(name)} is not used: {settings.spelled('worker_autoscale')}")
            number, why = int(autoscale[1]), f"the minimum of {settings.spelled('worker_autoscale')}"
        elif given is not None:
            self._check_processes(given)
            return given
        elif (processes := settings.get_int("worker_processes")) is not None:
            slots = processes if self.pool.inner is None else max(processes, platform.cpus)
            number, why = slots, settings.spelled("worker_processes")
        elif self.pool.capabilities.concurrency is Support.REFUSED:
            number, why = 1, lacking("concurrency", self.pool.name)
        else:
            number, why = platform.cpus, "CPUs of the affinity mask"
        self.settings = settings.replacing(name, number, why)
        return number

    def _check_processes(self, concurrency: int) -> None:
        """Raise `SettingsError` where slots and processes do not go together."""
        processes = self.settings.get_int("worker_processes")
        if processes is None or processes == concurrency or (self.pool.inner is not None and processes < concurrency):
            return
        asked = f"{self.settings.spelled('worker_processes')} contradicts {self.settings.spelled('worker_concurrency')}"
        if self.pool.inner is None:
            raise SettingsError([f"{asked}: {self.pool.name} has one slot in each process; leave one of them out"])
        raise SettingsError([f"{asked}: each process needs a slot"])

    def prefetch(self, concurrency: int) -> None:
        """Settle what holds where more than one setting says how much is held beyond the slots."""
        settings, buffer = self.settings, "worker_prefetch_buffer"
        multiplier = settings.get_int("worker_prefetch_multiplier")
        if multiplier is not None and settings.get_int(buffer) is not None:
            asked = settings.spelled("worker_prefetch_multiplier")
            self._leave_out("worker_prefetch_multiplier", f"{asked} is not used: {settings.spelled(buffer)}")
        elif multiplier is not None:
            asked = settings.spelled("worker_prefetch_multiplier")
            note = f"a buffer of {concurrency * (multiplier - 1)} messages beyond the slots"
            self.verdicts.append(
                Verdict(option="worker_prefetch_multiplier", support=Support.EMULATED, asked=asked, note=note)
            )
        if settings.get_bool("worker_disable_prefetch") and (settings.get_int(buffer) or (multiplier or 1) > 1):
            disable = settings.spelled("worker_disable_prefetch")
            given = buffer if settings.get_int(buffer) else "worker_prefetch_multiplier"
            raise SettingsError([f"{disable} contradicts {settings.spelled(given)}: leave one of them out"])

    def _refuse(self, name: str, error: KernelError) -> None:
        asked = self.settings.spelled(name)
        if self._best_effort:
            self._leave_out(name, f"{asked} is left out (--best-effort): {_reason(error)}")
        else:
            self._errors.append((asked, error))

    def _leave_out(self, name: str, why: str) -> None:
        self.warnings.append(why)
        self.settings = self.settings.dropping(name, why)

    def _asked(self, name: str, idle: tuple[object, ...]) -> bool:
        return self.settings.given(name) and self.settings[name] not in idle

    def _refused_already(self, name: str) -> bool:
        """Whether ``name`` is refused already, for a better reason."""
        asked = self.settings.spelled(name)
        return any(refused == asked for refused, _ in self._errors)

    def _able(self, option: str) -> Sequence[str]:
        return [name for name, spec in sorted(self._plugins.pools.items()) if can(spec.capabilities, option)]


def can(capabilities: Capabilities, option: str) -> bool:
    """Whether a pool with ``capabilities`` honours or emulates ``option``."""
    return capabilities.supports(option) is not Support.REFUSED


def _reason(error: KernelError) -> str:
    return error.reason if isinstance(error, OptionRefused) else str(error).splitlines()[0]


def _asynchronous(tasks: Mapping[str, TaskOptions]) -> list[str]:
    return sorted(name for name, options in tasks.items() if options.is_async)


def _limited(tasks: Mapping[str, TaskOptions], limit: str) -> list[str]:
    return sorted(name for name, options in tasks.items() if getattr(options, limit) is not None)


def _some_tasks(names: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"task{'s' if len(names) > 1 else ''} {', '.join(names[:limit])}{more}"
