"""What a watchdog beside eventlet's loop is made of, and how it reaches the loop."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from greenlet import getcurrent

from worker_kernel import Greenlet, Joinable, Native

from .patch import load
from .timer import EventletPulse

eventlet = load()


class Joint:
    """A greenlet of eventlet's that can be waited for with a time limit."""

    def __init__(self, thread: Any) -> None:
        self._thread = thread

    def join(self, timeout: float | None = None) -> None:
        """See `worker_kernel.Joinable`."""
        with eventlet.Timeout(timeout, False), contextlib.suppress(BaseException):
            self._thread.wait()


class Eventlet:
    """eventlet, as `worker_kernel.Green` asks for it. Belongs to the thread that makes it; `call_soon` to all."""

    name = "eventlet"

    def __init__(self) -> None:
        thread = eventlet.patcher.original("_thread")
        self.native = Native.raw(
            start_new_thread=thread.start_new_thread, allocate_lock=thread.allocate_lock, get_ident=thread.get_ident
        )
        self._hub = eventlet.hubs.get_hub()
        self._calls: deque[Callable[[], object]] = deque()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._listener = self._hub.add(self._hub.READ, self._reader, self._on_readable, self._on_readable, lambda: None)
        self._open = True

    def patched(self) -> bool:
        """See `worker_kernel.Green`."""
        return bool(eventlet.patcher.is_monkey_patched("thread"))

    def spawn(self, function: Callable[..., object], *args: object) -> Joinable:
        """See `worker_kernel.Green`."""
        return Joint(eventlet.spawn(function, *args))

    def current(self) -> Greenlet:
        """See `worker_kernel.Green`."""
        return cast("Greenlet", getcurrent())

    def let_turn(self) -> None:
        """See `worker_kernel.Green`."""
        eventlet.sleep(0)

    def call_soon(self, function: Callable[[], object]) -> None:
        """See `worker_kernel.Green`: eventlet has no such call, so a pipe wakes its loop."""
        self._calls.append(function)
        with contextlib.suppress(OSError):  # full: it is readable already; or closed
            os.write(self._writer, b"\0")

    def pulse(self, seconds: float, beat: Callable[[], None]) -> EventletPulse:
        """See `worker_kernel.Green`."""
        return EventletPulse(seconds, beat)

    def close(self) -> None:
        """See `worker_kernel.Green`."""
        if self._open:
            self._open = False
            self._hub.remove(self._listener)
            os.close(self._reader)
            os.close(self._writer)

    def _on_readable(self, *_: object) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._reader, 4096)) == 4096:
                pass
        for _call in range(len(self._calls)):
            # Each by itself: one may switch to a greenlet, and raise.
            self._hub.schedule_call_global(0, self._calls.popleft())
