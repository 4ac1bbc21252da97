"""The conformance kit over other pools that prefork hosts in child processes: ``--processes``."""

from __future__ import annotations

from typing import ClassVar

import attrs
import pytest

from worker_kernel import Capabilities, PoolConfig, PoolSpec
from worker_kernel.testing import PoolContract
from worker_pool_prefork.capabilities import hosted
from worker_pool_prefork.pool import PreforkPool
from worker_pool_threads import pools as threads_pools


class Hosting(PreforkPool):
    """Prefork as ``--processes 2`` configures it, or 1 where there is one slot."""

    inner: ClassVar[PoolSpec]

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(attrs.evolve(config, hosted=self.inner, processes=min(2, config.limit)))


def hosting(inner: PoolSpec) -> Capabilities:
    return hosted(inner).capabilities


THREADS = threads_pools()[0]


class HostedThreads(Hosting):
    inner = THREADS
    capabilities = hosting(THREADS)


@pytest.mark.long
class TestHostedThreads(PoolContract):
    pool_path = f"{__file__}:HostedThreads"
    capabilities = HostedThreads.capabilities


gevent = pytest.importorskip("worker_pool_gevent", reason="worker-pool-gevent is not installed").pools()[0]


class HostedGevent(Hosting):
    inner = gevent
    capabilities = hosting(gevent)


@pytest.mark.long
class TestHostedGevent(PoolContract):
    pool_path = f"{__file__}:HostedGevent"
    capabilities = HostedGevent.capabilities


eventlet = pytest.importorskip("worker_pool_eventlet", reason="worker-pool-eventlet is not installed").pools()[0]


class HostedEventlet(Hosting):
    inner = eventlet
    capabilities = hosting(eventlet)


@pytest.mark.long
class TestHostedEventlet(PoolContract):
    pool_path = f"{__file__}:HostedEventlet"
    capabilities = HostedEventlet.capabilities
