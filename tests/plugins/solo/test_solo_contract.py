"""The conformance kit over the pool that runs jobs in the main thread."""

from __future__ import annotations

from worker_kernel.testing import PoolContract
from worker_pool_solo.capabilities import CAPABILITIES


class TestSoloPool(PoolContract):
    pool_path = "worker_pool_solo.pool:SoloPool"
    capabilities = CAPABILITIES
