"""Signals in every state of a worker on Redis; see `StopMatrix`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.system.conftest import POOLS
from tests.system.stop_matrix import TASKS, StopMatrix


class TestOnRedis(StopMatrix):
    @pytest.fixture(params=["asynloop", pytest.param("synloop", marks=pytest.mark.long)])
    def stopping(self, request: pytest.FixtureRequest, redis_site: Callable[..., Any]) -> Any:
        site = redis_site(request.param)
        site.write(TASKS)
        return site


@pytest.mark.parametrize("pool", POOLS)
def test_a_warm_stop_without_a_broker_still_waits_for_what_runs(
    redis_site: Callable[..., Any], server: Any, proxy: Any, pool: str, until: Any
) -> None:
    site = redis_site()
    site.write(TASKS)
    site.broker_url = f"redis://127.0.0.1:{proxy.port}/0"
    worker = site.worker("-P", pool, "--result-backend", server.url)
    result = site.app.send_task("tasks.late", (4,))
    until(lambda: site.lines() == [["begun"]], "the task to begin")
    proxy.refuse()
    until(lambda: "cannot connect" in worker.log, "the loss to be noticed")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log
    assert result.get(timeout=5) == "done"
    assert site.lines() == [["begun"], ["done"]]
