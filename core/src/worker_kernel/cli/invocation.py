"""What concerns every command, said before or after its name: ``-A``, ``-b``, ``--result-backend``, ``--traceback``."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import click
from click.core import ParameterSource


@attrs.define(eq=False)
class Invocation:
    """One call of the command line: the click context's ``obj``, built before anything is parsed."""

    arguments: tuple[str, ...] = ()
    """As they were typed, without the program's name."""
    patched: str = ""
    """The pool whose patch has been run."""
    again: bool = False
    """Whether the process was executed anew for that."""
    app: str | None = None
    """What ``-A`` says."""
    settings: dict[str, tuple[str, object]] = attrs.field(factory=dict)
    """Settings given by an option: name -> (spelling, what was given); `read_settings` takes it."""
    traceback: bool = False
    """Whether errors are to be shown with their traceback."""
    safe_mode: bool = False
    """Whether only the plugins that a plain worker needs are to be loaded."""


def shared_options() -> list[click.Option]:
    """Return the options that are taken both before and after a command's name; the later one holds."""
    return [
        click.Option(
            ["-A", "--app", "shared_app"],
            metavar="MODULE[:ATTR]",
            envvar="KERNEL_APP",
            help="The application.",
            expose_value=False,
            callback=_keep_app,
        ),
        click.Option(
            ["-b", "--broker", "broker_url"],
            metavar="URL",
            help="Setting broker_url: where messages come from.",
            expose_value=False,
            callback=_keep_setting,
        ),
        click.Option(
            ["--result-backend", "result_backend"],
            metavar="URL",
            help="Setting result_backend: where results are kept.",
            expose_value=False,
            callback=_keep_setting,
        ),
        click.Option(
            ["--safe-mode", "shared_safe_mode"],
            is_flag=True,
            help="Load only the plugins that a plain worker needs.",
            expose_value=False,
            callback=_keep_flag,
        ),
        click.Option(
            ["--traceback", "shared_traceback"],
            is_flag=True,
            help="Show errors with their traceback.",
            expose_value=False,
            callback=_keep_flag,
        ),
    ]


def said_before(invocation: Invocation, option: click.Option) -> object:
    """Return what has been said so far of a shared option; None: nothing."""
    name = option.name or ""
    if name in invocation.settings:
        return invocation.settings[name][1]
    return getattr(invocation, name.removeprefix("shared_"), None) or None


def spelling_used(arguments: Sequence[str], options: Sequence[str]) -> str:
    """Return which of ``options`` was typed last in ``arguments``; the longest where that cannot be told."""
    found = max(options, key=len)
    for word in arguments:
        if word == "--":
            break
        for option in options:
            glued = option if option.startswith("--") else None
            if word == option or (glued and word.startswith(f"{glued}=")) or (not glued and word.startswith(option)):
                found = option
    return found


def _given(ctx: click.Context, param: click.Parameter) -> bool:
    return ctx.get_parameter_source(param.name or "") in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def _keep_app(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    source = ctx.get_parameter_source(param.name or "")
    invocation = _invocation(ctx)
    if source is ParameterSource.COMMANDLINE or (value is not None and invocation.app is None):
        invocation.app = value


def _keep_setting(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if _given(ctx, param):
        invocation = _invocation(ctx)
        invocation.settings[param.name or ""] = (spelling_used(invocation.arguments, param.opts), value)


def _keep_flag(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if _given(ctx, param):
        setattr(_invocation(ctx), (param.name or "").removeprefix("shared_"), value)


def _invocation(ctx: click.Context) -> Invocation:
    return ctx.ensure_object(Invocation)
