"""Quarantine on Redis is read without being touched, whatever lies there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

RAW = [b"{", b"\xff\xfe", b"[]", b"", json.dumps({"headers": {"id": "x", "task": "t"}, "body": 7}).encode()]
"""What no worker can open."""


@pytest.fixture
def stocked(redis_site: Callable[..., Any], server: Any, until: Any) -> Any:
    """A site in whose quarantine are two messages and some entries that are none."""
    site = redis_site()
    site.write("""
        @app.task
        def refuse(): raise Reject("not today")
    """)
    with redis.Redis(port=server.port) as client:
        client.lpush("celery", *RAW)
        site.sent = [site.app.send_task("tasks.refuse", priority=priority).id for priority in (0, 9)]
        worker = site.worker("-P", "solo")
        until(lambda: client.llen("celery.quarantine") == len(RAW) + 2, "all to be put aside")
        assert worker.stop() == 0, worker.log
        site.left = lambda: client.lrange("celery.quarantine", 0, -1)
        yield site
        assert not client.exists("celery.quarantine.quarantine", "unacked", "unacked_index", "wk:1:holders")


def listed(site: Any, *words: str) -> list[dict[str, Any]]:
    done = site.kernel("-b", site.url, "quarantine", *words, "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["quarantined"])


def test_list_and_show_leave_everything_as_it_is(stocked: Any) -> None:
    before = stocked.left()
    rows = listed(stocked, "list")
    assert len(rows) == len(RAW) + 2
    assert {row["id"] for row in rows} == {*stocked.sent, "x", None}
    assert all(row["reason"] for row in rows if row["id"] != "x")
    assert all(row["since"] for row in rows if row["id"] in stocked.sent)
    assert stocked.kernel("-b", stocked.url, "quarantine", "list").returncode == 0
    (shown,) = listed(stocked, "show", stocked.sent[0])
    assert shown["headers"]["task"] == "tasks.refuse"
    assert "not today" in shown["reason"]
    assert stocked.left() == before


def test_what_is_no_message_is_not_sent_again_and_can_be_dropped(stocked: Any) -> None:
    done = stocked.kernel("-b", stocked.url, "quarantine", "drop", stocked.sent[1])
    assert (done.returncode, done.stdout) == (0, "1 message dropped\n")
    done = stocked.kernel("-b", stocked.url, "quarantine", "retry", "--all")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1 message retried")
    assert f"{len(RAW)} left" in done.stdout
    assert stocked.queue_size() == 1
    assert len(stocked.left()) == len(RAW)
    done = stocked.kernel("-b", stocked.url, "quarantine", "drop", "--all")
    assert (done.returncode, done.stdout) == (0, f"{len(RAW)} messages dropped\n")
    assert stocked.left() == []
