"""The event loop: kombu's poller and kombu's interface for transports, under a loop of our own.

kombu's own ``Hub.run_once`` is not used, because it cannot keep what `worker_kernel.Hub` promises: it polls for at
most one second when idle, runs what other threads hand over in the order of a set, and swallows errors of timers by a
list that belongs to the whole hub. ``docs/design/hub.md`` has the comparison.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
from kombu.utils.compat import fileno

from worker_kernel import Clock, KernelBug, Timers

from .descriptors import LONGEST_POLL, Descriptors, Watch
from .scope import RecordingScope
from .waker import Waker

log = logging.getLogger("worker_hub.hub")

CHAINED_CALLS = 256
"""Calls that may be made in one go though they were added by calls of the same go: kombu's AMQP transport reads one
frame per call and then asks for the next, so a burst is taken in without a poll for each frame."""


@attrs.frozen(kw_only=True)
class HubStatistics:
    """What a `KombuHub` has done and what it holds."""

    turns: int
    """Times that `run_once` was called."""
    wakeups: int
    """Times that the poller was interrupted by `wake` or by `call_soon` from another thread."""
    calls: int
    """Calls made on behalf of `call_soon`."""
    descriptors: int
    """File descriptors watched now, that of the hub's own waker not counted."""
    pending: int
    """Calls that wait to be made."""
    scopes: int
    """Scopes that were not dropped yet."""


class KombuHub:
    """`worker_kernel.Hub` on kombu's poller.

    One turn (`run_once`): pending calls, due timers, tick callbacks, poll, ready descriptors, then once more pending
    calls and due timers. It does not block where it has run anything before the poll, so that what a callback decided
    takes effect at once; idle, it blocks until a descriptor, a timer or a wake-up, for an hour at the most.

    Errors: what a callback of a descriptor, of a tick or of `call_soon` raises leaves `run_once`, and nothing is lost
    by it: the calls behind it are made by the next turn, a descriptor that was ready is still ready. Timers are
    logged, but those of a transport whose error is one of its ``propagate_errors`` leave `run_once` too. The caller
    decides what it means: a connection's error, and the connection is rebuilt; another one, and it is a fault.
    ``queue.Empty`` from a descriptor's callback means that there was nothing to read.

    Threads: everything belongs to the thread that calls `run_once`, save `call_soon` and `wake`. There is no global
    hub, and kombu's is neither read nor set. In a forked child the hub is of no use; `close` and `RecordingScope.drop`
    are harmless there.
    """

    def __init__(self, timers: Timers, clock: Clock) -> None:
        self.timers = timers
        self.clock = clock
        self.descriptors = Descriptors(clock)
        """The registry that scopes share with the hub."""
        self._waker = Waker()
        self._pid = os.getpid()
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._failures: deque[tuple[RecordingScope, Exception]] = deque()
        self._scopes: dict[RecordingScope, None] = {}
        self._thread: int | None = None
        self._ticks = False
        """Whether the tick callbacks of this turn are being called, or were, and the wait is still to come."""
        self._polls = False
        """Whether the loop may be waiting, or is just about to."""
        self._again = False
        """Whether the loop's own thread wants it not to wait."""
        self._closed = False
        self._turns = self._wakeups = self._called = 0
        self._watch_waker()

    # -- registrations ----------------------------------------------------------------------------------------------

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` whenever ``fd``, a number or something with ``fileno()``, can be read.

        A second callback replaces the first.

        Raises:
            OSError: ``fd`` is closed or cannot be polled.
        """
        self.watch(self, fileno(fd), reader=(callback, args))

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` whenever ``fd`` can be written. See `add_reader`."""
        self.watch(self, fileno(fd), writer=(callback, args))

    def remove(self, fd: Any) -> None:
        """Forget ``fd``, if it is the hub's own and not a scope's; harmless where it is unknown or closed."""
        self.unwatch(self, fd)

    def watch(self, owner: object, fd: int, **what: Any) -> Watch:
        """Set ``reader``, ``writer`` or ``bare`` of the watch that ``owner`` has for ``fd``."""
        watch = self.descriptors.claim(owner, fd)
        for name, value in what.items():
            setattr(watch, name, value)
        self.descriptors.update(watch)
        return watch

    def unwatch(self, owner: object, fd: Any) -> None:
        """Forget ``fd``, if it is watched for ``owner``."""
        try:
            watch = self.descriptors.get(fileno(fd))
        except (AttributeError, OSError, ValueError):
            return  # closed: its number is not known any more
        if watch is not None and watch.owner is owner:
            self.descriptors.forget(watch)

    def scope(self) -> RecordingScope:
        """Return a new, empty scope."""
        scope = RecordingScope(self)
        self._scopes[scope] = None
        return scope

    def forget_scope(self, scope: RecordingScope) -> None:
        """Forget a dropped scope, and the errors of its timers (called by the scope)."""
        self._scopes.pop(scope, None)
        self._failures = deque(failure for failure in self._failures if failure[0] is not scope)

    def fail(self, scope: RecordingScope, error: Exception) -> None:
        """Have the current or next `run_once` raise the error of a timer, unless its scope is dropped until then."""
        self._failures.append((scope, error))

    # -- from other threads -----------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` on the loop's thread, in the order of these calls. Callable from any thread.

        However many calls are pending, the loop is woken once. After `close`, calls are not made any more.
        """
        # No lock: a deque's append is atomic, and the loop drains the waker before it looks at the deque.
        self._calls.append((callback, args))
        if threading.get_ident() != self._thread:
            self._waker.wake()

    def wake(self) -> None:
        """Make `run_once` return soon, the next one if none is under way. For any thread and for signal handlers."""
        if threading.get_ident() == self._thread and not self._polls:  # a signal's handler may interrupt the wait
            self._again = True
        else:
            self._waker.wake()

    def ensure_tick(self) -> None:
        """Have the tick callbacks called again before the loop waits. On the loop's thread only."""
        if self._ticks:  # else they come by before that anyway
            self._again = True

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run_once(self, timeout: float | None = None) -> None:
        """Make one turn.

        Args:
            timeout: seconds to block at the most (>= 0, inf allowed); None: until the next timer.

        Raises:
            Exception: what a callback raised, see the class.
            KernelBug: the hub is closed.
        """
        if self._closed:
            raise KernelBug("run_once was called on a hub that is closed")
        self._thread = threading.get_ident()
        self._turns += 1
        busy = self._run_due()
        self._ticks = True
        for scope in list(self._scopes):
            scope.run_ticks()
        events = self._wait(0.0 if busy else self._longest(timeout))
        for watch, event in events:
            self._dispatch(watch, event)
        self._run_due()
        self._again = False

    def _wait(self, timeout: float) -> list[tuple[Watch, int]]:
        self._polls = True  # before `_again` is looked at: whoever comes later rings
        try:
            return self.descriptors.poll(0.0 if self._again or self._calls else timeout)
        finally:
            self._polls = self._ticks = False

    def statistics(self) -> HubStatistics:
        """Return the counts."""
        return HubStatistics(
            turns=self._turns,
            wakeups=self._wakeups,
            calls=self._called,
            descriptors=len(self.descriptors) - (0 if self._closed else 1),
            pending=len(self._calls),
            scopes=len(self._scopes),
        )

    def close(self) -> None:
        """Make the pending calls, drop all scopes, release the poller and the waker.

        What a call raises is logged. Idempotent. In a forked child nothing is called.
        """
        if self._closed:
            return
        if self._pid == os.getpid():
            for _ in range(len(self._calls)):
                callback, args = self._calls.popleft()
                try:
                    callback(*args)
                except Exception:
                    log.exception("call %r raised while the hub was closed", callback)
        for scope in list(self._scopes):
            scope.drop()
        self._closed = True
        self._calls.clear()
        self.descriptors.close()
        self._waker.close()

    def _longest(self, timeout: float | None) -> float:
        limits = [LONGEST_POLL]
        if timeout is not None:
            limits.append(max(timeout, 0.0))
        due = self.timers.next_due()
        if due is not None:
            limits.append(due)
        return min(limits)

    def _run_due(self) -> bool:
        """Make pending calls, then those of due timers; return whether there were any."""
        made = 0
        limit = max(len(self._calls), CHAINED_CALLS)
        while self._calls and made < limit:
            callback, args = self._calls.popleft()
            made += 1
            self._called += 1
            callback(*args)
        fired = self.timers.fire()
        if self._failures:
            raise self._failures.popleft()[1]
        return bool(made or fired)

    def _dispatch(self, watch: Watch, event: int) -> None:
        called = False
        for callback, args in watch.callbacks(event):
            called = True
            try:
                callback(*args)
            except queue.Empty:
                pass  # kombu's word for: nothing to read
        if called:
            self.descriptors.check_spin(watch)
        else:
            # Ready, and nobody wants to know: forgotten, or registered without a callback or for the other direction.
            watch.bare = 0
            self.descriptors.update(watch)

    def _watch_waker(self) -> None:
        self.watch(self._waker, self._waker.fileno(), reader=(self._on_wakeup, ()))

    def _on_wakeup(self) -> None:
        self._wakeups += 1
        self._waker.drain()
