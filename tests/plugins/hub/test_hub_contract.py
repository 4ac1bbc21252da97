from __future__ import annotations

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel import Hub, SystemClock
from worker_kernel.testing import HubContract


class TestKombuHub(HubContract):
    def make_hub(self) -> Hub:
        clock = SystemClock()
        return KombuHub(HeapTimers(clock), clock)
