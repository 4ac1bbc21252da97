"""The conformance kit over the hub and the loops that are installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel import BrokerConnection, Hub, SystemClock
from worker_kernel.testing import FakeTimers, HubContract, LoopContract
from worker_loops.asynloop import asynloop
from worker_loops.connection import Generation
from worker_loops.synloop import synloop


class TestKombuHub(HubContract):
    def make_hub(self) -> Hub:
        clock = SystemClock()
        return KombuHub(HeapTimers(clock), clock)


class TestAsynloop(LoopContract):
    asynchronous = True

    def make_loop(self) -> Callable[[Any, Any], None]:
        return asynloop


class TestSynloop(LoopContract):
    asynchronous = False

    def make_loop(self) -> Callable[[Any, Any], None]:
        return synloop


def test_what_the_step_connection_hands_over_is_what_the_kernel_says() -> None:
    def promised(generation: Generation) -> BrokerConnection:
        return generation  # checked by mypy

    assert set(BrokerConnection.__annotations__) <= set(vars(promised(Generation(object(), None, FakeTimers()))))
