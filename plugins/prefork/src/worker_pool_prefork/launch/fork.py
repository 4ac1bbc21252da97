"""Forks children from the worker: fast, and only safe as long as no other thread holds a lock that they need."""

from __future__ import annotations

import logging
import os

from billiard.context import ForkProcess

from ..child import Ends, Opened, let_go, run
from ..orders import Equipment, Orders
from ..reactor import Reactor
from .launcher import Birth, Exit, reap

log = logging.getLogger("worker_pool_prefork")


class ForkLauncher:
    """Children have the worker's memory, application included, as it is when they are forked.

    They are forked by the thread that turns the reactor, which lives as long as they do: they are killed when it ends.
    """

    def __init__(self, reactor: Reactor, equipment: Equipment, inherited: Opened) -> None:
        """Make a launcher.

        Args:
            reactor: what learns of their ends.
            equipment: what they work with.
            inherited: descriptors of the application's, which they have as well; the worker's own they give up.
        """
        self._reactor, self._inherited = reactor, inherited
        self._equipment = equipment

    def launch(self, orders: Orders, ends: Ends, birth: Birth) -> None:
        """See `Launcher.launch`."""
        process = ForkProcess(target=self._child, args=(ends, orders), name=f"{orders.title}-child-{orders.index}")
        process.start()
        # Else billiard would wait for it when another one starts, and nobody would learn how it ended.
        process._children.discard(process)  # noqa: SLF001
        birth.spawned(process.pid)

        def exited(ending: Exit) -> None:
            process._popen.returncode = os.waitstatus_to_exitcode(ending.status)  # noqa: SLF001  (reaped here, not by it)
            process._popen.close()  # noqa: SLF001
            process.join(0)
            birth.exited(ending)

        reap(self._reactor, process.pid, exited)

    def _child(self, ends: Ends, orders: Orders) -> None:
        let_go(ends.all, self._inherited)
        os._exit(run(ends, orders, lambda _: self._equipment))

    def overdue(self, birth: Birth) -> None:
        """See `Launcher.overdue`: the system tells of it, however long it takes."""

    def renew(self) -> None:
        """See `Launcher.renew`: what is forked has the worker's own code."""
        log.warning("start method fork: the new children run the code that the worker was started with")

    def close(self) -> None:
        """See `Launcher.close`."""
