"""The conformance kit over the prefork pool: by each way in which its children come to be, and on a hub."""

from __future__ import annotations

import pytest

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel.clock import SystemClock
from worker_kernel.hub import Hub
from worker_kernel.testing import OnHub, PoolContract
from worker_pool_prefork.pool import PreforkPool


@pytest.fixture(autouse=True)
def children_are_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts processes of its own: measuring them would take longer than the tests."""
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.long
class TestForked(PoolContract):
    pool_path = "worker_pool_prefork.pool:PreforkPool"
    capabilities = PreforkPool.capabilities
    options = {"worker_pool_start_method": "fork"}


@pytest.mark.long
class TestSpawned(PoolContract):
    pool_path = "worker_pool_prefork.pool:PreforkPool"
    capabilities = PreforkPool.capabilities
    options = {"worker_pool_start_method": "spawn"}


class TestForkedByServer(PoolContract):
    pool_path = "worker_pool_prefork.pool:PreforkPool"
    capabilities = PreforkPool.capabilities
    options = {"worker_pool_start_method": "forkserver"}


class TestForkedOnHub(OnHub, PoolContract):
    pool_path = "worker_pool_prefork.pool:PreforkPool"
    capabilities = PreforkPool.capabilities
    options = {"worker_pool_start_method": "fork"}

    def make_hub(self) -> Hub:
        clock = SystemClock()
        return KombuHub(HeapTimers(clock), clock)
