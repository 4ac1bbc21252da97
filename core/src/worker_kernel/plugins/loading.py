"""Loads the plugins that may be loaded, and keeps what they declare; one that cannot be loaded is put aside."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..bootsteps import StepSpec
from ..capabilities import Capabilities
from ..errors import (
    PluginBroken,
    PluginConflict,
    PluginError,
    PluginIncompatible,
    PluginNotFound,
    SettingsError,
)
from ..hookspecs import AutoscalePolicySpec, ControlCommandSpec, ResultStoreSpec, TransportSpec
from ..loop import LoopSpec
from ..pool import Pool, PoolSpec
from ..settings import Setting
from ..suggestions import did_you_mean
from .declarations import Declared
from .discovery import discover, sort_key
from .found import FAULTY, USABLE, Found, Kind, Status
from .hints import ALIASES, distribution_of
from .hooks import Hooks
from .importing import describe, load_object, missing_module
from .plainversions import normalized
from .quarantine import load_all
from .selection import Selection, choice

T = TypeVar("T")

_WARNED = (FAULTY | {Status.UNAVAILABLE}) - {Status.MISSING}


class Plugins:
    """The plugins of this process: loaded once, at boot, in the main thread; read-only and thread-safe afterwards."""

    hooks: Hooks
    """Where the loaded ones are registered."""
    pools: Mapping[str, PoolSpec]
    """The pools that can be chosen, by name, sorted."""
    steps: tuple[StepSpec, ...]
    """Every declared step with its owner, the kernel's own first."""
    loops: Mapping[str, LoopSpec]
    """By name, sorted."""
    settings: tuple[Setting, ...]
    """What plugins declare, without the kernel's own, by name."""
    transports: Mapping[str, TransportSpec]
    """By scheme, sorted."""
    result_stores: Mapping[str, ResultStoreSpec]
    """By scheme, sorted."""
    autoscale_policies: Mapping[str, AutoscalePolicySpec]
    """By name, sorted."""
    control_commands: tuple[ControlCommandSpec, ...]
    """Every declared command with its owner, the kernel's own first."""
    found: tuple[Found, ...]
    """A row for every plugin, installed or missing, with what has become of it."""
    warnings: tuple[str, ...]
    """A line for each plugin that cannot be used and that nobody demanded, and for each word that has no effect."""

    def __init__(
        self,
        *,
        found: Iterable[Found] = (),
        hooks: Hooks | None = None,
        declared: Iterable[Declared] = (),
        causes: Mapping[Found, BaseException] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Put plugins together by hand, for tests and for embedding; `load` finds them.

        Args:
            found: the rows; those of kind pool decide which declared pools can be chosen by name.
            hooks: where they are registered.
            declared: what they declare, the kernel's own included.
            causes: what plugins raised, by row.
            warnings: lines for the user.
        """
        self.hooks = hooks or Hooks()
        self.found = tuple(sorted(found, key=sort_key))
        self.warnings = tuple(warnings)
        self._causes = dict(causes or {})
        everything = tuple(declared)
        rows = [row for row in self.found if row.kind is Kind.POOL]
        barred = {row.name for row in rows} - {row.name for row in rows if row.status in USABLE}
        pools = {pool.name: pool for one in everything for pool in one.pools if pool.name not in barred}
        self.pools = _by_key(pools)
        self.steps = tuple(step for one in everything for step in one.steps)
        self.control_commands = tuple(command for one in everything for command in one.control_commands)
        self.autoscale_policies = _by_key({spec.name: spec for one in everything for spec in one.autoscale_policies})
        self.loops = _by_key({loop.name: loop for one in everything for loop in one.loops})
        self.settings = tuple(
            sorted((setting for one in everything for setting in one.settings), key=lambda setting: setting.name)
        )
        self.transports = _by_key({key: spec for one in everything for spec in one.transports for key in spec.schemes})
        self.result_stores = _by_key(
            {key: spec for one in everything for spec in one.result_stores for key in spec.schemes}
        )

    @classmethod
    def load(
        cls,
        *,
        wanted: Collection[str] = (),
        environ: Mapping[str, str] | None = None,
        directory: Path | None = None,
        safe_mode: bool = False,
    ) -> Plugins:
        """Find, choose and load the plugins.

        Args:
            wanted: plugins without which the process cannot go on, each ``name`` or ``dist:name``. A pool that is
                chosen need not be among them: `pool` raises for it.
            environ: the environment; None: this process's.
            directory: where the configuration file is; None: the current directory.
            safe_mode: whether to leave out all but what a solo worker on the embedded broker needs.

        Raises:
            SettingsError: the choice of plugins cannot be understood.
            PluginNotFound: a demanded plugin is not installed, or is disabled.
            PluginError: a demanded plugin is broken, incompatible, unavailable or in conflict.
        """
        selection, problems = choice(environ=environ, directory=directory, safe_mode=safe_mode)
        if problems:
            raise SettingsError(problems)
        selection = selection.wanting(wanted)
        plugins = cls.survey(selection, discover())
        for row in plugins.found:
            if row.status not in USABLE and (row.status is Status.MISSING or selection.required(row)):
                raise plugins.unusable(row)
        return plugins

    @classmethod
    def survey(cls, selection: Selection, found: Iterable[Found]) -> Plugins:
        """Load what may be loaded among ``found`` and never raise: each row says what became of it.

        A plugin that raises at import, SystemExit included, is put aside; one that ends the process without raising
        (``os._exit``, a crash), or that hangs, cannot be survived here: see `probe`.
        """
        rows = selection.apply(found)
        outcome = load_all(rows)
        unused = [
            f"plugin {row.label} is not used: {row.status}: {row.reason}"
            for row in outcome.rows
            if row.status in _WARNED and not selection.required(row)
        ]
        return cls(
            found=outcome.rows,
            hooks=outcome.hooks,
            declared=outcome.declared,
            causes=outcome.causes,
            warnings=[*selection.idle(rows), *unused],
        )

    def pool(self, name: str) -> PoolSpec:
        """Return the pool that ``-P name`` means: a pool's name, ``dist:name``, or ``package.module:Class``.

        Raises:
            PluginNotFound: there is no such pool, or it is disabled.
            PluginConflict: several distributions claim the name.
            PluginIncompatible: it was written for another kernel.
            PluginBroken: it cannot be loaded, or is no `Pool`.
        """
        dist, colon, short = name.rpartition(":")
        row = self._row(short if colon else ALIASES.get(name, name), dist)
        if colon and row is None:
            return self._pool_class(name)
        plain = row.name if row is not None else ALIASES.get(name, name)
        if row is not None and row.status not in USABLE:
            raise self.unusable(row)
        if plain in self.pools:
            return self.pools[plain]
        known = {*self.pools, *(row.name for row in self.found if row.kind is Kind.POOL and row.value)}
        installed = ", ".join(self.pools) or "none"
        hint = distribution_of(plain)
        remedy = f"\ninstall it: pip install {hint}" if hint and hint.startswith("worker-pool-") else ""
        raise PluginNotFound(
            f"no pool named {name!r} is installed{did_you_mean(plain, known)}\npools installed: {installed}{remedy}"
        )

    def load_object(self, path: str, owner: str = "") -> object:
        """Import what ``package.module:attribute`` names; ``owner`` is the distribution that declares it.

        Raises:
            PluginBroken: it cannot be imported; whatever was raised is chained.
        """
        return load_object(path, owner)

    def install_hint(self, name: str) -> str | None:
        """Return our distribution that would bring the step, loop or pool ``name``; None: none, or it is installed."""
        dist = distribution_of(name)
        return None if dist is None or self._by_distribution(dist) else dist

    def why_absent(self, name: str) -> str | None:
        """Return why a step, loop or pool that an installed distribution of ours brings is not there; else None."""
        dist = distribution_of(name)
        row = next((row for row in self._by_distribution(dist or "") if row.status not in USABLE), None)
        return None if row is None else f"plugin {row.label} is {row.status}: {row.reason}\n{row.remedy}".rstrip()

    def may_have_it(self) -> str:
        """Return a line that names plugins which are not used, for what nobody else declares; empty: all are used."""
        absent = [row.label for row in self.found if row.kind is not Kind.COMMAND and row.status not in USABLE]
        return f"plugins that are not loaded may have it: {', '.join(absent[:3])}" if absent else ""

    def _by_distribution(self, dist: str) -> list[Found]:
        return [row for row in self.found if normalized(row.dist) == normalized(dist) and row.value]

    def _row(self, name: str, dist: str) -> Found | None:
        wanted = normalized(dist)
        rows = [row for row in self.found if row.kind is Kind.POOL and row.name == name]
        rows = [row for row in rows if not dist or normalized(row.dist) == wanted]
        return next((row for row in rows if row.status in USABLE), rows[0] if rows else None)

    def _pool_class(self, path: str) -> PoolSpec:
        try:
            cls = load_object(path)
        except PluginBroken as exc:
            cause = exc.__cause__
            if cause is not None and missing_module(cause, path):
                raise PluginNotFound(
                    f"no pool {path!r}: {describe(cause)}\nname an installed pool ({', '.join(self.pools) or 'none'}), "
                    "or package.module:Class of a module that can be imported"
                ) from cause
            raise
        if not (isinstance(cls, type) and issubclass(cls, Pool)):
            raise PluginBroken(f"{path} is no pool: it is not a subclass of worker_kernel.Pool")
        capabilities = getattr(cls, "capabilities", None)
        if not isinstance(capabilities, Capabilities):
            raise PluginBroken(f"{path} is no pool: its attribute 'capabilities' is not a Capabilities record")
        return PoolSpec(name=path, cls=path, capabilities=capabilities)

    def unusable(self, row: Found) -> PluginNotFound | PluginError:
        """Return the error that says why a plugin cannot be used, with what it raised as its cause."""
        remedy = f"\n{row.remedy}" if row.remedy else ""
        if row.status is Status.MISSING:
            return PluginNotFound(f"{row.kind} {row.name!r} is not installed ({row.reason}){remedy}")
        if row.status is Status.DISABLED:
            return PluginNotFound(f"{row.kind} {row.label} is disabled: {row.reason}{remedy}")
        error = {Status.CONFLICT: PluginConflict, Status.INCOMPATIBLE: PluginIncompatible}.get(row.status, PluginBroken)
        exc = error(
            f"{row.kind} {row.label} cannot be used: {row.status}: {row.reason}{remedy}",
            plugin=row.name,
            dist=row.dist,
            version=row.version,
        )
        exc.__cause__ = self._causes.get(row)
        return exc


def _by_key(items: Mapping[str, T]) -> dict[str, T]:
    return dict(sorted(items.items()))
