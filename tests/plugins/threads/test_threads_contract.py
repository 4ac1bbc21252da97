"""The conformance kit over the pool of threads."""

from __future__ import annotations

from worker_kernel.testing import PoolContract
from worker_pool_threads.capabilities import CAPABILITIES


class TestThreadsPool(PoolContract):
    pool_path = "worker_pool_threads.pool:ThreadsPool"
    capabilities = CAPABILITIES
