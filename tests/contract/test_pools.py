"""The conformance kit over the kit's own fakes and every installed pool."""

from __future__ import annotations

from typing import ClassVar

from worker_kernel.capabilities import Capabilities
from worker_kernel.testing import FakeAsyncioPool, FakePool, PoolContract
from worker_pool_solo.pool import SoloPool
from worker_pool_threads.pool import ThreadsPool


class HumblePool(FakePool):
    """Declares nothing: one slot, and everything else is refused."""

    capabilities: ClassVar[Capabilities] = Capabilities()


class TestFakePool(PoolContract):
    pool_path = "worker_kernel.testing:FakePool"
    capabilities = FakePool.capabilities


class TestHumblePool(PoolContract):
    pool_path = f"{__file__}:HumblePool"
    capabilities = HumblePool.capabilities


class TestFakeAsyncioPool(PoolContract):
    pool_path = "worker_kernel.testing:FakeAsyncioPool"
    capabilities = FakeAsyncioPool.capabilities


class TestThreadsPool(PoolContract):
    pool_path = "worker_pool_threads.pool:ThreadsPool"
    capabilities = ThreadsPool.capabilities


class TestSoloPool(PoolContract):
    pool_path = "worker_pool_solo.pool:SoloPool"
    capabilities = SoloPool.capabilities
