"""What can be done to messages, each in one step on the server. Knows keys, not AMQP."""

from __future__ import annotations

import itertools
import json
import math
import os
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from worker_kernel import QUARANTINE_SUFFIX

from . import scripts
from .link import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .link import Link

LONG = 64
"""Bytes. A hash or sorted set of few entries, none of which is longer, is kept by the server as a list, and searched
from one end for each entry that is put in or taken out. So what names a delivery or a process is made longer."""
PROCESS = uuid.uuid4().hex + uuid.uuid4().hex
"""With the number of the process, tells it from every other; `LONG`."""
SEPARATOR = "\x06\x16"
"""kombu's, between the parts of a name."""
SURVEYED = 1000
"""At most so many abandoned messages per look."""


class Delivery(NamedTuple):  # which is made in C: there is one for each message
    """One message in the hands of one consumer."""

    tag: str
    """New with each delivery; who removes it from ``unacked`` has the message."""
    queue: str
    """The queue that it was taken from."""
    list: str
    """The key of the list that it was taken from."""
    raw: bytes
    """The envelope as it was sent."""
    identity: str
    """Queue and tag of the sender; the same in each delivery of a message."""
    attempts: int
    """Earlier starts that never settled."""


@attrs.frozen(kw_only=True)
class Batch:
    """What a fetch has found."""

    deliveries: tuple[Delivery, ...]
    """In the order in which they are to be delivered."""
    waiting: int
    """Messages that were left in the queues."""
    next_due: float | None
    """Seconds until the next parked message is due, of whatever queue; None: none is parked."""
    damaged: tuple[str, ...]
    """For each entry that is no message, and is in quarantine now: its queue."""
    late: frozenset[str]
    """Tags of what was settled or parked before, and came too late."""


@attrs.frozen(kw_only=True)
class Abandoned:
    """A message that nobody holds any more."""

    owner: str
    """The nonce of the dead connection of ours; empty: it was not ours."""
    tag: str
    """Of its delivery."""
    value: bytes
    """kombu's record: message, exchange and routing key, as JSON."""


@attrs.frozen(kw_only=True)
class Move:
    """Where a message goes that somebody held."""

    owner: str
    """The nonce of who held it; empty: it was not ours."""
    tag: str
    """Of its delivery."""
    attempts: str
    """``back``: this start does not count; ``count``: it does; ``keep``: it does, and its holder must be dead;
    ``drop``: forget all starts."""
    list: str
    """The key of the list."""
    raw: bytes | str
    """The envelope."""
    where: str | float = "next"
    """``next``: taken before all others; ``last``: after them; or seconds (0 or more, inf) until it is in the list."""


class Keys:
    """The names of keys under a prefix."""

    def __init__(self, prefix: str, *, unacked: str = "unacked", index: str = "unacked_index") -> None:
        self.prefix = prefix
        """Before every key."""
        self.unacked = prefix + unacked
        self.index = prefix + index
        self.owners = f"{prefix}wk:1:owners"
        self.attempts = f"{prefix}wk:1:attempts"
        self.holders = f"{prefix}wk:1:holders"
        self.delayed = f"{prefix}wk:1:delayed"
        self.owner = f"{prefix}wk:1:owner:"
        """A prefix itself, for a nonce."""
        self.held = f"{prefix}wk:1:held:"
        """A prefix itself, for a nonce."""


class Queues:
    """The messages of one database, as one owner sees them. Belongs to the thread that owns the link.

    Every method raises redis-py's errors: a ``ConnectionError`` when the link is lost, in which case it is not known
    whether something has happened.
    """

    def __init__(self, keys: Keys, *, lease: float, visibility_timeout: float) -> None:
        """Begin with a new nonce, owning nothing.

        Args:
            keys: The names of keys.
            lease: Seconds that a message stays ours without `renew`.
            visibility_timeout: Seconds after which anybody's message is taken to be abandoned.
        """
        self.keys = keys
        self.lease = lease
        self.visibility_timeout = visibility_timeout
        self.nonce = uuid.uuid4().hex
        """Who we are."""
        self.holder = f"{PROCESS}.{os.getpid()}"
        """The process, as results are fenced by it: a connection may come and go while a task runs."""
        self._fetches = 0
        self._lists: Sequence[tuple[str, str]] = ()  # what was fetched from last, mostly the same again
        self._of_queues: list[str] = []
        self._of_keys: list[str] = []

    def fetch(
        self, link: Link, lists: Sequence[tuple[str, str]], *, width: int, limit: int, watching: bool = False
    ) -> Batch:
        """Take up to `limit` messages and hold them: `ask`, and wait for the `answer`."""
        self.ask(link, lists, width=width, limit=limit, watching=watching)
        return self.answer(link)

    def ask(
        self,
        link: Link,
        lists: Sequence[tuple[str, str]],
        *,
        width: int,
        limit: int,
        watching: bool = False,
        settled: Sequence[str] = (),
        parked: Sequence[Move] = (),
    ) -> None:
        """Begin a fetch; `answer` says what it has brought, and has to come before anything else on the link.

        Args:
            link: What to run on.
            lists: Queue and key of each list, the most urgent first.
            width: How many lists in a row are of one priority, and get their turns.
            limit: At most so many messages.
            watching: Have the link told when there is more.
            settled: Tags to `settle` before, in the same round trip.
            parked: What to `move` before, in the same.
        """
        self._fetches += 1
        names = self.keys
        arguments = [
            self.nonce,
            self.lease,
            limit,
            f"{self.nonce}.{self._fetches:0{LONG - len(self.nonce)}}.",
            width,
            self.holder,
            names.prefix,
            QUARANTINE_SUFFIX,
            names.unacked,
            names.index,
            names.held + self.nonce,
            names.owner + self.nonce,
            names.owners,
            names.attempts,
            names.holders,
        ]
        if lists is not self._lists:
            self._lists = lists
            self._of_queues, self._of_keys = [queue for queue, _ in lists], [names.delayed, *(key for _, key in lists)]
        fetch = Step(scripts.FETCH, self._of_keys, [*arguments, *self._of_queues], watching)
        before = [self._settlement(settled)] if settled else []
        if parked:
            before.append(self._moving(parked))
        link.ask(*before, fetch)

    def answer(self, link: Link) -> Batch:
        """Return what the fetch has brought that was asked for."""
        lists = self._lists
        *late, (taken, waiting, next_due, damaged) = link.answer()
        return Batch(
            deliveries=tuple(
                Delivery(
                    tag=tag.decode(),
                    queue=lists[position][0],
                    list=lists[position][1],
                    raw=raw,
                    identity=identity.decode("utf-8", "surrogateescape"),
                    attempts=attempts,
                )
                for tag, position, raw, identity, attempts in taken
            ),
            waiting=waiting,
            next_due=float(next_due) if next_due else None,
            damaged=tuple(queue.decode() for queue in damaged),
            late=_texts(itertools.chain(*late)),
        )

    def settle(self, link: Link, tags: Sequence[str]) -> frozenset[str]:
        """Remove the messages for good; return the tags that came too late."""
        return _texts(link.run_together(self._settlement(tags))[0])

    def _settlement(self, tags: Sequence[str]) -> Step:
        names = self.keys
        keys = [names.unacked, names.index, names.held + self.nonce, names.attempts, names.holders]
        return Step(scripts.SETTLE, keys, tags)

    def move(self, link: Link, moves: Iterable[Move]) -> frozenset[str]:
        """Put messages to where they can be taken again; return the tags that came too late."""
        return _texts(link.run_together(self._moving(moves))[0])

    def _moving(self, moves: Iterable[Move]) -> Step:
        names = self.keys
        arguments: list[Any] = []
        for one in moves:
            where = one.where if isinstance(one.where, str) else "inf" if math.isinf(one.where) else max(one.where, 0.0)
            arguments += [one.owner, one.tag, one.attempts, one.list, where, one.raw]
        keys = [names.unacked, names.index, names.attempts, names.holders, names.delayed]
        return Step(scripts.MOVE, keys, [names.held, names.owner, *arguments])

    def renew(self, link: Link) -> frozenset[str]:
        """Extend the lease to its full length from now; return the tags that are still ours."""
        names = self.keys
        still = link.run(
            scripts.RENEW,
            [names.unacked, names.index, names.held + self.nonce, names.owner + self.nonce, names.owners],
            [self.nonce, self.lease],
        )
        return _texts(still)

    def survey(self, link: Link) -> list[Abandoned]:
        """Look for messages that nobody holds any more: `move` them with ``keep``, and see which came too late."""
        names = self.keys
        found = link.run(
            scripts.SURVEY,
            [names.unacked, names.index, names.owners],
            [names.held, names.owner, self.visibility_timeout, SURVEYED],
        )
        return [Abandoned(owner=nonce.decode(), tag=tag.decode(), value=value) for nonce, tag, value in found]

    def leave(self, link: Link) -> None:
        """Own nothing any more, so that nobody looks for us."""
        names = self.keys
        link.run(scripts.LEAVE, [names.held + self.nonce, names.owner + self.nonce, names.owners], [self.nonce])


def redelivered(message: Mapping[str, Any]) -> str:
    """The envelope with kombu's marks of a redelivery."""
    marked = dict(message)
    headers = marked.get("headers")
    marked["headers"] = {**(headers if isinstance(headers, dict) else {}), "redelivered": True}
    properties = dict(marked["properties"])
    information = properties.get("delivery_info")
    properties["delivery_info"] = {**(information if isinstance(information, dict) else {}), "redelivered": True}
    marked["properties"] = properties
    return json.dumps(marked)


def _texts(values: Iterable[bytes]) -> frozenset[str]:
    return frozenset(value.decode() for value in values)
