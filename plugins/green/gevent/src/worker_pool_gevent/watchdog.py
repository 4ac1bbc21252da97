"""What a watchdog beside gevent's loop is made of, and how it reaches the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import gevent
from gevent import monkey

from worker_kernel import Greenlet, Joinable, Native

from .timer import GeventPulse


class Gevent:
    """gevent, as `worker_kernel.Green` asks for it. Belongs to the thread that makes it; `call_soon` to all."""

    name = "gevent"

    def __init__(self) -> None:
        start_new_thread, allocate_lock, get_ident = monkey.get_original(
            "_thread", ["start_new_thread", "allocate_lock", "get_ident"]
        )
        self.native = Native.raw(start_new_thread=start_new_thread, allocate_lock=allocate_lock, get_ident=get_ident)
        self._loop = gevent.get_hub().loop

    def patched(self) -> bool:
        """See `worker_kernel.Green`."""
        return bool(monkey.is_module_patched("threading"))

    def spawn(self, function: Callable[..., object], *args: object) -> Joinable:
        """See `worker_kernel.Green`."""
        return cast("Joinable", gevent.spawn(function, *args))

    def current(self) -> Greenlet:
        """See `worker_kernel.Green`."""
        return cast("Greenlet", gevent.getcurrent())

    def let_turn(self) -> None:
        """See `worker_kernel.Green`."""
        gevent.sleep(0)

    def call_soon(self, function: Callable[[], object]) -> None:
        """See `worker_kernel.Green`."""
        self._loop.run_callback_threadsafe(function)

    def pulse(self, seconds: float, beat: Callable[[], None]) -> GeventPulse:
        """See `worker_kernel.Green`."""
        return GeventPulse(seconds, beat)

    def close(self) -> None:
        """See `worker_kernel.Green`: the loop is gevent's own."""
