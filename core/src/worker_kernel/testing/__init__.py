"""The conformance kit: contracts that an implementation subclasses, and honest fakes to test against.

Author a pool, and this is its whole contract test::

    from worker_kernel.testing import PoolContract

    class TestMyPool(PoolContract):
        pool_path = "my_package.pool:MyPool"
        capabilities = MyPool.capabilities

The contracts need pytest and Hypothesis (``pip install worker-kernel[testing]``); the fakes need neither, which is why
every name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .fake_asyncio_pool import FakeAsyncioPool as FakeAsyncioPool
    from .fake_job import FakeJob as FakeJob
    from .fake_pool import FakePool as FakePool
    from .fake_time import FakeClock as FakeClock
    from .fake_time import FakeTimers as FakeTimers
    from .hub_contract import HubContract as HubContract
    from .loop_contract import LoopContract as LoopContract
    from .on_hub import OnHub as OnHub
    from .plugin_contract import PluginContract as PluginContract
    from .policy_contract import PolicyContract as PolicyContract
    from .policy_contract import a_load as a_load
    from .pool_contract import PoolContract as PoolContract
    from .promises import broken_promises as broken_promises
    from .recording import RecordingListener as RecordingListener
    from .step_contract import StepContract as StepContract

_HOMES = {
    "FakeAsyncioPool": ".fake_asyncio_pool",
    "FakeClock": ".fake_time",
    "FakeJob": ".fake_job",
    "FakePool": ".fake_pool",
    "FakeTimers": ".fake_time",
    "HubContract": ".hub_contract",
    "LoopContract": ".loop_contract",
    "OnHub": ".on_hub",
    "PluginContract": ".plugin_contract",
    "PolicyContract": ".policy_contract",
    "PoolContract": ".pool_contract",
    "RecordingListener": ".recording",
    "StepContract": ".step_contract",
    "a_load": ".policy_contract",
    "broken_promises": ".promises",
}

__all__ = [
    "FakeAsyncioPool",
    "FakeClock",
    "FakeJob",
    "FakePool",
    "FakeTimers",
    "HubContract",
    "LoopContract",
    "OnHub",
    "PluginContract",
    "PolicyContract",
    "PoolContract",
    "RecordingListener",
    "StepContract",
    "a_load",
    "broken_promises",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
