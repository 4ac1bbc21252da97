"""What can happen to a message: put, fetched, renewed, settled, handed back, parked, quarantined, purged."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

import attrs

from .address import DEFAULT_LEASE
from .wakeup import arm, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .database import Database

LOWEST_PRIORITY, HIGHEST_PRIORITY = 0, 9

PROMOTE = "UPDATE messages SET state = 0, due = NULL WHERE queue = ? AND state = 1 AND due <= ?"
RECLAIM = (
    "UPDATE messages SET state = 0, token = NULL, lease = NULL, redelivered = 1 "
    "WHERE queue = ? AND state = 2 AND lease <= ?"
)
TAKE = (
    "UPDATE messages SET state = 2, token = ? || id, lease = ?, attempts = attempts + 1 WHERE id IN "
    "(SELECT id FROM messages WHERE queue = ? AND state = 0 ORDER BY rank, id LIMIT ?) "
    "RETURNING rank, id, token, attempts, redelivered"
)
NAMED = "token IN (SELECT value FROM json_each(?))"


@attrs.frozen(kw_only=True)
class Delivery:
    """A message in the hands of one holder."""

    id: int
    """The message's place in the file: smaller is older. Stays the same over redeliveries."""
    queue: str
    """The queue that it was taken from."""
    tag: str
    """Names this delivery and no other, of this or any other message."""
    attempts: int
    """Earlier deliveries that were never settled nor handed back; 0 or more."""
    redelivered: bool
    """Whether it was in someone's hands before."""
    head: str
    """Headers and properties, as the sender wrote them."""
    body: bytes | str | None = attrs.field(repr=False)
    """The body, as the sender wrote it."""


@attrs.frozen(kw_only=True)
class Batch:
    """What one fetch brought."""

    deliveries: tuple[Delivery, ...]
    """Queue by queue; within a queue by priority, then by age."""
    more: bool
    """Whether the fetch was filled to its limit, so that more may be ready."""
    next_due: float | None
    """Wall clock time at which a message of these queues becomes due or a lease runs out, when not `more`."""


@attrs.frozen(kw_only=True)
class Counts:
    """How many messages a queue has, by state."""

    ready: int
    """May be fetched now."""
    waiting: int
    """Not due yet: sent with an eta, or parked."""
    held: int
    """In the hands of a consumer."""


class Queues:
    """The operations on messages, each one transaction, or part of the caller's.

    No state but the database: any number of these in any number of processes may work on one file.  Whoever names
    a token that is not current any more changes nothing.
    """

    def __init__(
        self, database: Database, *, lease: float = DEFAULT_LEASE, now: Callable[[], float] = time.time
    ) -> None:
        """Work on `database`.

        Args:
            database: The file; this object uses its connection and does not close it.
            lease: Seconds that a fetched message stays with its holder without a renewal.
            now: The wall clock.
        """
        self.database = database
        self.lease = lease
        self._now = now

    def declare(self, queue: str) -> None:
        """Make the queue exist. Does nothing when it does."""
        if not self.exists(queue):
            with self.database.transaction() as tx:
                tx.execute("INSERT OR IGNORE INTO queues (name) VALUES (?)", (queue,))

    def exists(self, queue: str) -> bool:
        """Whether the queue was declared or sent to, and not deleted since."""
        return bool(self.database.execute("SELECT 1 FROM queues WHERE name = ?", (queue,)))

    def delete(self, queue: str) -> None:
        """Remove the queue, its bindings, and its messages, save those in the hands of a consumer."""
        with self.database.transaction() as tx:
            self.purge(queue)
            tx.execute("DELETE FROM bindings WHERE queue = ?", (queue,))
            tx.execute("DELETE FROM queues WHERE name = ?", (queue,))

    def put(
        self, queue: str, head: str, body: bytes | str | None, *, priority: int = 0, due: float | None = None
    ) -> int:
        """Add a message at the end of its priority, and wake who waits for it.

        Args:
            queue: Where to; it comes into being if need be.
            head: Kept as it is.
            body: Kept as it is.
            priority: 0 to 9, larger is more urgent; other numbers are taken for the nearest one.
            due: Wall clock time before which nobody gets the message; None or past: at once.

        Returns:
            The message's id, larger than every one before.
        """
        rank = HIGHEST_PRIORITY - min(max(priority, LOWEST_PRIORITY), HIGHEST_PRIORITY)
        if due is not None and due <= self._now():
            due = None
        with self.database.transaction() as tx:
            tx.execute("INSERT OR IGNORE INTO queues (name) VALUES (?)", (queue,))
            rows = tx.execute(
                "INSERT INTO messages (queue, rank, state, due) VALUES (?, ?, ?, ?) RETURNING id",
                (queue, rank, 0 if due is None else 1, due),
            )
            message_id = int(rows[0][0])
            tx.execute("INSERT INTO contents (id, head, body) VALUES (?, ?, ?)", (message_id, head, body))
            call(tx, [topic(queue)])
        return message_id

    def fetch(self, queues: Sequence[str], limit: int, *, waiter: str | None = None) -> Batch:
        """Take up to `limit` messages: each is this caller's alone until its lease runs out.

        Messages that are due, and those whose holder's lease has run out, are ready again.  Raises the attempts of
        what it takes in the same transaction.

        Args:
            queues: Where from: the first one's messages first.
            limit: At most so many messages, 1 or more.
            waiter: Name of the waiter to arm when fewer than `limit` were ready.
        """
        now = self._now()
        prefix = f"{uuid.uuid4().hex}."
        taken: list[tuple[str, int, str, int, int]] = []
        next_due: float | None = None
        with self.database.transaction() as tx:
            for queue in queues:
                tx.execute(PROMOTE, (queue, now))
                tx.execute(RECLAIM, (queue, now))
                rows = tx.execute(TAKE, (prefix, now + self.lease, queue, limit - len(taken)))
                rows.sort()  # by rank, then id: RETURNING promises no order
                taken.extend((queue, *row[1:]) for row in rows)
                if len(taken) >= limit:
                    break
            else:
                next_due = self.next_due(queues)
                if waiter is not None:
                    arm(tx, map(topic, queues), waiter)
            contents = self._contents([message_id for _, message_id, *_ in taken])
        return Batch(
            deliveries=tuple(
                Delivery(
                    id=message_id,
                    queue=queue,
                    tag=token,
                    attempts=attempts - 1,
                    redelivered=bool(redelivered),
                    head=contents[message_id][0],
                    body=contents[message_id][1],
                )
                for queue, message_id, token, attempts, redelivered in taken
            ),
            more=len(taken) >= limit,
            next_due=next_due,
        )

    def next_due(self, queues: Iterable[str]) -> float | None:
        """Wall clock time at which the next message of these queues becomes due or a lease runs out; None: never."""
        moments = [
            moment
            for queue in queues
            for (moment,) in (
                self.database.execute("SELECT min(due) FROM messages WHERE queue = ? AND state = 1", (queue,))
                + self.database.execute("SELECT min(lease) FROM messages WHERE queue = ? AND state = 2", (queue,))
            )
            if moment is not None
        ]
        return min(moments, default=None)

    def renew(self, tokens: Sequence[str]) -> frozenset[str]:
        """Extend the leases to a full `lease` from now; return the tokens that are not current any more."""
        with self.database.transaction() as tx:
            rows = tx.execute(
                f"UPDATE messages SET lease = ? WHERE {NAMED} RETURNING token",  # noqa: S608  # a constant
                (self._now() + self.lease, json.dumps(list(tokens))),
            )
        return _missing(tokens, rows)

    def settle(self, tokens: Sequence[str]) -> frozenset[str]:
        """Remove the messages for good; return the tokens that are not current any more."""
        with self.database.transaction() as tx:
            rows = tx.execute(
                f"DELETE FROM messages WHERE {NAMED} RETURNING token, id",  # noqa: S608  # a constant
                (json.dumps(list(tokens)),),
            )
            tx.execute(
                "DELETE FROM contents WHERE id IN (SELECT value FROM json_each(?))", (json.dumps([i for _, i in rows]),)
            )
        return _missing(tokens, rows)

    def hand_back(self, tokens: Sequence[str], *, started: bool = False) -> frozenset[str]:
        """Put the messages back to where they were taken from, as if never started, but marked as redelivered.

        Args:
            tokens: Of the deliveries.
            started: Whether the start that each of them has had counts all the same.

        Returns:
            The tokens that are not current any more.
        """
        with self.database.transaction() as tx:
            named = json.dumps(list(tokens))
            rows = tx.execute(f"SELECT token, queue FROM messages WHERE {NAMED}", (named,))  # noqa: S608  # a constant
            tx.execute(
                "UPDATE messages SET state = 0, token = NULL, lease = NULL, attempts = attempts - ?, redelivered = 1 "  # noqa: S608  # a constant
                f"WHERE {NAMED}",
                (0 if started else 1, named),
            )
            call(tx, sorted({topic(queue) for _, queue in rows}))
        return _missing(tokens, rows)

    def park(self, token: str, seconds: float) -> bool:
        """Make the message invisible for `seconds` from now, then ready at its old place, as if never started.

        Args:
            token: Of the delivery.
            seconds: What is not above 0 counts as 0; inf is allowed, and only `purge` or `delete` ends that.

        Returns:
            False, and nothing changed, when the token is not current any more.
        """
        with self.database.transaction() as tx:
            rows = tx.execute(
                "UPDATE messages SET state = 1, due = ?, token = NULL, lease = NULL, attempts = attempts - 1, "
                "redelivered = 1 WHERE token = ? RETURNING queue",
                (self._now() + (seconds if seconds > 0 else 0.0), token),
            )
            call(tx, [topic(queue) for (queue,) in rows])  # their idea of what is due next has changed
        return bool(rows)

    def move(self, token: str, queue: str, head: str) -> bool:
        """Take the message out of its holder's hands into another queue, under a new head and with no attempts.

        Returns:
            False, and nothing changed, when the token is not current any more.
        """
        with self.database.transaction() as tx:
            rows = tx.execute(
                "UPDATE messages SET queue = ?, state = 0, token = NULL, lease = NULL, attempts = 0, redelivered = 1 "
                "WHERE token = ? RETURNING id",
                (queue, token),
            )
            for (message_id,) in rows:
                tx.execute("UPDATE contents SET head = ? WHERE id = ?", (head, message_id))
                tx.execute("INSERT OR IGNORE INTO queues (name) VALUES (?)", (queue,))
                call(tx, [topic(queue)])
        return bool(rows)

    def purge(self, queue: str) -> int:
        """Remove the messages that are in nobody's hands, due or not; return how many."""
        now = self._now()
        with self.database.transaction() as tx:
            tx.execute(RECLAIM, (queue, now))
            rows = tx.execute("DELETE FROM messages WHERE queue = ? AND state = 0 RETURNING id", (queue,))
            rows += tx.execute("DELETE FROM messages WHERE queue = ? AND state = 1 RETURNING id", (queue,))
            tx.execute(
                "DELETE FROM contents WHERE id IN (SELECT value FROM json_each(?))", (json.dumps([i for (i,) in rows]),)
            )
        return len(rows)

    def counts(self, queue: str) -> Counts:
        """How many messages the queue has, by state; a message whose lease has run out is ready."""
        one = "SELECT count(*) FROM messages WHERE queue = ? AND "
        now, ask = self._now(), self.database.execute
        not_due = ask(f"{one} state = 1 AND due > ?", (queue, now))[0][0]
        due = ask(f"{one} state = 1 AND due <= ?", (queue, now))[0][0]
        held = ask(f"{one} state = 2 AND lease > ?", (queue, now))[0][0]
        lapsed = ask(f"{one} state = 2 AND lease <= ?", (queue, now))[0][0]
        ready = ask(f"{one} state = 0", (queue,))[0][0]
        return Counts(ready=ready + due + lapsed, waiting=not_due, held=held)

    def next_id(self, queue: str) -> int | None:
        """Return the id of the message that would be fetched next, of those that are ready already."""
        rows = self.database.execute(
            "SELECT id FROM messages WHERE queue = ? AND state = 0 ORDER BY rank, id LIMIT 1", (queue,)
        )
        return int(rows[0][0]) if rows else None

    def size(self, queue: str) -> int:
        """How many messages of the queue are in nobody's hands, due or not: what `purge` would remove."""
        counts = self.counts(queue)
        return counts.ready + counts.waiting

    def _contents(self, ids: list[int]) -> dict[int, tuple[str, bytes | str | None]]:
        if not ids:
            return {}
        rows = self.database.execute(
            "SELECT id, head, body FROM contents WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
        )
        return {message_id: (head, body) for message_id, head, body in rows}


def is_held(database: Database, token: str) -> bool:
    """Whether some message is in the hands of the holder of `token` at this moment."""
    return bool(database.execute("SELECT 1 FROM messages WHERE token = ?", (token,)))


def topic(queue: str) -> str:
    """The topic under which consumers of `queue` wait."""
    return f"queue:{queue}"


def _missing(tokens: Iterable[str], rows: Iterable[Sequence[object]]) -> frozenset[str]:
    return frozenset(tokens).difference(str(row[0]) for row in rows)
