"""Tasks for later on the embedded broker."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import pytest
from tests.system.parking import TASKS, counts, park_many


@pytest.mark.timeout(1500)
@counts
def test_parked_messages_cost_no_memory_and_stand_in_nobodys_way(plain_site: Any, count: int, until: Any) -> None:
    site = plain_site
    site.write(TASKS)
    worker = site.worker("-P", "threads", "-c", "2")
    park_many(site, count, 100_000, lambda: True, until)  # the broker keeps them from the moment they are sent
    with contextlib.closing(sqlite3.connect(site.folder / "broker.sqlite3")) as database:
        # What the ordinary tasks have left is settled a moment after they have ended.
        until(lambda: database.execute("SELECT count(*) FROM messages").fetchone() == (count,), "only they are left")
    assert worker.stop() == 0, worker.log
