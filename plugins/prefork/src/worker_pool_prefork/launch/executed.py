"""Starts children as fresh interpreters, whose first statement is the patch of the pool that they run."""

from __future__ import annotations

import os
import subprocess
import sys

from ..child import Ends, run
from ..frames import HEADER, FrameKind, frame
from ..orders import Equipment, Orders
from ..reactor import Reactor
from .launcher import Birth, reap

_PIPE, _PAGE, _CRASH = 3, 4, 5
"""The numbers under which a child finds its descriptors."""


def spawn(statement: str, patch: str, descriptors: tuple[int, ...]) -> int:
    """Start a fresh interpreter on ``statement`` and return its pid.

    Args:
        statement: what it does, after the patch.
        patch: the pool whose patch it runs before anything else; empty: none.
        descriptors: what it inherits, as numbers 3, 4, ...
    """
    first = f"from worker_kernel.patching import patch; patch({patch!r}); " if patch else ""
    path = f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry not in _fresh_path()]!r}; "
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  (multiprocessing's way)
    command = [sys.executable, *options, "-c", path + first + statement]
    # From the highest number down, each is moved out of the way of the others first.
    moved = [os.dup(fd) if fd < 3 + len(descriptors) else fd for fd in descriptors]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, fd, 3 + place) for place, fd in enumerate(moved)]
        return os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setpgroup=0)
    finally:
        for fd, own in zip(moved, descriptors, strict=True):
            if fd != own:
                os.close(fd)


def _fresh_path() -> frozenset[str]:
    """What a fresh interpreter finds by itself."""
    import site

    return frozenset(
        (*site.getsitepackages(), *(entry for entry in sys.path if entry.endswith((".zip", "lib-dynload"))))
    )


class ExecLauncher:
    """Each child is an interpreter of its own, with the code that is on disk when it starts."""

    def __init__(self, reactor: Reactor, *, patch: str = "") -> None:
        """Args: ``patch`` is the pool whose patch a child runs first; empty: none."""
        self._reactor = reactor
        self._patch = patch

    def launch(self, orders: Orders, ends: Ends, birth: Birth) -> None:
        """See `Launcher.launch`."""
        descriptors = (ends.pipe, ends.page, ends.crash)
        pid = spawn("from worker_pool_prefork.launch.executed import main; main()", self._patch, descriptors)
        birth.spawned(pid)
        birth.send(boot_frame(orders))
        reap(self._reactor, pid, birth.exited)

    def overdue(self, birth: Birth) -> None:
        """See `Launcher.overdue`: the system tells of it, however long it takes."""

    def renew(self) -> None:
        """See `Launcher.renew`: it is so anyway."""

    def close(self) -> None:
        """See `Launcher.close`."""


def main() -> None:
    """Live as an executed child."""
    orders = read_orders(_PIPE)
    boot = orders.boot
    assert boot is not None  # noqa: S101  (the pool refuses to start such children without)
    boot.set_up_logging()
    ends = Ends(pipe=_PIPE, page=_PAGE, crash=_CRASH)
    os._exit(run(ends, orders, lambda phase: Equipment.of(boot.load(phase))))


def boot_frame(orders: Orders) -> bytes:
    """Return the first frame of a child that does not have the worker's memory."""
    return frame(FrameKind.BOOT, orders.to_bytes())


def read_orders(pipe: int) -> Orders:
    """Read the first frame, and not a byte more.

    Raises:
        EOFError: the worker is gone.
    """
    length, _ = HEADER.unpack(_read_exactly(pipe, HEADER.size))
    return Orders.from_bytes(_read_exactly(pipe, length))


def _read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            raise EOFError("the worker is gone")
        data += more
    return data
