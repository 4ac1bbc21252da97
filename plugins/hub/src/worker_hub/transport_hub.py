"""What a kombu transport is given in place of ``kombu.asynchronous.Hub``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kombu.utils.compat import fileno
from kombu.utils.eventio import ERR, READ, WRITE

from .descriptors import LONGEST_POLL

if TYPE_CHECKING:
    from .scope import RecordingScope, ScopedCall, SoonCall

log = logging.getLogger("worker_hub.transport_hub")


class TickCallbacks:
    """The part of a set that kombu's ``Hub.on_tick`` and ``Hub.on_close`` need, in the order of adding."""

    def __init__(self, scope: RecordingScope) -> None:
        self._scope = scope
        self._callbacks: dict[Callable[..., object], None] = {}

    def add(self, callback: Callable[..., object]) -> None:
        """Add a callback, unless it is there."""
        if not self._scope.refuses("a callback"):
            self._callbacks[callback] = None

    def discard(self, callback: Callable[..., object]) -> None:
        """Take a callback away, if it is there."""
        self._callbacks.pop(callback, None)

    def remove(self, callback: Callable[..., object]) -> None:
        """Take a callback away.

        Raises:
            KeyError: it is not there.
        """
        del self._callbacks[callback]

    def clear(self) -> None:
        """Take all callbacks away."""
        self._callbacks.clear()

    def __contains__(self, callback: object) -> bool:
        return callback in self._callbacks

    def __iter__(self) -> Iterator[Callable[..., object]]:
        return iter(self._callbacks)

    def __len__(self) -> int:
        return len(self._callbacks)


class TransportHub:
    """The interface of kombu's Hub, as far as transports use it, on a `RecordingScope`. Belongs to the loop's thread.

    Descriptors may be numbers or have ``fileno()``. There is no ``run_once`` and no ``close``: a transport does not
    drive the loop. ``consolidate`` is left out, which only kombu's prefork pool uses.
    """

    READ, WRITE, ERR = READ, WRITE, ERR

    propagate_errors: tuple[type[Exception], ...] = (OSError,)
    """Errors of this transport's timers that leave ``run_once``; others are logged. Set it to the connection errors
    of the connection. Errors of descriptors, ticks and calls always leave ``run_once``."""

    def __init__(self, scope: RecordingScope) -> None:
        self._scope = scope
        self.on_tick = scope.ticks
        self.on_close = TickCallbacks(scope)
        self.poller = ScopedPoller(scope)
        self.timer = TransportTimer(self)

    @property
    def readers(self) -> Mapping[int, tuple[Callable[..., object], tuple[Any, ...]]]:
        """What is called when a descriptor of this scope can be read."""
        return MappingProxyType({watch.fd: watch.reader for watch in self._scope.watches() if watch.reader})

    @property
    def writers(self) -> Mapping[int, tuple[Callable[..., object], tuple[Any, ...]]]:
        """What is called when a descriptor of this scope can be written."""
        return MappingProxyType({watch.fd: watch.writer for watch in self._scope.watches() if watch.writer})

    def add(self, fd: Any, callback: Callable[..., object], flags: int, args: tuple[Any, ...] = ()) -> None:
        """Call ``callback(*args)`` when ``fd`` can be read or written, as ``flags`` say."""
        if flags & READ:
            self._scope.watch(fd, reader=(callback, args))
        else:
            self._scope.watch(fd, writer=(callback, args))

    def add_reader(self, fds: Any, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` when ``fds`` (one descriptor, as kombu names it) can be read."""
        self._scope.add_reader(fds, callback, *args)

    def add_writer(self, fds: Any, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback(*args)`` when ``fds`` (one descriptor, as kombu names it) can be written."""
        self._scope.add_writer(fds, callback, *args)

    def remove(self, fd: Any) -> None:
        """Forget ``fd``; harmless where it is unknown or closed."""
        self._scope.remove(fd)

    def remove_reader(self, fd: Any) -> None:
        """Stop reading ``fd``, but go on writing it."""
        self._take_away(fd, reader=None, bare=0)

    def remove_writer(self, fd: Any) -> None:
        """Stop writing ``fd``, but go on reading it."""
        self._take_away(fd, writer=None)

    def ensure_tick(self) -> None:
        """Have the callbacks of `on_tick` called again before the loop waits next. kombu's hub has no such thing."""
        self._scope.hub.ensure_tick()

    def call_soon(self, callback: Callable[..., object], *args: Any) -> SoonCall:
        """Call ``callback(*args)`` in one of the next turns. On the loop's thread only."""
        return self._scope.call_soon(callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> ScopedCall:
        """Call ``callback(*args)`` once, in ``delay`` seconds."""
        return self._scope.scoped_timers.call_later(delay, self._run_timer, callback, args, {})

    def call_at(self, when: float | datetime, callback: Callable[..., object], *args: Any) -> ScopedCall:
        """Call ``callback(*args)`` once, at a monotonic time or, as kombu does, at a date."""
        return self.timer.call_at(when, callback, args)

    def call_repeatedly(self, delay: float, callback: Callable[..., object], *args: Any) -> ScopedCall:
        """Call ``callback(*args)`` every ``delay`` seconds (> 0), for the first time after one of them."""
        return self._scope.scoped_timers.call_repeatedly(delay, self._run_timer, callback, args, {})

    def closed(self) -> None:
        """Run the ``on_close`` callbacks, logging what they raise (called when the scope was dropped)."""
        for callback in list(self.on_close):
            try:
                callback(self)
            except Exception:
                log.exception("on_close callback %r raised", callback)
        self.on_close.clear()

    def schedule(
        self,
        delay: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None,
        *,
        repeat: bool = False,
    ) -> ScopedCall:
        """Schedule a call on behalf of the `TransportTimer`."""
        timers = self._scope.scoped_timers
        method = timers.call_repeatedly if repeat else timers.call_later
        return method(delay, self._run_timer, callback, args, kwargs or {})

    def now(self) -> float:
        """Return the hub's monotonic time."""
        return self._scope.hub.clock.monotonic()

    def cancel_timers(self) -> None:
        """Cancel all timers of this scope."""
        self._scope.scoped_timers.clear()

    def _run_timer(self, callback: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        try:
            callback(*args, **kwargs)
        except self.propagate_errors as exc:
            self._scope.hub.fail(self._scope, exc)

    def _take_away(self, fd: Any, **what: Any) -> None:
        try:
            number = fileno(fd)
        except (AttributeError, OSError, ValueError):
            return
        if any(watch.fd == number for watch in self._scope.watches()):
            self._scope.watch(number, **what)


class TransportTimer:
    """The interface of kombu's Timer on the timers of a scope."""

    def __init__(self, hub: TransportHub) -> None:
        self._hub = hub

    def call_after(
        self,
        secs: float,
        fun: Callable[..., object],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> ScopedCall:
        """Call ``fun`` once, in ``secs`` seconds. ``priority`` means nothing, as in kombu."""
        return self._hub.schedule(secs, fun, args, kwargs)

    def call_at(
        self,
        eta: float | datetime,
        fun: Callable[..., object],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> ScopedCall:
        """Call ``fun`` once, at a monotonic time or a date."""
        from kombu.asynchronous.timer import to_timestamp  # imports kombu's hub as well, which nothing else here needs

        return self._hub.schedule(to_timestamp(eta) - self._hub.now(), fun, args, kwargs)

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., object],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> ScopedCall:
        """Call ``fun`` every ``secs`` seconds."""
        return self._hub.schedule(secs, fun, args, kwargs, repeat=True)

    def cancel(self, tref: ScopedCall) -> None:
        """Cancel one call."""
        tref.cancel()

    def clear(self) -> None:
        """Cancel all calls of this scope."""
        self._hub.cancel_timers()


class ScopedPoller:
    """The part of a kombu poller that its Redis transport uses on the hub's poller."""

    def __init__(self, scope: RecordingScope) -> None:
        self._scope = scope

    def register(self, fd: Any, events: int) -> Any:
        """Poll ``fd``; the callback follows by `TransportHub.add_reader` before the next poll."""
        self._scope.watch(fd, bare=events)
        return fd

    def unregister(self, fd: Any) -> None:
        """Poll ``fd`` no longer, and forget its callbacks; harmless where it is unknown or closed."""
        self._scope.remove(fd)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return what is ready of this scope's, as pairs of number and flags, waiting up to ``timeout`` seconds.

        For ``drain_events`` on a connection that is on the hub. Returns early where another descriptor is ready.
        """
        if self._scope.dropped:
            return []
        ready = self._scope.hub.descriptors.poll(LONGEST_POLL if timeout is None else max(timeout, 0.0))
        return [(watch.fd, event) for watch, event in ready if watch.owner is self._scope]
