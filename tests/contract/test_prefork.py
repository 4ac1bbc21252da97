"""The conformance kit over the prefork pool: by each way in which its children come to be, and on a hub."""

from __future__ import annotations

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel.clock import SystemClock
from worker_kernel.hub import Hub
from worker_kernel.testing import OnHub, PoolContract
from worker_pool_prefork.pool import PreforkPool


class TestForked(PoolContract):
    pool_path = "worker_pool_prefork.pool:PreforkPool"
    capabilities = PreforkPool.capabilities
    options = {"worker_pool_start_method": "fork"}


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
