"""``kernel purge``: throw away the messages that wait in queues."""

from __future__ import annotations

from typing import Any

import click
from kombu.exceptions import OperationalError

from ..errors import BrokerUnavailable
from .client import open_client
from .invocation import Invocation, spelling_used
from .output import echo_json

NOT_FOUND = 404
"""AMQP's reply code for a queue that does not exist."""


@click.command("purge")
@click.option("-Q", "--queues", metavar="NAMES", help="Separated by commas; default: those a worker would consume.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone; implies --force.")
@click.pass_obj
def command(invocation: Invocation, queues: str | None, force: bool, as_json: bool) -> None:
    """Throw away every message that waits in the queues. What a worker has taken already is not touched."""
    if queues is not None:
        spelling = spelling_used(invocation.arguments, ["-Q", "--queues"])
        invocation.settings["worker_queues"] = (spelling, queues)
    client = open_client(invocation)
    app = client.sender
    found = list(app.queues())
    if not (force or as_json):
        names = ", ".join(queue.name for queue in found)
        click.confirm(f"throw away everything that waits in {names} of {app.broker().url}?", abort=True)
    purged = purge_queues(app.connection(), found, app.broker().url)
    if as_json:
        echo_json(broker=app.broker().url, purged=purged)
        return
    for name, count in purged.items():
        click.echo(f"{name}: {count} message{'' if count == 1 else 's'} thrown away")


def purge_queues(connection: Any, queues: list[Any], shown_url: str) -> dict[str, int]:
    """Purge ``queues`` over ``connection``, which is released, and return how many messages each had.

    A queue that does not exist has none.

    Raises:
        BrokerUnavailable: the broker cannot be reached, or refuses.
    """
    counts: dict[str, int] = {}
    troubles = (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)
    try:
        for queue in queues:
            try:
                # A channel each: a queue that does not exist costs its channel.
                with connection.channel() as channel:
                    counts[queue.name] = int(queue.bind(channel).purge() or 0)
            except connection.channel_errors as exc:
                if getattr(exc, "reply_code", None) != NOT_FOUND:
                    raise
                counts[queue.name] = 0
    except troubles as exc:
        raise BrokerUnavailable(
            f"the broker {shown_url} cannot be reached: {type(exc).__name__}: {exc}\ncheck that it runs, and -b"
        ) from exc
    finally:
        connection.release()
    return counts
