"""Forks children from a zygote: a process of one thread that has loaded the application, and does nothing else.

Forking is safe there, whatever threads the worker has; children share the memory of what is loaded; and a child is up
as fast as it can be forked. The zygote waits for its children, so what ended them is known as it was.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from ..child import Ends, die_with_parent, freeze, prepare_process, run
from ..frames import FrameReader, Word, news_frame, read_news
from ..orders import Equipment, Orders
from ..places import name_process
from ..reactor import READ, Reactor
from .executed import boot_frame, read_orders, spawn
from .launcher import Birth, Exit, collect, reap

log = logging.getLogger("worker_pool_prefork")

_CONTROL = 3
"""The number of the control socket's descriptor in the zygote."""
_REQUEST = 8
"""Bytes of a request: the number of the birth. The child's descriptors come with it."""
_SPAWNED, _EXITED = "spawned", "exited"


class Zygote:
    """The worker's view of one zygote."""

    def __init__(self, reactor: Reactor, orders: Orders, gone: Callable[[Zygote], None]) -> None:
        """Start it.

        Args:
            reactor: what turns its control socket.
            orders: what it loads; its index and slots mean nothing.
            gone: told when it has ended.
        """
        self._reactor = reactor
        self._gone = gone
        self._control, theirs = socket.socketpair()
        self._reader = FrameReader()
        self._births: dict[int, Birth] = {}
        self._why = ""
        self._ended: Exit | None = None
        try:
            self.pid = spawn("from worker_pool_prefork.launch.zygote import main; main()", "", (theirs.fileno(),))
        finally:
            theirs.close()
        self._control.sendall(boot_frame(orders))
        self._control.setblocking(False)
        reactor.watch(self._control.fileno(), READ, self._read)
        reap(reactor, self.pid, self._exited)

    @property
    def alive(self) -> bool:
        """Whether it can give birth."""
        return self._ended is None

    @property
    def barren(self) -> bool:
        """Whether no child of it lives, or is to come."""
        return not self._births

    def bear(self, number: int, ends: Ends, birth: Birth) -> None:
        """Ask for a child; it is told of through ``birth``."""
        self._births[number] = birth
        try:
            socket.send_fds(self._control, [number.to_bytes(_REQUEST, "big")], [ends.pipe, ends.page, ends.crash])
        except OSError as exc:
            log.error("the zygote takes no request: %s", exc)
            self._drop(number, Exit(status=signal.SIGKILL, peak=0))

    def close(self) -> None:
        """Let it end, with whatever children it still has. Idempotent."""
        if self._control.fileno() >= 0:
            self._reactor.forget(self._control.fileno())
            self._control.close()

    def _read(self, events: int = READ) -> bool:
        """Act on what it says; returns whether there may be more."""
        del events
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        for _, payload in self._reader.feed(data):
            for word, *arguments in read_news(payload):
                self._told(word, arguments)
        return True

    def _told(self, word: str, arguments: list[Any]) -> None:
        if word == Word.PHASE:
            for birth in list(self._births.values()):
                birth.progress(arguments[0])
        elif word == Word.BROKEN:
            self._why = arguments[0]
        elif word == _SPAWNED and arguments[0] in self._births:
            self._births[arguments[0]].spawned(arguments[1])
        elif word == _EXITED:
            number, status, peak = arguments
            self._drop(number, Exit(status=status, peak=peak))

    def _drop(self, number: int, ended: Exit) -> None:
        birth = self._births.pop(number, None)
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
        births, self._births = self._births, {}
        for birth in births.values():
            if self._why:
                birth.broken(self._why)
            birth.exited(ended if self._why else Exit(status=signal.SIGKILL, peak=0))
        self._gone(self)


class ZygoteLauncher:
    """Starts a zygote with the first child, and anew when it has ended or new code is wanted."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._zygote: Zygote | None = None
        self._old: set[Zygote] = set()
        self._numbers = 0

    def launch(self, orders: Orders, ends: Ends, birth: Birth) -> None:
        """See `Launcher.launch`."""
        if self._zygote is None or not self._zygote.alive:
            self._zygote = Zygote(self._reactor, orders, self._gone)
        birth.send(boot_frame(orders))
        self._numbers += 1
        self._zygote.bear(self._numbers, ends, birth)

    def renew(self) -> None:
        """See `Launcher.renew`: the next child comes from another zygote."""
        if self._zygote is not None:
            self._old.add(self._zygote)
            self._zygote = None

    def close(self) -> None:
        """See `Launcher.close`."""
        for zygote in [*self._old, *([self._zygote] if self._zygote else [])]:
            zygote.close()
            if zygote.alive and not self._reactor.turn_until(lambda zygote=zygote: not zygote.alive, 5.0):  # type: ignore[misc]
                os.kill(zygote.pid, signal.SIGKILL)
                self._reactor.turn_until(lambda zygote=zygote: not zygote.alive, 5.0)  # type: ignore[misc]
        self._old.clear()
        self._zygote = None

    def _gone(self, zygote: Zygote) -> None:
        """An old zygote has no children left, or any has ended."""
        if zygote in self._old:
            zygote.close()
            if not zygote.alive:
                self._old.discard(zygote)


# -- in the zygote ----------------------------------------------------------------------------------------------------


def main() -> None:
    """Live as a zygote."""
    orders = read_orders(_CONTROL)
    prepare_process(orders.parent)
    for name in ("SIGUSR1", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    name_process(orders.title, (), "zygote")
    control = socket.socket(fileno=_CONTROL)
    boot = orders.boot
    assert boot is not None  # noqa: S101  (the pool refuses to start such children without)
    boot.set_up_logging()
    try:
        import kombu.connection  # noqa: F401  (what every child needs)

        equipment = Equipment.of(boot.load(lambda words: control.sendall(news_frame([[Word.PHASE, words]]))))
    except BaseException as exc:  # noqa: BLE001  (told to the worker, which tells the user)
        from ..child import _why

        control.sendall(news_frame([[Word.BROKEN, _why(exc)]]))
        os._exit(3)
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        log.warning(
            "importing the application started threads (%s): children forked beside them can hang; start them in a "
            "hook kernel_child_init, or use --pool-start-method spawn",
            ", ".join(others[:5]),
        )
    freeze()
    _serve(control, equipment)


def _serve(control: socket.socket, equipment: Equipment) -> None:
    """Fork on request, and tell of each child that ends, until the worker is gone."""
    children: dict[int, tuple[int, int]] = {}  # by the descriptor of the process: number of its birth, pid
    poller = select.poll()
    poller.register(control, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd != control.fileno():
                poller.unregister(fd)
                number, pid = children.pop(fd)
                os.close(fd)
                ended = collect(pid)
                _tell(control, [_EXITED, number, ended.status, ended.peak])
                continue
            request, ends, _, _ = socket.recv_fds(control, _REQUEST, 3)
            if not request:
                _end(children)
            number = int.from_bytes(request, "big")
            pid = _fork(control, tuple(ends), children, equipment)
            for end in ends:
                os.close(end)
            process = os.pidfd_open(pid)
            children[process] = (number, pid)
            poller.register(process, select.POLLIN)
            _tell(control, [_SPAWNED, number, pid])


def _fork(
    control: socket.socket, ends: tuple[int, ...], siblings: dict[int, tuple[int, int]], equipment: Equipment
) -> int:
    me = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        control.close()
        for fd in siblings:
            os.close(fd)
        die_with_parent(me)
        pipe, page, crash = ends
        orders = read_orders(pipe)
        code = run(Ends(pipe=pipe, page=page, crash=crash), _of(orders, me), lambda _: equipment)
    finally:
        os._exit(code)


def _of(orders: Orders, zygote: int) -> Orders:
    import attrs

    return attrs.evolve(orders, parent=zygote)


def _tell(control: socket.socket, news: list[object]) -> None:
    try:
        control.sendall(news_frame([news]))
    except OSError:
        pass  # the worker is gone, which the next poll tells


def _end(children: dict[int, tuple[int, int]]) -> None:
    """The worker is gone: nobody is to outlive it."""
    for _, pid in children.values():
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)
