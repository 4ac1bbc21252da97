"""The conformance kit over the hub and the loops that are installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel import Hub, SystemClock
from worker_kernel.testing import HubContract, LoopContract
from worker_loops.asynloop import asynloop
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
