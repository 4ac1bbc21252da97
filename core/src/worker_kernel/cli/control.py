"""``kernel control``: tell a running worker to do something, over its local socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..control import place
from ..control.client import ask
from ..errors import UsageError
from .invocation import Invocation
from .output import echo_json


@click.command("control")
@click.argument("name", metavar="NAME")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]")
@click.option("--socket", "socket_path", metavar="PATH", help="The worker's socket.")
@click.option("--state-file", metavar="PATH", help="The worker's state file, which says where its socket is.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=15.0, show_default=True, metavar="SECONDS",
    help="How long to wait for the answer.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone, with the worker's name.")
@click.pass_obj
def command(
    invocation: Invocation,
    name: str,
    arguments: tuple[str, ...],
    socket_path: str | None,
    state_file: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Have a worker carry out the command NAME and print its answer, which is JSON.

    Arguments are KEY=VALUE, where a value that is JSON is taken as such, or one JSON object; `kernel control commands`
    lists what there is. Without --socket and --state-file the only worker of this user on this machine is meant.

    Exit code 1: the worker refused, or does not answer.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("there is no control socket on this platform\nstop the worker with a signal")
    given = parse(arguments)
    path = socket_path or (in_state_file(state_file) if state_file else only_one())
    reply = ask(path, name, given, timeout=timeout)
    if as_json:
        echo_json(node=reply.get("node"), command=name, ok=reply.get("ok"))
    else:
        click.echo(json.dumps(reply.get("ok"), indent=2, ensure_ascii=False))


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return what ``KEY=VALUE ...`` or a JSON object says.

    Raises:
        UsageError: it is neither.
    """
    given: dict[str, Any] = {}
    for word in arguments:
        if word.startswith("{"):
            try:
                given.update(json.loads(word))
            except ValueError as exc:
                raise UsageError(f"{word!r} is no JSON object: {exc}") from exc
            continue
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{word!r} is no argument: KEY=VALUE, or one JSON object, is expected")
        given[key] = _value(text)
    return given


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def in_state_file(path: str) -> str:
    """Return the socket that a state file names.

    Raises:
        UsageError: it cannot be read, or names none.
    """
    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
        found = state["control_socket"]
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise UsageError(f"the state file {path} cannot be read: {exc}") from exc
    if not isinstance(found, str):
        raise UsageError(f"the worker of {path} is {state.get('state')} and has no control socket")
    return found


def only_one() -> str:
    """Return the socket of the only worker that there is.

    Raises:
        UsageError: there is none, or there are several.
    """
    where = place.folder()
    found = sorted(str(path) for path in where.glob("*.sock")) if where.is_dir() else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no worker has a control socket in {where}\nname it with --socket or --state-file")
    shown = ", ".join(Path(path).name for path in found[:5])
    raise UsageError(f"several workers have a control socket in {where}: {shown}\nname one with --socket")
