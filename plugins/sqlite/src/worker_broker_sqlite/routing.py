"""Exchanges and bindings, kept in the file so that every process routes alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .database import Database


class Routing:
    """The table of exchanges and of bindings. Nothing is cached: what one process declares, the next message obeys."""

    def __init__(self, database: Database) -> None:
        """Work on `database`; it is not closed by this object."""
        self.database = database

    def declare(self, exchange: str, kind: str, arguments: Mapping[str, object]) -> bool:
        """Make the exchange exist; False when there is one by that name that is not the same."""
        wanted = (kind, json.dumps(dict(arguments), sort_keys=True, default=str))
        with self.database.transaction() as tx:
            found = tx.execute("SELECT type, arguments FROM exchanges WHERE name = ?", (exchange,))
            if not found:
                tx.execute("INSERT INTO exchanges (name, type, arguments) VALUES (?, ?, ?)", (exchange, *wanted))
        return not found or tuple(found[0]) == wanted

    def kind(self, exchange: str) -> str | None:
        """The type of the exchange; None where there is no such exchange."""
        rows = self.database.execute("SELECT type FROM exchanges WHERE name = ?", (exchange,))
        return str(rows[0][0]) if rows else None

    def exchanges(self) -> list[str]:
        """All exchanges by name."""
        return [str(name) for (name,) in self.database.execute("SELECT name FROM exchanges ORDER BY name")]

    def delete(self, exchange: str) -> None:
        """Remove the exchange and its bindings; the queues stay."""
        with self.database.transaction() as tx:
            tx.execute("DELETE FROM bindings WHERE exchange = ?", (exchange,))
            tx.execute("DELETE FROM exchanges WHERE name = ?", (exchange,))

    def bind(self, exchange: str, routing_key: str, queue: str) -> None:
        """Have messages to `exchange` under `routing_key` go to `queue` too. Does nothing when they do."""
        row = (exchange, routing_key, queue)
        known = "SELECT 1 FROM bindings WHERE exchange = ? AND routing_key = ? AND queue = ?"
        if not self.database.execute(known, row):
            with self.database.transaction() as tx:
                tx.execute("INSERT OR IGNORE INTO bindings (exchange, routing_key, queue) VALUES (?, ?, ?)", row)

    def unbind(self, exchange: str, routing_key: str, queue: str) -> None:
        """Undo `bind`."""
        with self.database.transaction() as tx:
            tx.execute(
                "DELETE FROM bindings WHERE exchange = ? AND routing_key = ? AND queue = ?",
                (exchange, routing_key, queue),
            )

    def bindings(self, exchange: str) -> list[tuple[str, str]]:
        """Routing keys and queues bound to the exchange, in a fixed order."""
        rows = self.database.execute(
            "SELECT routing_key, queue FROM bindings WHERE exchange = ? ORDER BY routing_key, queue", (exchange,)
        )
        return [(str(routing_key), str(queue)) for routing_key, queue in rows]
