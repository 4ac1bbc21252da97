"""What a zygote does: loads the application, or has it, forks on request, and tells of each child that ends."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import threading
from typing import NoReturn

import attrs

from ..child import Ends, die_with_parent, prepare_process, run, share_memory, why_broken
from ..frames import Word, news_frame
from ..orders import Equipment, Orders
from ..places import name_process
from .executed import read_orders
from .launcher import collect, end_group

log = logging.getLogger("worker_pool_prefork")

CONTROL = 3
"""The number of the control socket's descriptor in the zygote."""
REQUEST = 8
"""Bytes of a request: the number of the birth. The child's descriptors come with it."""
PING = 0
"""The number of a request that only wants an answer."""
SERVING, SPAWNED, EXITED = "serving", "spawned", "exited"
"""What it tells, beside `Word.PHASE` and `Word.BROKEN`: that it answers, that a child is there, that one has ended."""


def main() -> None:
    """Live as a zygote that was executed: what it has to load is told to it."""
    orders = read_orders(CONTROL)
    control = _become_zygote(CONTROL, orders)
    boot = orders.boot
    assert boot is not None  # noqa: S101  (the pool refuses to start such children without)
    boot.set_up_logging()
    gc.disable()  # next to nothing of what is loaded is garbage
    try:
        equipment = Equipment.of(boot.load(lambda words: control.sendall(news_frame([[Word.PHASE, words]]))))
        equipment.app.preload()
    except BaseException as exc:  # noqa: BLE001  (told to the worker, which tells the user)
        control.sendall(news_frame([[Word.BROKEN, why_broken(exc)]]))
        os._exit(3)
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        log.warning(
            "importing the application started threads (%s): children forked beside them can hang; start them in a "
            "hook kernel_child_init, or use --pool-start-method spawn",
            ", ".join(others[:5]),
        )
    _serve(control, equipment)


def live_forked(control: int, orders: Orders, equipment: Equipment) -> NoReturn:
    """Live as a zygote that was forked from the worker while that had one thread, and so has loaded everything.

    Returns never, whatever happens: what called it belongs to the worker.

    Args:
        control: the descriptor of its control socket.
        orders: as for `main`.
        equipment: what its children work with.
    """
    code = 1
    try:
        _serve(_become_zygote(control, orders), equipment)
        code = 0
    except BaseException:
        log.exception("the zygote cannot go on")
    finally:
        os._exit(code)


def _become_zygote(control: int, orders: Orders) -> socket.socket:
    prepare_process(orders.parent)
    for name in ("SIGUSR1", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    name_process(orders.title, (), "zygote")
    return socket.socket(fileno=control)


def _serve(control: socket.socket, equipment: Equipment) -> None:
    """Fork on request, and tell of each child that ends, until the worker is gone."""
    share_memory()
    children: dict[int, tuple[int, int]] = {}  # by the descriptor of the process: number of its birth, pid
    poller = select.poll()
    poller.register(control, select.POLLIN)
    _tell(control, [SERVING])
    while True:
        for fd, _ in poller.poll():
            if fd != control.fileno():
                poller.unregister(fd)
                number, pid = children.pop(fd)
                os.close(fd)
                ended = collect(pid)
                _tell(control, [EXITED, number, ended.status, ended.peak])
                continue
            try:
                request, ends, _, _ = socket.recv_fds(control, REQUEST, 3)
            except ConnectionResetError:  # the worker has left without reading what it was told last
                request, ends = b"", []
            if not request:
                _end(children)
            number = int.from_bytes(request, "big")
            if number == PING:
                _tell(control, [SERVING])
                continue
            pid = _fork(control, tuple(ends), children, equipment)
            for end in ends:
                os.close(end)
            process = os.pidfd_open(pid)
            children[process] = (number, pid)
            poller.register(process, select.POLLIN)
            _tell(control, [SPAWNED, number, pid])


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
        code = run(Ends(pipe=pipe, page=page, crash=crash), attrs.evolve(orders, parent=me), lambda _: equipment)
    finally:
        os._exit(code)


def _tell(control: socket.socket, news: list[object]) -> None:
    try:
        control.sendall(news_frame([news]))
    except OSError:
        pass  # the worker is gone, which the next poll tells


def _end(children: dict[int, tuple[int, int]]) -> None:
    """The worker is gone: nobody is to outlive it."""
    for _, pid in children.values():
        if not end_group(pid):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)
