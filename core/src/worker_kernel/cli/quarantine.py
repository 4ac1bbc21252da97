"""``kernel quarantine``: look at messages that were put aside, send them again, or throw them away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from ..errors import UsageError
from ..tasks.quarantine import Entry, Quarantine
from .client import open_client
from .invocation import Invocation, spelling_used
from .output import columns, echo_json

_QUEUES = click.option("-Q", "--queues", metavar="NAMES", help="Separated by commas; default: those of a worker.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
_ALL = click.option("--all", "every", is_flag=True, help="All that are there, those without an id included.")
_IDS = click.argument("ids", nargs=-1, metavar="[ID]")


@click.group("quarantine")
def command() -> None:
    """Look at messages that were put aside in QUEUE.quarantine: unreadable, unknown, rejected, or too often begun.

    Bodies are never decoded. What an interrupted command has in its hands goes back to the quarantine. What was no
    message to begin with, on Redis, is shown as it is, and can only be dropped, by --all.
    """


@command.command("list")
@_QUEUES
@_JSON
@click.pass_obj
def list_(invocation: Invocation, queues: str | None, as_json: bool) -> None:
    """List what is in quarantine: id, task, age and reason."""
    entries: list[Entry] = []
    with _open(invocation, queues) as quarantine:
        quarantine.each(entries.append)
    if as_json:
        echo_json(quarantined=[entry.summary() for entry in entries])
        return
    rows = [(one.id or "-", one.task or "-", one.queue, one.age_in_words(), one.reason) for one in entries]
    for line in columns([("ID", "TASK", "QUEUE", "AGE", "REASON"), *rows]):
        click.echo(line)


@command.command("show")
@click.argument("task_id", metavar="ID")
@_QUEUES
@_JSON
@click.pass_obj
def show(invocation: Invocation, task_id: str, queues: str | None, as_json: bool) -> None:
    """Show all headers and properties of one message, and how its body begins, undecoded."""
    found: list[Entry] = []
    with _open(invocation, queues) as quarantine:
        quarantine.each(found.append)
    found = [entry for entry in found if entry.id == task_id]
    if not found:
        raise UsageError(f"{task_id} is not in quarantine\nkernel quarantine list shows what is")
    if as_json:
        echo_json(quarantined=[entry.detail() for entry in found])
        return
    for entry in found:
        for key, value in entry.detail().items():
            click.echo(f"{key}: {value}")


@command.command("retry")
@_IDS
@_ALL
@_QUEUES
@_JSON
@click.pass_obj
def retry(invocation: Invocation, ids: tuple[str, ...], every: bool, queues: str | None, as_json: bool) -> None:
    """Send messages to their queue again, as if they had never been started.

    Each is sent before it is taken out: an interruption in between leaves two, never none.
    """
    _act(invocation, ids, every, queues, as_json, "retried", Quarantine.retry)


@command.command("drop")
@_IDS
@_ALL
@_QUEUES
@_JSON
@click.pass_obj
def drop(invocation: Invocation, ids: tuple[str, ...], every: bool, queues: str | None, as_json: bool) -> None:
    """Throw messages away for good."""
    _act(invocation, ids, every, queues, as_json, "dropped", Quarantine.drop)


def _open(invocation: Invocation, queues: str | None) -> Quarantine:
    if queues is not None:
        invocation.settings["worker_queues"] = (spelling_used(invocation.arguments, ["-Q", "--queues"]), queues)
    app = open_client(invocation).sender
    return Quarantine(app.connection(), [queue.name for queue in app.queues()], app.broker().url)


def _act(
    invocation: Invocation,
    ids: Sequence[str],
    every: bool,
    queues: str | None,
    as_json: bool,
    verb: str,
    action: Callable[[Quarantine, Entry], bool],
) -> None:
    if bool(ids) is every:
        raise UsageError("say which: one or more ids, or --all")
    done: list[Entry] = []
    left: list[Entry] = []

    def deal_with(entry: Entry) -> None:
        if not every and entry.id not in ids:
            return
        if action(quarantine, entry):
            done.append(entry)
        else:
            left.append(entry)

    with _open(invocation, queues) as quarantine:
        quarantine.each(deal_with)
    absent = sorted(set(ids) - {entry.id for entry in (*done, *left)})
    if as_json:
        echo_json(
            **{verb: [entry.summary() for entry in done], "left": [entry.summary() for entry in left], "absent": absent}
        )
    else:
        click.echo(f"{len(done)} message{'' if len(done) == 1 else 's'} {verb}")
        if left:
            click.echo(f"{len(left)} left: no message that could be sent; kernel quarantine drop removes it")
    if absent:
        raise UsageError(f"not in quarantine: {', '.join(absent)}")
