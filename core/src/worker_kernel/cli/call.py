"""``kernel call``: send a task, and wait for its value if asked to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .client import Client, describe, echo_result, exit_code, open_client
from .invocation import Invocation
from .output import echo_json

if TYPE_CHECKING:
    from ..tasks.message import SendOptions
    from ..tasks.results import AsyncResult


class JsonOf(click.ParamType[Any]):
    """JSON of one kind."""

    name = "json"

    def __init__(self, kind: type, what: str) -> None:
        self.kind, self.what = kind, what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse, or refuse with what was expected."""
        if isinstance(value, self.kind):
            return value
        try:
            found = json.loads(value)
        except ValueError as exc:
            self.fail(f"{value!r} is no JSON: {exc}", param, ctx)
        if not isinstance(found, self.kind):
            self.fail(f"{value!r} is no {self.what}", param, ctx)
        return found


@click.command("call")
@click.argument("task")
@click.option("--args", "args", type=JsonOf(list, "JSON list"), default="[]", metavar="JSON", help="A list.")
@click.option("--kwargs", "kwargs", type=JsonOf(dict, "JSON object"), default="{}", metavar="JSON", help="An object.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Not to run before.")
@click.option("--expires", type=float, metavar="SECONDS", help="Not to run after.")
@click.option("-Q", "--queue", metavar="NAME", help="Where to send it; default: as the task says.")
@click.option("--priority", type=int, metavar="N", help="0 to 255.")
@click.option("--time-limit", type=float, metavar="SECONDS", help="Hard limit.")
@click.option("--soft-time-limit", type=float, metavar="SECONDS", help="Soft limit.")
@click.option("--task-id", metavar="ID", help="The id; default: a new one.")
@click.option("--wait", is_flag=True, help="Wait for the task to end, and print its value.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="With --wait: how long at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    task: str,
    args: list[Any],
    kwargs: dict[str, Any],
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Send TASK and print its id; with --wait its value, as JSON.

    With -A, the task has to be one of the application's, and its options hold. Exit code 1: the task has failed, or
    did not end in time.
    """
    client = open_client(invocation)
    try:
        result = _send(
            client, task, args, kwargs, {name: value for name, value in options.items() if value is not None}
        )
        if not wait:
            if as_json:
                echo_json(id=result.id, task=task)
            else:
                click.echo(result.id)
            return 0
        return _wait(result, task, timeout, as_json)
    finally:
        client.sender.close()


def _send(client: Client, name: str, args: list[Any], kwargs: dict[str, Any], options: Any) -> AsyncResult:
    from ..tasks.naming import nearest

    known = client.app.tasks() if client.app is not None else None
    if known is not None and name not in known:
        close = nearest(name, known)
        hint = f"did you mean {close!r}?" if close else f"it has: {', '.join(sorted(known)[:8]) or 'none at all'}"
        raise UsageError(f"application {client.app.name!r} has no task {name!r}\n{hint}")  # type: ignore[union-attr]  # known tells
    send_options: SendOptions = options
    try:
        if client.app is client.sender:
            return client.sender.find_task(name).apply_async(args, kwargs, **send_options)
        return client.sender.send_task(name, args, kwargs, **send_options)
    except (TypeError, ValueError) as exc:
        raise UsageError(str(exc)) from exc


def _wait(result: AsyncResult, task: str, timeout: float | None, as_json: bool) -> int:
    try:
        result.get(timeout, propagate=False)
    except TimeoutError:
        click.echo(f"{result.id} did not end within {timeout:g} s", err=True)
        if as_json:
            echo_json(task=task, **describe(result))
        return 1
    described = describe(result)
    if as_json:
        echo_json(task=task, **described)
    else:
        echo_result(described)
    return exit_code(described)
