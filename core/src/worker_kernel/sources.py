"""Reads settings from their five places: defaults < app < file < environment < command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from . import configfile
from .errors import SettingsError
from .masking import masked
from .settings import Layer, Setting, Settings, Source, Value
from .suggestions import nearest

PREFIX = "KERNEL_"
PLUGIN_KEYS = frozenset({"plugins"})
"""Keys of the configuration file that are no settings: `Plugins.load` reads them."""
OTHER_VARIABLES = frozenset({"KERNEL_PLUGINS", "KERNEL_APP"})
"""Variables that are no settings: the choice of plugins, and what ``-A`` says."""
_KUBERNETES = re.compile(r"KERNEL_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d.*)?)")
"""What Kubernetes gives every container of a namespace that has a service named ``kernel``."""


@attrs.frozen(kw_only=True)
class _Given:
    """A value as somebody gave it."""

    name: str
    raw: object
    source: Source


def read_settings(
    declared: Iterable[Setting],
    *,
    app: Mapping[str, object] | None = None,
    app_name: str = "",
    command_line: Mapping[str, tuple[str, object]] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    elsewhere: str = "",
) -> tuple[Settings, tuple[str, ...]]:
    """Read every declared setting from where it was given closest to the user.

    A value counts as given even where it equals the default. Where a closer place gives a good value, a wrong one
    further away is reported all the same.

    Args:
        declared: the settings there are; names are different from each other.
        app: what the application's code gave, by name.
        app_name: the application's name, for locations.
        command_line: setting name -> (spelling that was used, what was given).
        environ: the environment; None: this process's.
        directory: where the configuration file is; None: the current directory.
        elsewhere: what to add where a name is unknown: who else may declare it.

    Returns:
        The settings, and warnings, each one line.

    Raises:
        SettingsError: with a sentence for each problem in all places.
    """
    known = {setting.name: setting for setting in declared}
    environment = os.environ if environ is None else environ
    file = configfile.read(directory or Path())
    problems = list(file.problems)
    warnings = list(file.warnings)
    values = {name: Value(value=setting.default, source=Source(layer=Layer.DEFAULT)) for name, setting in known.items()}
    strange = False
    places = (
        _from_app(app or {}, app_name),
        _from_file(file),
        _from_environment(known.values(), environment),
        _from_command_line(command_line or {}),
    )
    for given in (given for place in places for given in place):
        setting = known.get(given.name)
        if setting is None:
            problems.append(_unknown(given, known))
            strange = True
            continue
        try:
            values[given.name] = Value(value=setting.parse(given.raw), source=given.source)
        except ValueError as exc:
            problems.append(_wrong(given, setting, exc))
    unknown = sorted(_unknown_variables(known.values(), environment))
    if unknown:
        warnings.append(
            f"no setting has {'this variable' if len(unknown) == 1 else 'these variables'}: {_few(unknown)}"
        )
    if problems:
        if elsewhere and strange:
            problems.append(elsewhere)
        raise SettingsError(problems)
    return Settings(known, values), tuple(warnings)


def _from_app(app: Mapping[str, object], name: str) -> Iterator[_Given]:
    source = Source(layer=Layer.APP, location=f"App({name!r})" if name else "App")
    for key in sorted(app):
        yield _Given(name=key, raw=app[key], source=source)


def _from_file(file: configfile.ConfigFile) -> Iterator[_Given]:
    for key in sorted(set(file.values) - PLUGIN_KEYS):
        yield _Given(name=key, raw=file.values[key], source=Source(layer=Layer.FILE, location=file.location(key)))


def _from_environment(declared: Iterable[Setting], environ: Mapping[str, str]) -> Iterator[_Given]:
    for setting in declared:
        if setting.variable in environ:
            source = Source(layer=Layer.ENVIRONMENT, location=setting.variable)
            yield _Given(name=setting.name, raw=environ[setting.variable], source=source)


def _from_command_line(command_line: Mapping[str, tuple[str, object]]) -> Iterator[_Given]:
    for name, (spelling, raw) in command_line.items():
        yield _Given(name=name, raw=raw, source=Source(layer=Layer.COMMAND_LINE, location=spelling))


def _unknown_variables(declared: Iterable[Setting], environ: Mapping[str, str]) -> Iterator[str]:
    known = {setting.variable for setting in declared} | OTHER_VARIABLES
    for name in environ:
        if name.startswith(PREFIX) and name not in known and _KUBERNETES.fullmatch(name) is None:
            yield name


def _few(names: list[str], limit: int = 6) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _unknown(given: _Given, known: Mapping[str, Setting]) -> str:
    near = nearest(given.name, known)
    hint = f"; did you mean {near}?" if near else "; kernel settings lists all"
    return f"unknown setting {given.name} ({given.source}){hint}"


def _wrong(given: _Given, setting: Setting, exc: ValueError) -> str:
    return f"{setting.name} ({given.source}): expected {exc}, got {_shown(given.raw, setting)}"


def _shown(raw: object, setting: Setting, limit: int = 60) -> str:
    text = repr(masked(raw) if setting.secret else raw)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
