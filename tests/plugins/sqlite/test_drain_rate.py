"""Draining does not slow down as the queue grows."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import kombu

from worker_broker_sqlite.database import Database
from worker_broker_sqlite.queues import Queues


def fill(path: str, count: int) -> None:
    database = Database(path)
    queues = Queues(database)
    head = '{"content-type": "application/json", "content-encoding": "utf-8", "headers": {}, "properties": {}}'
    with database.transaction():
        for number in range(count):
            queues.put("q", head, f"[[{number}], {{}}, {{}}]")
    database.close()


def drain(path: str, count: int) -> float:
    """Seconds of the processor that it takes to receive and acknowledge `count` messages: other load is not in them."""
    left = count

    def receive(message: Any) -> None:  # keeps nothing: the garbage collector's time is not ours
        nonlocal left
        left -= 1
        message.ack()

    with (
        kombu.Connection(f"wk-sqlite:///{path}") as connection,
        connection.Consumer([kombu.Queue("q")], on_message=receive, prefetch_count=100),
    ):
        begin = time.thread_time()
        while left:
            connection.drain_events(timeout=10)
        return time.thread_time() - begin


def test_the_drain_rate_at_10_000_messages_is_that_at_1_000(tmp_path: Path) -> None:
    ratios: list[float] = []
    for round_ in range(5):  # side by side, as many messages on either side
        large = str(tmp_path / f"jobs.db-{round_}-large")
        fill(large, 10_000)
        small = [str(tmp_path / f"jobs.db-{round_}-{part}") for part in range(10)]
        for path in small:
            fill(path, 1_000)
        first = sum(drain(path, 1_000) for path in small[:5])
        middle = drain(large, 10_000)
        ratios.append((first + sum(drain(path, 1_000) for path in small[5:])) / middle)
        if statistics.median(ratios) >= 0.9:
            break
    assert statistics.median(ratios) >= 0.9, ratios
