"""Imports plugin modules one by one; whatever one of them raises, the others go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import attrs

from ..hookspecs import CONTRACT
from .declarations import Claim, Declared, Malformed, claimed_twice, collect
from .discovery import sort_key
from .found import USABLE, Found, Kind, Status
from .hooks import Hooks
from .importing import describe, import_value
from .plainversions import normalized
from .requirements import KERNEL
from .selection import VARIABLE


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of the plugins."""

    rows: tuple[Found, ...]
    """Every row, in order, with its status after loading."""
    hooks: Hooks
    """Where those that were loaded are registered."""
    declared: tuple[Declared, ...]
    """What the kernel's own steps and the loaded plugins declare; the kernel's settings are not among it."""
    causes: Mapping[Found, BaseException]
    """What those that are broken or incompatible raised."""


@attrs.define(kw_only=True, eq=False)
class _Unit:
    """The entry points that name one module of one distribution: they are loaded together, and fail together."""

    rows: list[Found]
    label: str
    declared: Declared = attrs.field(factory=Declared)


class _Incompatible(Exception):
    """A plugin module states no contract, or another one."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(reason)


def load_all(rows: Sequence[Found]) -> Outcome:
    """Import and register every pool and plugin module whose row is usable. Commands are imported when they are called.

    What a module raises at import or while it declares, SystemExit and other BaseExceptions included, makes its rows
    *broken*; a contract that is missing or another one makes them *incompatible*; a name that two plugins, or one and
    the kernel, declare makes both *conflict*. None of these stays registered. Only KeyboardInterrupt goes through.
    """
    from ..control.commands import KERNEL_COMMANDS
    from ..core_settings import CORE_SETTINGS
    from ..kernelsteps import KERNEL_STEPS

    hooks = Hooks()
    done: list[Found] = []
    causes: dict[Found, BaseException] = {}
    units: list[_Unit] = []
    for unit in _units(rows):
        try:
            unit.declared = _load(unit, hooks, rows)
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001  (the quarantine: whatever it is, the others go on)
            hooks.unregister(unit.label)
            failed = [_failed(row, exc) for row in unit.rows]
            causes.update(dict.fromkeys(failed, exc))
            done += failed
        else:
            units.append(unit)
    declared = [Declared(steps=KERNEL_STEPS, control_commands=KERNEL_COMMANDS)]
    kernel = Declared(steps=KERNEL_STEPS, settings=CORE_SETTINGS, control_commands=KERNEL_COMMANDS)
    for unit, conflict in zip(units, _conflicts(kernel, units), strict=True):
        if conflict:
            hooks.unregister(unit.label)
            done += [row.becoming(Status.CONFLICT, conflict, f"leave one out: {VARIABLE}=-NAME") for row in unit.rows]
        else:
            declared.append(unit.declared)
            names = unit.declared.names()
            done += [attrs.evolve(row, status=Status.LOADED, declares=names) for row in unit.rows]
    done += [row for row in rows if not _importable(row)]
    return Outcome(rows=tuple(sorted(done, key=sort_key)), hooks=hooks, declared=tuple(declared), causes=causes)


def _importable(row: Found) -> bool:
    return row.status in USABLE and row.kind is not Kind.COMMAND


def _units(rows: Iterable[Found]) -> Iterable[_Unit]:
    def module(row: Found) -> tuple[str, str]:
        return (normalized(row.dist), row.value)

    labels: set[str] = set()
    for _, group in groupby(sorted(filter(_importable, rows), key=lambda row: (*module(row), *sort_key(row))), module):
        unit = list(group)
        label = unit[0].label
        if label in labels:  # a pool and a plugin of one name, in two modules of one distribution
            label = f"{label}, {unit[0].value}"
        labels.add(label)
        yield _Unit(rows=unit, label=label)


def _load(unit: _Unit, hooks: Hooks, rows: Iterable[Found]) -> Declared:
    """Import one plugin module, register it, and return what it declares.

    Raises:
        BaseException: whatever the module or one of its hooks raises.
    """
    first = unit.rows[0]
    plugin = import_value(first.value)
    _check_contract(plugin, first)
    hooks.register(plugin, unit.label)
    declared = collect(hooks, unit.label, first.dist)
    named = {row.name for row in rows if row.kind is Kind.POOL and row.dist == first.dist}
    for pool in declared.pools:
        if pool.name not in named:
            raise Malformed(f"it declares pool {pool.name!r}, for which it has no entry point in worker_kernel.pools")
    for row in unit.rows:
        if row.kind is Kind.POOL and row.name not in {pool.name for pool in declared.pools}:
            raise Malformed(f"its entry point names pool {row.name!r}, which {row.value} does not declare")
    return declared


def _check_contract(plugin: object, row: Found) -> None:
    contract = getattr(plugin, "CONTRACT", None)
    update = f"pip install --upgrade {row.dist}"
    if not isinstance(contract, int) or isinstance(contract, bool):
        reason = f"{row.value} does not state the CONTRACT it was written for"
        raise _Incompatible(reason, f"{update}, or set CONTRACT = {CONTRACT} in it")
    if contract != CONTRACT:
        newer = f"pip install --upgrade {KERNEL}" if contract > CONTRACT else update
        raise _Incompatible(f"written for contract {contract}, this kernel has contract {CONTRACT}", newer)


def _conflicts(kernel: Declared, units: Sequence[_Unit]) -> list[str]:
    """Return for each unit why it is in conflict; ``""``: it is not."""
    reasons = [""] * len(units)
    names = ["the kernel itself", *(unit.label for unit in units)]
    for claim, places in sorted(claimed_twice([kernel, *(unit.declared for unit in units)]).items()):
        for place in places:
            if place and not reasons[place - 1]:
                reasons[place - 1] = _reason(claim, [names[other] for other in places if other != place])
    return reasons


def _reason(claim: Claim, rivals: Sequence[str]) -> str:
    return f"it declares {claim[0]} {claim[1]!r}, and so does {', '.join(rivals)}"


def _failed(row: Found, exc: BaseException) -> Found:
    if isinstance(exc, _Incompatible):
        return row.becoming(Status.INCOMPATIBLE, str(exc), exc.remedy)
    reason = str(exc) if isinstance(exc, Malformed) else describe(exc)
    return row.becoming(Status.BROKEN, reason, remedy_for_broken(row))


def remedy_for_broken(row: Found) -> str:
    """Return what to do about a plugin that does not load."""
    return f"report it to the authors of {row.dist}, or leave it out: {VARIABLE}=-{row.name}"
