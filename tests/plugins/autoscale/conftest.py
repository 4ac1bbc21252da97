"""A load as a policy sees it, and settings to build policies with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from worker_kernel import Load, Setting, Settings, Source, Value
from worker_kernel.settings import Layer

IDLE = Load(now=1000.0, size=1, busy=0, waiting=0, depth=0, age=None, runtime=0.0, minimum=1, maximum=10, pids=())


@pytest.fixture
def load() -> Callable[..., Load]:
    """Make a load that differs from an idle worker with one slot of at most ten."""

    def make(**given: Any) -> Load:
        return attrs.evolve(IDLE, **given)

    return make


@pytest.fixture
def settings() -> Callable[..., Settings]:
    def make(**given: object) -> Settings:
        values = {"worker_autoscale": (10, 1), "worker_autoscale_keepalive": 30.0, "worker_autoscale_memory": None}
        values |= {"worker_autoscaler": None, "worker_best_effort": False, **given}
        declared = {name: Setting(name=name, parse=lambda value: value, kind="any") for name in values}
        layers = {name: Layer.FILE if name in given else Layer.DEFAULT for name in values}
        return Settings(
            declared,
            {name: Value(value=value, source=Source(layer=layers[name])) for name, value in values.items()},
        )

    return make
