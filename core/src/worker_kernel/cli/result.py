"""``kernel result``: what is known of a task."""

from __future__ import annotations

import click

from .client import describe, echo_result, exit_code, open_client
from .invocation import Invocation
from .output import echo_json


@click.command("result")
@click.argument("task_id", metavar="ID")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long for the task to end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@click.pass_obj
def command(invocation: Invocation, task_id: str, timeout: float | None, as_json: bool) -> int:
    """Print the value of the task ID as JSON, or its state where it has none; an unknown task is PENDING.

    Exit code 1: the task has failed or was revoked, or did not end within --timeout.
    """
    client = open_client(invocation)
    try:
        result = client.sender.AsyncResult(task_id)
        late = False
        if timeout is not None:
            try:
                result.get(timeout, propagate=False)
            except TimeoutError:
                late = True
                click.echo(f"{task_id} did not end within {timeout:g} s", err=True)
        described = describe(result)
        if as_json:
            echo_json(**described)
        else:
            echo_result(described)
        return 1 if late else exit_code(described)
    finally:
        client.sender.close()
