"""What drives the pool: descriptors, timers and calls, in one poller that is itself a descriptor.

On the hub the poller is one reader among others, and no thread is needed. Without a hub one thread turns it. And where
the loop stands still, at a stop, whoever waits turns it. So the pool is written once, for one thread at a time.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from worker_kernel import Clock, Hub, KernelBug, TimerHandle

log = logging.getLogger("worker_pool_prefork")

R = TypeVar("R")
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_LONG = 3600.0
"""Seconds: the longest sleep."""


class Timer:
    """One call to come."""

    __slots__ = ("_action", "when")

    def __init__(self, when: float, action: Callable[[], object]) -> None:
        self.when = when
        self._action: Callable[[], object] | None = action

    def cancel(self) -> None:
        """Forget the call. Idempotent."""
        self._action = None

    def take(self) -> Callable[[], object] | None:
        """Return the call, once; None: it was cancelled."""
        action, self._action = self._action, None
        return action


class Reactor:
    """Turns descriptors, timers and calls. Everything but `call`, `post` and `fileno` belongs to whoever turns it."""

    def __init__(self, clock: Clock, *, name: str) -> None:
        """Args: ``name`` is that of the thread, where there is one."""
        self._clock = clock
        self._name = name
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._calls: deque[Callable[[], object]] = deque()
        self._woken = False
        self._wake_in, self._wake_out = os.pipe()
        for fd in (self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        self._selector.register(self._wake_in, READ, self._awake)
        self._thread: threading.Thread | None = None
        self._turner = 0
        """The thread that is in `turn`; 0: none."""
        self._ends = False
        self._hub: Hub | None = None
        self._hub_thread = 0
        """The hub's, once it has turned this; 0: not yet."""
        self._soon = False
        """Whether the hub is to make the calls that are there, in its present turn."""
        self._hub_timer: TimerHandle | None = None
        self._hub_due = _LONG

    # -- for whoever turns it

    def watch(self, fd: int, events: int, action: Callable[[int], object]) -> None:
        """Call ``action(events)`` whenever ``fd`` is ready for one of ``events``; replaces what was watched before."""
        try:
            self._selector.modify(fd, events, action)
        except KeyError:
            self._selector.register(fd, events, action)

    def forget(self, fd: int) -> None:
        """Watch a descriptor no longer; harmless where it is unknown. To be called before it is closed."""
        try:
            self._selector.unregister(fd)
        except KeyError:
            pass  # not watched

    def at(self, when: float, action: Callable[[], object]) -> Timer:
        """Call ``action()`` at a time of the clock."""
        timer = Timer(when, action)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        if self._hub is not None:
            self._arm()
        return timer

    def later(self, delay: float, action: Callable[[], object]) -> Timer:
        """Call ``action()`` in ``delay`` seconds."""
        return self.at(self._clock.monotonic() + delay, action)

    def turn(self, timeout: float | None = 0.0) -> None:
        """Do what is ready; wait for something for up to ``timeout`` seconds (None: as long as it takes).

        What one of them raises is logged, the others go on: one host's fault is not another's.
        """
        due = self._next_due()
        wait = 0.0 if self._calls else min(_LONG if timeout is None else timeout, due)
        outer, self._turner = self._turner, threading.get_ident()
        try:
            for key, events in self._selector.select(wait):
                self._run(key.data, events)
            self._fire()
            self._make_calls()
        finally:
            self._turner = outer

    def _make_calls(self) -> None:
        while self._calls:
            self._run(self._calls.popleft())

    def _fire(self) -> None:
        """Make the calls that are due now; those that they add come in a later turn, after the descriptors."""
        now = self._clock.monotonic()
        due: list[Timer] = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            action = timer.take()
            if action is not None:
                self._run(action)

    def _next_due(self) -> float:
        while self._timers and self._timers[0][2]._action is None:  # noqa: SLF001  (the two are one thing)
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self._clock.monotonic()) if self._timers else _LONG

    def _run(self, action: Callable[..., object], *args: int) -> None:
        try:
            action(*args)
        except Exception:
            log.exception("the pool of processes met an error of its own")

    def turn_until(self, happened: Callable[[], bool], timeout: float | None) -> bool:
        """Turn until ``happened()``, for up to ``timeout`` seconds; None: as long as it takes. Returns whether it did.

        For the thread to which the reactor belongs, or for any where nobody turns it.
        """
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        while not happened():
            left = None if deadline is None else deadline - self._clock.monotonic()
            if left is not None and left <= 0:
                return False
            self.turn(left)
        return True

    # -- for every thread

    def post(self, action: Callable[[], object]) -> None:
        """Have ``action()`` called by whoever turns the reactor, in the order of these calls."""
        self._calls.append(action)
        thread = threading.get_ident()
        if self._turner == thread:
            return  # who turns it comes by before it sleeps
        if self._hub is not None and self._hub_thread == thread:
            if not self._soon:
                self._soon = True
                self._hub.call_soon(self._hub_calls)
        elif not self._woken:
            self._woken = True
            try:
                os.write(self._wake_out, b"!")
            except BlockingIOError:
                pass  # it is full of wake-ups

    def call(self, action: Callable[[], R]) -> R:
        """Return what ``action()`` returns, called where the reactor is turned: here, or on its thread.

        Raises:
            BaseException: what it raises.
        """
        if self._thread is None or threading.current_thread() is self._thread:
            return action()
        future: Future[R] = Future()

        def run() -> None:
            try:
                future.set_result(action())
            except BaseException as exc:  # noqa: BLE001  (handed over to whoever waits)
                future.set_exception(exc)

        self.post(run)
        return future.result()

    def _awake(self, events: int) -> None:
        del events
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            pass  # somebody else's turn has read it
        self._woken = False  # from here on a new call wakes again; those that came before are in the queue by now

    # -- the hub, or a thread

    def fileno(self) -> int:
        """The descriptor of the poller: readable when there is something to do.

        Raises:
            KernelBug: the platform's poller has none.
        """
        fileno = getattr(self._selector, "fileno", None)
        if fileno is None:
            raise KernelBug("this platform's poller cannot be put on a hub")
        return int(fileno())

    def join(self, hub: Hub) -> None:
        """Be turned by the hub from now on."""
        self._hub = hub
        hub.add_reader(self.fileno(), self._hub_turn)
        self._arm()

    def leave(self) -> None:
        """Be turned by the hub no longer. Idempotent."""
        if self._hub is not None:
            self._hub.remove(self.fileno())
            if self._hub_timer is not None:
                self._hub_timer.cancel()
            self._hub = self._hub_timer = None

    def _hub_calls(self) -> None:
        """Make the calls that the hub's own thread has left: no descriptor has to be written and read for that."""
        self._soon = False
        outer, self._turner = self._turner, threading.get_ident()
        try:
            self._make_calls()
        finally:
            self._turner = outer

    def _hub_turn(self, *_: Any) -> None:
        self._hub_thread = threading.get_ident()
        self.turn(0.0)
        if self._hub is not None:
            self._arm()

    def _arm(self) -> None:
        """Have the hub come back when the next timer is due."""
        assert self._hub is not None  # noqa: S101  (the callers looked)
        due = self._timers[0][0] if self._timers else float("inf")
        if self._hub_timer is not None:
            if due >= self._hub_due and self._hub_due > self._clock.monotonic():
                return  # it comes early enough, and looks again
            self._hub_timer.cancel()
            self._hub_timer = None
        if due != float("inf"):
            self._hub_due = due
            delay = max(0.0, due - self._clock.monotonic())
            self._hub_timer = self._hub.timers.call_later(delay, self._hub_timer_due)

    def _hub_timer_due(self) -> None:
        self._hub_timer = None
        self._hub_turn()

    def start_thread(self) -> None:
        """Be turned by a thread from now on, until `stop_thread`."""
        self._ends = False
        self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        self._thread.start()

    def stop_thread(self) -> None:
        """End the thread, if there is one, and wait for it. Not to be called by it. Idempotent."""
        thread = self._thread
        if thread is None:
            return

        def end() -> None:
            self._ends = True

        self.post(end)
        thread.join()
        self._thread = None

    def _serve(self) -> None:
        while not self._ends:
            self.turn(None)

    @property
    def threaded(self) -> bool:
        """Whether a thread turns it."""
        return self._thread is not None

    def close(self) -> None:
        """Release the poller and the wake-up pipe; nothing is called any more. Idempotent."""
        self.leave()
        self.stop_thread()
        if self._wake_in >= 0:
            self._selector.close()
            os.close(self._wake_in)
            os.close(self._wake_out)
            self._wake_in = self._wake_out = -1
