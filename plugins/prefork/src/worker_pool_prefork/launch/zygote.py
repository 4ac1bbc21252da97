"""Forks children from a zygote: a process of one thread that has loaded the application, and does nothing else.

Forking is safe there, whatever threads the worker has; children share the memory of what is loaded; and a child is up
as fast as it can be forked. The zygote waits for its children, so what ended them is known as it was.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from ..child import Ends
from ..frames import FrameReader, Word, read_news
from ..orders import Equipment, Orders
from ..reactor import READ, WRITE, Reactor, Timer
from .executed import boot_frame, spawn
from .launcher import Birth, Exit, end_group, reap
from .zygote_process import EXITED, PING, REQUEST, SERVING, SPAWNED, live_forked

log = logging.getLogger("worker_pool_prefork")

PATIENCE = 10.0
"""Seconds within which a zygote that serves answers. One that does not is killed, and its children with it."""


@attrs.frozen(kw_only=True)
class ForkedZygote:
    """A zygote that was forked from the worker; it ends when its control socket is closed, or with the worker."""

    pid: int
    """The process. Nobody waits for it yet."""
    control: socket.socket
    """The worker's end."""


def fork_ahead(orders: Orders, equipment: Equipment) -> ForkedZygote | None:
    """Fork a zygote from this process, which is to have opened nothing that must not be shared.

    All signals are held in it until it has said what they mean there: a handler of the worker's would act on what the
    two still share.

    Returns:
        None where there is another thread: what that holds would be held for ever in the new process.
    """
    if not _has_one_thread():
        return None
    control, theirs = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else each child would write once more what has not been written yet
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if not pid:
            control.close()
            live_forked(theirs.fileno(), orders, equipment)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
    return ForkedZygote(pid=pid, control=control)


def _has_one_thread() -> bool:
    """Whether nothing but this thread runs in this process, threads of libraries written in C included."""
    try:
        return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208  (only their number)
    except OSError:
        return False


class Zygote:
    """The worker's view of one zygote."""

    def __init__(
        self,
        reactor: Reactor,
        orders: Orders,
        gone: Callable[[Zygote], None],
        patience: float = PATIENCE,
        forked: ForkedZygote | None = None,
    ) -> None:
        """Start it.

        Args:
            reactor: what turns its control socket.
            orders: what it loads; its index and slots mean nothing.
            gone: told when it has ended.
            patience: see `PATIENCE`.
            forked: the process; None: one is executed.
        """
        self._reactor = reactor
        self._gone = gone
        self._reader = FrameReader()
        self._births: dict[int, Birth] = {}
        self._waiting: deque[tuple[int, list[int]]] = deque()
        """Requests that the socket has no room for, with descriptors of our own."""
        self._pids: dict[int, int] = {}
        self._patience = patience
        self._serving = False
        self._answer_due: Timer | None = None
        self._given_up = False
        self._why = ""
        self._ended: Exit | None = None
        self._control, self.pid = self._execute(orders) if forked is None else self._adopt(forked)
        self._control.setblocking(False)
        reactor.watch(self._control.fileno(), READ, self._ready_for)

    def _execute(self, orders: Orders) -> tuple[socket.socket, int]:
        control, theirs = socket.socketpair()
        try:
            statement = "from worker_pool_prefork.launch.zygote_process import main; main()"
            pid = spawn(statement, "", (theirs.fileno(),))
        finally:
            theirs.close()
        control.sendall(boot_frame(orders))
        reap(self._reactor, pid, self._exited)
        return control, pid

    def _adopt(self, forked: ForkedZygote) -> tuple[socket.socket, int]:
        reap(self._reactor, forked.pid, self._exited)
        return forked.control, forked.pid

    @property
    def alive(self) -> bool:
        """Whether its process is there. It may already be known to give birth no more."""
        return self._ended is None

    @property
    def barren(self) -> bool:
        """Whether no child of it lives, or is to come."""
        return not self._births

    def bear(self, number: int, ends: Ends, birth: Birth) -> bool:
        """Ask for a child; it is told of through ``birth``. False: this one gives birth no more; ask another one."""
        try:
            self._request(number, [ends.pipe, ends.page, ends.crash])
        except OSError:
            self._give_up("takes no request")
            return False
        self._births[number] = birth
        return True

    def ping(self) -> None:
        """See whether it still answers. One that has not even come to serve is given up."""
        if not self._serving:
            self._give_up("has not come to serve")
            return
        try:
            self._request(PING, [])
        except OSError:
            self._give_up("takes no request")

    def bears(self, birth: Birth) -> bool:
        """Whether this child is, or is to be, its own."""
        return birth in self._births.values()

    def _request(self, number: int, descriptors: list[int]) -> None:
        if self._waiting or not self._send(number, descriptors):
            self._waiting.append((number, [os.dup(fd) for fd in descriptors]))
            self._reactor.watch(self._control.fileno(), READ | WRITE, self._ready_for)
        if self._serving and self._answer_due is None:
            self._answer_due = self._reactor.later(self._patience, lambda: self._give_up("does not answer"))

    def _send(self, number: int, descriptors: list[int]) -> bool:
        try:
            socket.send_fds(self._control, [number.to_bytes(REQUEST, "big")], descriptors)
        except BlockingIOError:
            return False
        return True

    def _send_waiting(self) -> None:
        try:
            while self._waiting and self._send(*self._waiting[0]):
                _close_all(self._waiting.popleft()[1])
        except OSError:
            self._give_up("takes no request")
            return
        if not self._waiting:
            self._reactor.watch(self._control.fileno(), READ, self._ready_for)

    def _give_up(self, why: str) -> None:
        if self.alive and not self._given_up:
            self._given_up = True
            log.error("the zygote %d %s: it is killed, and its %d child(ren) with it", self.pid, why, len(self._births))
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let it end, with whatever children it still has. Idempotent."""
        self._answered()
        while self._waiting:
            _close_all(self._waiting.popleft()[1])
        if self._control.fileno() >= 0:
            self._reactor.forget(self._control.fileno())
            self._control.close()

    def _ready_for(self, events: int) -> None:
        if events & WRITE:
            self._send_waiting()
        if events & READ:
            self._read()

    def _read(self) -> bool:
        """Act on what it says; returns whether there may be more."""
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        self._answered()
        for _, payload in self._reader.feed(data):
            for word, *arguments in read_news(payload):
                self._told(word, arguments)
        return True

    def _answered(self) -> None:
        if self._answer_due is not None:
            self._answer_due.cancel()
            self._answer_due = None

    def _told(self, word: str, arguments: list[Any]) -> None:
        if word == Word.PHASE:
            for birth in list(self._births.values()):
                birth.progress(arguments[0])
        elif word == Word.BROKEN:
            self._why = arguments[0]
        elif word == SERVING:
            self._serving = True
        elif word == SPAWNED and arguments[0] in self._births:
            number, self._pids[number] = arguments
            self._births[number].spawned(arguments[1])
        elif word == EXITED:
            number, status, peak = arguments
            self._drop(number, Exit(status=status, peak=peak))

    def _drop(self, number: int, ended: Exit) -> None:
        birth = self._births.pop(number, None)
        self._pids.pop(number, None)
        if birth is not None:
            birth.exited(ended)
        if self.barren:
            self._gone(self)

    def _exited(self, ended: Exit) -> None:
        """The zygote is gone, and its children with it."""
        self._ended = ended
        while self._control.fileno() >= 0 and self._read():
            pass  # what it said last
        if self._births and not self._why:
            log.error("the zygote ended with %s, and its %d child(ren) with it", ended.words, len(self._births))
        for pid in self._pids.values():
            end_group(pid)  # what its children have started
        self._pids.clear()
        births, self._births = self._births, {}
        for birth in births.values():
            if self._why:
                birth.broken(self._why)
            birth.exited(ended if self._why else Exit(status=signal.SIGKILL, peak=0))
        self._gone(self)


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


class ZygoteLauncher:
    """Starts a zygote with the first child, and anew when it has ended or new code is wanted.

    The first one may have been forked ahead (`fork_ahead`), so that nothing is imported twice and no child waits for
    it. Those that follow are executed: by then the worker has connections and threads, and the code on disk may be
    another.
    """

    def __init__(self, reactor: Reactor, *, patience: float = PATIENCE, forked: ForkedZygote | None = None) -> None:
        """Make a launcher.

        Args:
            reactor: what turns the zygotes' control sockets.
            patience: in seconds; see `PATIENCE`.
            forked: the first zygote; None: none yet.
        """
        self._reactor = reactor
        self._forked = forked
        self._patience = patience
        self._zygote: Zygote | None = None
        self._old: set[Zygote] = set()
        self._numbers = 0

    def launch(self, orders: Orders, ends: Ends, birth: Birth) -> None:
        """See `Launcher.launch`."""
        birth.send(boot_frame(orders))
        self._numbers += 1
        if not any(zygote.bear(self._numbers, ends, birth) for zygote in self._candidates(orders)):
            raise OSError("a zygote that was just started takes no request")

    def _candidates(self, orders: Orders) -> Iterator[Zygote]:
        """The one that there is, then new ones. The one forked ahead may have ended before it was wanted."""
        if self._zygote is not None:
            yield self._zygote
        for _ in range(2):
            self.renew()
            forked, self._forked = self._forked, None
            self._zygote = Zygote(self._reactor, orders, self._gone, self._patience, forked)
            yield self._zygote

    def overdue(self, birth: Birth) -> None:
        """See `Launcher.overdue`: it would be the zygote that tells, if it still answers."""
        for zygote in self._all():
            if zygote.bears(birth):
                zygote.ping()

    def renew(self) -> None:
        """See `Launcher.renew`: the next child comes from another zygote."""
        if self._zygote is not None:
            self._old.add(self._zygote)
            self._zygote = None

    def close(self) -> None:
        """See `Launcher.close`."""
        for zygote in self._all():
            zygote.close()
            if zygote.alive and not self._reactor.turn_until(lambda zygote=zygote: not zygote.alive, 5.0):  # type: ignore[misc]
                os.kill(zygote.pid, signal.SIGKILL)
                self._reactor.turn_until(lambda zygote=zygote: not zygote.alive, 5.0)  # type: ignore[misc]
        self._old.clear()
        self._zygote = None
        if self._forked is not None:
            self._forked.control.close()
            self._forked = None

    def _all(self) -> list[Zygote]:
        return [*self._old, *([self._zygote] if self._zygote else [])]

    def _gone(self, zygote: Zygote) -> None:
        """An old zygote has no children left, or any has ended."""
        if zygote in self._old:
            zygote.close()
            if not zygote.alive:
                self._old.discard(zygote)
