"""Brings options and pool together: each option is honoured, emulated or refused, never ignored.

An option that the chosen pool refuses is an error at boot where it was given at least as close to the user as the
pool was (``-c 3 -P solo``). Inherited from further away (``worker_concurrency = 8`` in a file, under ``-P solo``) it is
left out with one warning. ``--best-effort`` leaves out, with a warning each, whatever would be an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from .application import TaskOptions
from .capabilities import OPTIONS, Support
from .concurrency import Machine, measure, slots
from .errors import KernelError, OptionNeedsStep, OptionRefused, SettingsError
from .options import AUTO, OPTION_SETTINGS, TUNINGS, asked_for, can, lacking
from .platforms import Platform
from .pool import PoolSpec
from .settings import Setting, Settings

if TYPE_CHECKING:
    from .plugins.loading import Plugins

GREEN_BEAT = "-B option doesn't work with eventlet/gevent pools: use standalone beat instead."


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


def negotiate(
    settings: Settings,
    pool: PoolSpec,
    *,
    plugins: Plugins,
    tasks: Mapping[str, TaskOptions],
    platform: Platform,
    best_effort: bool,
    why_pool: str = "",
    machine: Callable[[], Machine] = measure,
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
        machine: what ``-c auto`` reckons with; called only for that.

    Raises:
        OptionRefused: an option, or an option of a task, cannot be had; others stand in a note.
        OptionNeedsStep: an option needs a plugin that is not installed, or is disabled or broken.
        SettingsError: settings contradict each other.
    """
    work = _Negotiation(settings, pool, plugins, best_effort=best_effort)
    work.options()
    work.tunings()
    work.sizes()
    work.beyond_pools()
    work.details()
    work.tasks(tasks)
    work.conclude()
    work.limits()
    concurrency = work.concurrency(platform, machine)
    work.prefetch(concurrency)
    if why_pool:
        work.settings = work.settings.replacing("worker_pool", pool.name, why_pool)
    return Negotiated(
        settings=work.settings,
        concurrency=concurrency,
        verdicts=tuple(work.verdicts),
        warnings=tuple(work.warnings),
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
        self._left_out: set[str] = set()

    def options(self) -> None:
        """Judge every option of the pool."""
        for name in OPTIONS:
            support = self.pool.capabilities.supports(name)
            option = OPTION_SETTINGS.get(name)
            spelled = ""
            if option is not None and asked_for(self.settings, name):
                spelled = self.settings.spelled(option.setting)
            self.verdicts.append(Verdict(option=name, support=support, asked=spelled))
            if option is not None and spelled and support is Support.REFUSED:
                self._refuse_of_pool(option.setting, lacking(name, self.pool.name), self._able(name))

    def tunings(self) -> None:
        """Judge what was given and tunes something that not every pool has."""
        for name, tuning in TUNINGS.items():
            if not self.settings.given(name):
                continue
            useful = tuning.useful(self.pool)
            support = Support.NATIVE if useful else Support.REFUSED
            self.verdicts.append(Verdict(option=name, support=support, asked=self.settings.spelled(name)))
            if not useful:
                able = [other for other, spec in sorted(self._plugins.pools.items()) if tuning.useful(spec)]
                self._refuse_of_pool(name, f"{self.pool.name} {tuning.lacking}", able)

    def _refuse_of_pool(self, setting: str, reason: str, able: Sequence[str]) -> None:
        """Refuse what this pool cannot do, or leave it out where the pool was chosen closer to the user."""
        spelled = self.settings.spelled(setting)
        if self.settings.source(setting).layer < self.settings.source("worker_pool").layer:
            self._leave_out(setting, f"{spelled} is left out: {reason}")
        else:
            self._refuse(setting, OptionRefused(spelled, self.pool.name, reason, able))

    def sizes(self) -> None:
        """Judge a number of slots beside a range of them.

        The one closer to the user holds; at the same distance neither can be meant.
        """
        settings, number, span = self.settings, "worker_concurrency", "worker_autoscale"
        if settings[span] is None or not settings.given(number):
            return
        if self._refused_already(number) or self._refused_already(span):
            return
        spelled, other = settings.spelled(number), settings.spelled(span)
        if settings.source(number).layer > settings.source(span).layer:
            self._leave_out(span, f"{other} is left out: {spelled} asks for a fixed number")
        elif settings.source(number).layer < settings.source(span).layer:
            self._leave_out(number, f"{spelled} is left out: {other} asks for a range")
        else:
            reason = f"{other} says how many slots there are"
            self._refuse(number, OptionRefused(spelled, "", reason))

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
            install, absent = self._plugins.install_hint(setting.step), self._plugins.why_absent(setting.step)
            if install or absent:
                return OptionNeedsStep(asked, setting.step, install, absent or "")
            return OptionRefused(asked, "", f"no installed plugin provides the step {setting.step!r}")
        if setting.name == "worker_beat" and capabilities.beat is Support.REFUSED:
            return OptionRefused(asked, self.pool.name, lacking("beat", self.pool.name), self._able("beat"))
        return None

    def details(self) -> None:
        """Judge settings that do something only together with another: what is left out takes its details with it."""
        for name, setting in self.settings.declared.items():
            whole = setting.goes_with
            if not whole or not self.settings.given(name):
                continue
            declared = self.settings.declared.get(whole)  # None: it is that of a plugin that is not here
            if declared is not None and self._asked(whole, (None, False)):
                continue
            asked = self.settings.spelled(name)
            if whole in self._left_out:
                self._leave_out(name, f"{asked} is left out: it goes with {whole}")
            else:
                missing = declared.options[-1] if declared is not None and declared.options else whole
                self._refuse(name, OptionRefused(asked, "", f"it goes with {missing}, which is not given"))

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

    def concurrency(self, platform: Platform, machine: Callable[[], Machine]) -> int:
        """Fill in and return the number of slots to start with."""
        settings, name = self.settings, "worker_concurrency"
        autoscale, given = settings["worker_autoscale"], settings[name]
        processes = settings.get_int("worker_processes")
        if isinstance(autoscale, tuple):
            self._check_processes(int(autoscale[1]), "worker_autoscale")
            number, why = int(autoscale[1]), f"the minimum of {settings.spelled('worker_autoscale')}"
        elif isinstance(given, int):
            self._check_processes(given, name)
            return given
        elif processes is not None and self.pool.inner is None:
            number, why = processes, settings.spelled("worker_processes")
        elif AUTO in (given, settings["worker_pool"]):  # who leaves the pool to the worker leaves it the number, too
            number, why = slots(self.pool, settings, platform, machine())
            number, why = max(number, processes or 1), f"{settings.spelled(name) if given else AUTO}: {why}"
        elif processes is not None:
            number, why = max(processes, platform.cpus), settings.spelled("worker_processes")
        elif self.pool.capabilities.concurrency is Support.REFUSED:
            number, why = 1, lacking("concurrency", self.pool.name)
        else:
            number, why = platform.cpus, "CPUs of the affinity mask"
        self.settings = settings.replacing(name, number, why)
        return number

    def _check_processes(self, slots: int, name: str) -> None:
        """Raise `SettingsError` where the number of processes does not go with that of slots, which ``name`` gave."""
        processes, varies = self.settings.get_int("worker_processes"), name == "worker_autoscale"
        if processes is None or (processes <= slots if self.pool.inner else processes == slots and not varies):
            return
        contradiction = f"{self.settings.spelled('worker_processes')} contradicts {self.settings.spelled(name)}"
        if self.pool.inner is None:
            why = f"{self.pool.name} has one slot in each process; leave one of them out"
        else:
            why = "each process needs a slot"
        raise SettingsError([f"{contradiction}: {why}"])

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
        self._left_out.add(name)

    def _asked(self, name: str, idle: tuple[object, ...]) -> bool:
        return self.settings.given(name) and self.settings[name] not in idle

    def _refused_already(self, name: str) -> bool:
        """Whether ``name`` is refused already, for a better reason."""
        asked = self.settings.spelled(name)
        return any(refused == asked for refused, _ in self._errors)

    def _able(self, option: str) -> Sequence[str]:
        return [name for name, spec in sorted(self._plugins.pools.items()) if can(spec.capabilities, option)]


def _reason(error: KernelError) -> str:
    return error.reason if isinstance(error, OptionRefused) else str(error).splitlines()[0]


def _asynchronous(tasks: Mapping[str, TaskOptions]) -> list[str]:
    return sorted(name for name, options in tasks.items() if options.is_async)


def _limited(tasks: Mapping[str, TaskOptions], limit: str) -> list[str]:
    return sorted(name for name, options in tasks.items() if getattr(options, limit) is not None)


def _some_tasks(names: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"task{'s' if len(names) > 1 else ''} {', '.join(names[:limit])}{more}"
