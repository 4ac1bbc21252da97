"""Forks processes from the worker: fast, and only safe as long as no other thread holds a lock that they need."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

from billiard.context import ForkProcess

from ..child import Ends, let_go, run
from ..orders import Equipment, Orders
from ..reactor import Reactor
from .launcher import Birth, Exit, reap

log = logging.getLogger("worker_pool_prefork")


def fork(name: str, live: Callable[[], None]) -> ForkProcess:
    """Fork a process that lives by ``live``, which does not return; `watch` tells of its end.

    All signals are held in the new process until it has said what they mean there: a handler of the worker's would
    act on what the two still share.
    """
    process = ForkProcess(target=live, name=name)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # Else billiard would wait for it when another one starts, and nobody would learn how it ended.
    process._children.discard(process)  # noqa: SLF001
    return process


def watch(reactor: Reactor, process: ForkProcess, exited: Callable[[Exit], None]) -> None:
    """Tell ``exited`` of the end of a process that `fork` has made; once."""

    def ended(ending: Exit) -> None:
        process._popen.returncode = os.waitstatus_to_exitcode(ending.status)  # noqa: SLF001  (reaped here, not by it)
        process._popen.close()  # noqa: SLF001
        process.join(0)
        exited(ending)

    reap(reactor, process.pid, ended)


def has_one_thread() -> bool:
    """Whether nothing but this thread runs in this process, threads of libraries written in C included."""
    try:
        return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208  (only their number)
    except OSError:
        return False


class ForkLauncher:
    """Children have the worker's memory, application included, as it is when they are forked.

    They are forked by the thread that turns the reactor, which lives as long as they do: they are killed when it ends.
    """

    def __init__(self, reactor: Reactor, equipment: Equipment) -> None:
        self._reactor = reactor
        self._equipment = equipment

    def launch(self, orders: Orders, ends: Ends, birth: Birth) -> None:
        """See `Launcher.launch`."""
        name = f"{orders.title}-child-{orders.index}"
        process = fork(name, lambda: self._child(ends, orders))
        birth.spawned(process.pid)
        watch(self._reactor, process, birth.exited)

    def _child(self, ends: Ends, orders: Orders) -> None:
        let_go(ends.all)
        os._exit(run(ends, orders, lambda _: self._equipment))

    def overdue(self, birth: Birth) -> None:
        """See `Launcher.overdue`: the system tells of it, however long it takes."""

    def renew(self) -> None:
        """See `Launcher.renew`: what is forked has the worker's own code."""
        log.warning("start method fork: the new children run the code that the worker was started with")

    def close(self) -> None:
        """See `Launcher.close`."""
