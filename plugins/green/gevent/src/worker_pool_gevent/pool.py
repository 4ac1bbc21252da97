"""The pool of gevent's greenlets."""

from __future__ import annotations

from typing import ClassVar

from worker_kernel import Capabilities, Green, GreenPool

from .capabilities import CAPABILITIES
from .watchdog import Gevent


class GeventPool(GreenPool):
    """Runs each job in one of ``limit`` greenlets of gevent; see `worker_kernel.GreenPool` for what holds."""

    capabilities: ClassVar[Capabilities] = CAPABILITIES
    green: ClassVar[type[Green]] = Gevent
