"""What the commands that send and ask, rather than work, have in common: an application with its settings."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import click

from ..application import Application
from ..apploader import load_app
from ..core_settings import CORE_SETTINGS
from ..plugins.loading import Plugins
from ..sources import read_settings
from .invocation import Invocation

if TYPE_CHECKING:
    from ..tasks.app import App
    from ..tasks.results import AsyncResult


@attrs.frozen(kw_only=True)
class Client:
    """An application to ask about tasks, and one to send with: the same, unless a plugin brought the former."""

    app: Application | None
    """What ``-A`` names; None: nothing was named."""
    sender: App
    """Configured with the effective settings."""


def open_client(invocation: Invocation) -> Client:
    """Load plugins, application and settings; nothing is connected.

    Raises:
        KernelError: any of them cannot be had.
    """
    from ..tasks.app import App

    plugins = Plugins.load(safe_mode=invocation.safe_mode)
    app = load_named_app(invocation, plugins)
    settings, warnings = read_settings(
        [*CORE_SETTINGS, *plugins.settings],
        app={} if app is None else app.declared_settings(),
        app_name="" if app is None else app.name,
        command_line=invocation.settings,
    )
    for warning in (*plugins.warnings, *warnings):
        click.echo(f"warning: {warning}", err=True)
    sender = app if isinstance(app, App) else App("kernel")
    sender.configure(settings, plugins, join_blocks=False)
    return Client(app=app, sender=sender)


def load_named_app(invocation: Invocation, plugins: Plugins) -> Application | None:
    """Load what ``-A`` names, if anything. What its modules print goes to stderr: stdout is the command's alone.

    Raises:
        AppNotLoaded: it cannot be had.
    """
    if not invocation.app:
        return None
    with contextlib.redirect_stdout(sys.stderr):
        return load_app(invocation.app, plugins)


def describe(result: AsyncResult) -> dict[str, object]:
    """Return what is known of a task, for `output.echo_json`."""
    state, value = result.state, result.result
    failed = isinstance(value, BaseException)
    return {
        "id": result.id,
        "state": state,
        "result": None if failed else value,
        "error": {"type": type(value).__name__, "message": str(value)} if failed else None,
        "traceback": result.traceback,
        "date_done": None if result.date_done is None else result.date_done.isoformat(),
    }


def echo_result(described: Mapping[str, object]) -> None:
    """Print a task's value as JSON, or its state and error in words."""
    error = described["error"]
    if isinstance(error, Mapping):
        click.echo(f"{described['state']}: {error['type']}: {error['message']}".rstrip(": "))
    elif described["state"] == "SUCCESS":
        click.echo(json.dumps(described["result"], default=str, ensure_ascii=False))
    else:
        click.echo(str(described["state"]))


def exit_code(described: Mapping[str, object]) -> int:
    """Return 1 for a task that has failed or was revoked, else 0."""
    return 1 if described["state"] in {"FAILURE", "REVOKED"} else 0
