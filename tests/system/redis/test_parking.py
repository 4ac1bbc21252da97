"""Tasks for later on Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from tests.system.parking import TASKS, counts, park_many


@pytest.mark.timeout(1500)
@counts
def test_parked_messages_cost_no_memory_and_stand_in_nobodys_way(
    redis_site: Callable[..., Any], server: Any, count: int, until: Any
) -> None:
    site = redis_site()
    site.write(TASKS)
    worker = site.worker("-P", "threads", "-c", "2")
    with redis.Redis(port=server.port) as client:
        client.config_set("appendonly", "no")  # a disk that syncs 100,000 times is not what is measured
        park_many(site, count, 100_000, lambda: client.zcard("wk:1:delayed") == count, until)
        until(lambda: not client.exists("celery", "unacked", "unacked_index"), "what ran to be settled")
    assert worker.stop() == 0, worker.log
