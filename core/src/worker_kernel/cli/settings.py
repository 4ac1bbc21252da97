"""``kernel settings``: each setting, its value, and where it comes from."""

from __future__ import annotations

import click

from ..core_settings import CORE_SETTINGS
from ..masking import masked
from ..options import AUTO
from ..plugins.loading import Plugins
from ..settings import Settings
from ..sources import read_settings
from .client import load_named_app
from .invocation import Invocation
from .output import columns, echo_json, plain


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@click.option("--given", "only_given", is_flag=True, help="Only what somebody has given a value.")
@click.pass_obj
def command(invocation: Invocation, as_json: bool, only_given: bool) -> None:
    """Show each setting with its source, value and unit. With -A, what the application gives is counted in.

    Passwords are masked. What the worker makes of the values on a pool, its banner says.
    """
    plugins = Plugins.load(safe_mode=invocation.safe_mode)
    app = load_named_app(invocation, plugins)
    settings, warnings = read_settings(
        [*CORE_SETTINGS, *plugins.settings],
        app=app.declared_settings() if app is not None else None,
        app_name=app.name if app is not None else "",
        command_line=invocation.settings,
    )
    for warning in (*plugins.warnings, *warnings):
        click.echo(f"warning: {warning}", err=True)
    names = [name for name in settings if settings.given(name) or not only_given]
    if as_json:
        echo_json(settings=[_record(settings, name) for name in names])
        return
    shown = [name for name in names if settings.given(name) or not settings.declared[name].refused]
    rows = [("NAME", "SOURCE", "VALUE")]
    rows += [(name, str(settings.source(name)), _text(settings, name)) for name in shown]
    for line in columns(rows):
        click.echo(line)
    if len(shown) < len(names):
        click.echo(f"and {len(names) - len(shown)} of Celery's that are refused if asked for; --json tells why")


def _record(settings: Settings, name: str) -> dict[str, object]:
    setting, source = settings.declared[name], settings.source(name)
    return {
        "name": name,
        "value": _value(settings, name),
        "default": plain(setting.default),
        "given": settings.given(name),
        "layer": source.layer.name.lower(),
        "source": str(source),
        "kind": setting.kind,
        "unit": setting.unit,
        "options": list(setting.options),
        "variable": setting.variable,
        "refused": setting.refused,
        "owner": setting.owner,
        "help": setting.help,
    }


def _value(settings: Settings, name: str) -> object:
    value = plain(settings[name])
    return masked(value) if settings.declared[name].secret else value


def _text(settings: Settings, name: str) -> str:
    value = _value(settings, name)
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    unit = "" if text == AUTO else settings.declared[name].unit
    return f"{text} {unit}".rstrip()
