"""The pool of eventlet's greenlets."""

from __future__ import annotations

from typing import ClassVar

from worker_kernel import Capabilities, Green, GreenPool

from .capabilities import CAPABILITIES
from .watchdog import Eventlet


class EventletPool(GreenPool):
    """Runs each job in one of ``limit`` greenlets of eventlet; see `worker_kernel.GreenPool` for what holds."""

    capabilities: ClassVar[Capabilities] = CAPABILITIES
    green: ClassVar[type[Green]] = Eventlet
