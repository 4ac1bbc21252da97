"""Which file descriptor is watched by whom, on kombu's poller."""

from __future__ import annotations

import errno
import logging
import os
import select
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from kombu.utils.eventio import ERR, READ, WRITE, poll

from worker_kernel import Clock

log = logging.getLogger("worker_hub.descriptors")

LONGEST_POLL = 3600.0
"""Seconds to block at the most: the ``poll(2)`` poller of kombu takes None for 0, and no poller takes inf."""
SPIN_LIMIT = 1000
"""Events of one descriptor within `SPIN_WINDOW` after which it is looked at more closely."""
SPIN_WINDOW = 1.0
"""Seconds."""

Call = tuple[Callable[..., object], tuple[Any, ...]]


@attrs.define(eq=False)
class Watch:
    """What is known of one file descriptor."""

    fd: int
    """Its number."""
    owner: object
    """On whose behalf it is watched. A number that another owner registers has been closed and given out again."""
    reader: Call | None = None
    """What to call when it can be read."""
    writer: Call | None = None
    """What to call when it can be written."""
    bare: int = 0
    """Flags registered without a callback, as kombu's Redis transport does before it adds its reader."""
    registered: int = 0
    """Flags that the poller has; 0: it does not have the descriptor."""
    hits: int = 0
    """Events since ``since``."""
    since: float = 0.0
    """Monotonic time at which ``hits`` was last set to 0."""

    def wanted(self) -> int:
        """Return the flags that the poller should have."""
        flags: int = self.bare
        if self.reader is not None:
            flags |= READ | ERR
        if self.writer is not None:
            flags |= WRITE
        return flags

    def callbacks(self, event: int) -> Iterator[Call]:
        """Yield what is to be called for ``event``, looking anew after each call at what is registered.

        An error goes to the reader, which finds out what it is by reading; without one, to the writer.
        """
        reader = self.reader
        if reader is not None and event & (READ | ERR):
            yield reader
        if self.writer is not None and (event & WRITE or (event & ERR and reader is None)):
            yield self.writer


class Descriptors:
    """The registry of watched file descriptors. Belongs to the loop's thread.

    The poller is level-triggered. A descriptor that was closed without being removed is dropped and logged, and so is
    one of which a forked child still holds a copy (the kernel goes on to report it, and cannot be told not to: the
    poller is built anew). In a forked child nothing changes the parent's poller, which the child shares.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watches: dict[int, Watch] = {}
        self._poller: Any = poll()
        self._pid = os.getpid()

    def __len__(self) -> int:
        """Return how many descriptors are watched."""
        return len(self._watches)

    def get(self, fd: int) -> Watch | None:
        """Return what is known of ``fd``."""
        return self._watches.get(fd)

    def claim(self, owner: object, fd: int) -> Watch:
        """Return the watch of ``owner`` for ``fd``, a new one unless it has one. Follow up with `update`."""
        watch = self._watches.get(fd)
        if watch is None or watch.owner is not owner:
            if watch is not None:
                self.forget(watch)
            watch = Watch(fd=fd, owner=owner, since=self._clock.monotonic())
            self._watches[fd] = watch
        return watch

    def update(self, watch: Watch) -> None:
        """Tell the poller what ``watch`` wants now; forget it where that is nothing.

        Raises:
            OSError: the descriptor is closed or of a kind that cannot be polled; it is forgotten.
        """
        wanted = watch.wanted()
        if watch.registered and watch.registered != wanted:
            self._unregister(watch)  # kombu's pollers ignore a second registration with other flags
        if not wanted:
            if self._watches.get(watch.fd) is watch:
                del self._watches[watch.fd]
            return
        if not self._own():
            return
        try:
            # Also where nothing changed: the kernel has forgotten a descriptor that was closed and opened again.
            self._poller.register(watch.fd, wanted)
        except (OSError, ValueError):
            watch.registered = 0
            if self._watches.get(watch.fd) is watch:
                del self._watches[watch.fd]
            raise
        watch.registered = wanted

    def forget(self, watch: Watch) -> None:
        """Watch the descriptor no longer, nor call anything for events already polled. Never raises; idempotent."""
        watch.reader = watch.writer = None
        watch.bare = 0
        if self._watches.get(watch.fd) is watch:
            del self._watches[watch.fd]
            self._unregister(watch)

    def poll(self, timeout: float) -> list[tuple[Watch, int]]:
        """Return what is ready, waiting up to ``timeout`` seconds (>= 0, inf allowed) for something.

        May return nothing early.
        """
        ready: list[tuple[Watch, int]] = []
        for fd, event in self._poller.poll(min(timeout, LONGEST_POLL)) or ():
            watch = self._watches.get(fd)
            if watch is None:
                self._drop_ghost(fd)
            elif event & ERR and not event & (READ | WRITE) and is_closed(fd):
                self._drop_closed(watch)
            else:
                ready.append((watch, event))
        return ready

    def is_current(self, watch: Watch) -> bool:
        """Whether ``watch`` still stands: it may have been forgotten, or its number given out anew."""
        return self._watches.get(watch.fd) is watch

    def check_spin(self, watch: Watch) -> None:
        """Count one event of ``watch``, and drop it where its callback never notices that it has come to its end.

        Only a descriptor that fired more than `SPIN_LIMIT` times within a second is looked at, and only one that is
        readable without a single byte to read is dropped: a busy one is never taken for a spinning one.

        Raises:
            ConnectionResetError: it was dropped. Whoever relies on it has to connect anew.
        """
        watch.hits += 1
        if watch.hits <= SPIN_LIMIT:
            return
        now = self._clock.monotonic()
        elapsed, watch.hits, watch.since = now - watch.since, 0, now
        if elapsed >= SPIN_WINDOW:
            return
        if is_closed(watch.fd):
            self._drop_closed(watch)
        elif is_at_end(watch.fd):
            self.forget(watch)
            log.error(
                "dropped file descriptor %d, which fired %d times in %.3f s: its other end is closed, and %r does not"
                " notice",
                watch.fd,
                SPIN_LIMIT,
                elapsed,
                watch.owner,
            )
            raise ConnectionResetError(
                errno.ECONNRESET,
                f"the other end of file descriptor {watch.fd} is closed, and its reader did not notice",
            )

    def close(self) -> None:
        """Forget everything and release the poller. Idempotent."""
        self._watches.clear()
        # Without unregistering: the poller goes as a whole, and in a forked child it is the parent's as well.
        if self._poller is not None:
            self._poller.close()
            self._poller = None

    def _own(self) -> bool:
        return self._poller is not None and self._pid == os.getpid()

    def _unregister(self, watch: Watch) -> None:
        watch.registered = 0
        if self._own():
            try:
                self._poller.unregister(watch.fd)
            except (OSError, KeyError, ValueError):
                pass  # closed already: the kernel forgot it by itself, or `poll` will find it

    def _drop_ghost(self, fd: int) -> None:
        log.warning("dropped file descriptor %d, which nobody watches any more", fd)
        try:
            self._poller.unregister(fd)
        except (OSError, KeyError, ValueError):
            self._rebuild()

    def _drop_closed(self, watch: Watch) -> None:
        log.warning("dropped file descriptor %d of %r: it was closed without being removed", watch.fd, watch.owner)
        self.forget(watch)

    def _rebuild(self) -> None:
        """Replace the poller by one that knows only what is watched."""
        self._poller.close()
        self._poller = poll()
        for watch in list(self._watches.values()):
            watch.registered = 0
            try:
                self.update(watch)
            except (OSError, ValueError):
                log.warning("dropped file descriptor %d of %r: it cannot be polled any more", watch.fd, watch.owner)


def is_closed(fd: int) -> bool:
    """Whether ``fd`` is not an open file descriptor of this process."""
    try:
        os.fstat(fd)
    except OSError as exc:
        return exc.errno == errno.EBADF
    return False


def is_at_end(fd: int) -> bool:
    """Whether ``fd`` is readable for ever without a byte to read: its other end is closed.

    False where that cannot be told: on Windows, and for what does not count bytes (listening sockets, eventfds).
    """
    if not hasattr(select, "poll"):
        return False
    import fcntl
    import termios

    poller = select.poll()
    poller.register(fd, select.POLLIN)
    if not poller.poll(0):
        return False
    count = bytearray(4)
    try:
        fcntl.ioctl(fd, termios.FIONREAD, count)
    except OSError:
        return False
    return not any(count)
