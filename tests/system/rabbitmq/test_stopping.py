"""Signals in every state of a worker on RabbitMQ; see `StopMatrix`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.system.conftest import POOLS
from tests.system.stop_matrix import TASKS, StopMatrix


class TestOnRabbitMQ(StopMatrix):
    @pytest.fixture(params=["asynloop", pytest.param("synloop", marks=pytest.mark.long)])
    def stopping(self, request: pytest.FixtureRequest, rabbit_site: Callable[..., Any]) -> Any:
        site = rabbit_site("classic", request.param)
        site.write(TASKS)
        return site


@pytest.mark.parametrize("pool", POOLS)
def test_a_warm_stop_without_a_broker_still_waits_for_what_runs(
    rabbit_site: Callable[..., Any], proxy: Any, pool: str, until: Any
) -> None:
    site = rabbit_site("classic")
    site.write(TASKS)
    site.broker_url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
    worker = site.worker("-P", pool)
    result = site.app.send_task("tasks.late", (4,))
    until(lambda: site.lines() == [["begun"]], "the task to begin")
    proxy.refuse()
    until(lambda: "cannot connect" in worker.log, "the loss to be noticed")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log
    assert result.get(timeout=5) == "done"
    assert site.lines() == [["begun"], ["done"]]
