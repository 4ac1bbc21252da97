"""The conformance kit for pools: one class to subclass."""

from __future__ import annotations

import importlib
from typing import ClassVar

import pytest

from ..capabilities import Capabilities
from ..pool import Pool, PoolConfig

pytest.register_assert_rewrite(
    f"{__package__}.contract_jobs",
    f"{__package__}.contract_slots",
)

from .contract_slots import SlotPromises  # noqa: E402  (after the line above, so that a failing assert shows its values)


class PoolContract(SlotPromises):
    """WIP."""

    pool_path: ClassVar[str] = ""
    capabilities: ClassVar[Capabilities]

    def make_pool(self, config: PoolConfig) -> Pool:
        """Build the pool."""
        module, _, name = self.pool_path.partition(":")
        cls: type[Pool] = getattr(importlib.import_module(module), name)
        return cls(config)
