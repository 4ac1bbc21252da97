"""A child's life, from its first statement to its exit: it boots, runs its lane, and leaves."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from worker_kernel import Pool

from . import control
from .frames import Word
from .inner import InnerLane
from .lane import FastLane
from .link import Link
from .orders import Equipment, Orders
from .page import Page
from .places import name_process

log = logging.getLogger("worker_pool_prefork")

BROKEN_EXIT = 3
"""What a child exits with that could not be started, and has said why."""
_PR_SET_PDEATHSIG = 1
_DEFAULT = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGCHLD", "SIGALRM")


@attrs.frozen(kw_only=True)
class Ends:
    """The descriptors that a child has of its own."""

    pipe: int
    """Its end of the pipe."""
    page: int
    """Of the page that it shares with the worker; see `Page`."""
    crash: int
    """Where the interpreter writes the stacks when a fatal signal ends it."""

    @property
    def all(self) -> frozenset[int]:
        """Every one of them."""
        return frozenset((self.pipe, self.page, self.crash))


def run(ends: Ends, orders: Orders, equip: Callable[[Callable[[str], None]], Equipment]) -> int:
    """Live as a child, and return the exit code. Called once, in the main thread.

    Args:
        ends: its descriptors; taken over.
        orders: what to be.
        equip: loads the application; given what to call with each phase.
    """
    prepare_process(orders.parent)
    faulthandler.enable(file=ends.crash, all_threads=False)
    link = Link(socket.socket(fileno=ends.pipe))
    name_process(orders.title, orders.slots, "starting")
    multiprocessing.current_process().name = f"child-{orders.index}"  # as the log shows it
    try:
        equipment = equip(lambda words: link.tell([Word.PHASE, words]))
        if equipment.child_init is not None:
            link.tell([Word.PHASE, "hook kernel_child_init"])
            equipment.child_init(orders.index)
        page = Page(ends.page)
        lane = _make_lane(link, page, equipment, orders)
    except BaseException as exc:  # noqa: BLE001  (told to the worker, which tells the user)
        link.tell([Word.BROKEN, why_broken(exc)])
        return BROKEN_EXIT
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_be_ordinary)
    link.tell([Word.READY])
    name_process(orders.title, orders.slots, "idle")
    lane.serve()
    return _leave(equipment, orders)


def _make_lane(link: Link, page: Page, equipment: Equipment, orders: Orders) -> control.Lane:
    if not orders.inner:
        return FastLane(link, page, equipment, orders)
    link.tell([Word.PHASE, f"starting {orders.inner}"])
    module, _, name = orders.inner.partition(":")
    cls: Any = getattr(__import__(module, fromlist=[name]), name)
    assert issubclass(cls, Pool)  # noqa: S101  (the worker has chosen it)
    return InnerLane(link, page, cls, equipment, orders)


def _leave(equipment: Equipment, orders: Orders) -> int:
    """Tidy up after the last job."""
    name_process(orders.title, orders.slots, "leaving")
    try:
        if equipment.child_exit is not None:
            equipment.child_exit(orders.index)
        equipment.app.close()
    except Exception:
        log.exception("a child could not tidy up")
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # nobody reads any more
    return 0


def why_broken(exc: BaseException) -> str:
    """Return what went wrong, in lines for people: the message, and the place outside our own code."""
    import traceback

    causes = [exc]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    lines = [f"{type(exc).__name__}: {exc}"]
    lines += ["".join(traceback.format_exception(causes[-1], limit=-4)).rstrip()]
    return "\n".join(lines)


def prepare_process(parent: int) -> None:
    """Make this process one of its own: it ends with its parent, and takes no signals that are meant for that."""
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    die_with_parent(parent)
    signal.set_wakeup_fd(-1)
    for name in _DEFAULT:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    # SIGPIPE as in every Python process; the last two get their meaning with the lane.
    for name in ("SIGPIPE", "SIGINT", "SIGUSR1", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    random.seed()


_OURS = frozenset({signal.SIGTERM, signal.SIGUSR1})


def _hold_signals() -> None:
    """A task forks: what is sent to the new process before it is ordinary must wait until then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)


def _be_ordinary() -> None:
    """In a process that a task forks: signals mean what they do elsewhere, so that ``terminate`` ends it."""
    for number in (*_OURS, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    _release_signals()


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that started this process ends, where the platform can; and now, if it has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


Opened = Mapping[int, tuple[int, int]]
"""Open descriptors, and what tells what they lead to from anything else: device and inode."""


def open_descriptors() -> Opened:
    """Return what is open in this process, but for the standard streams."""
    try:
        found = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208  (no objects that hold descriptors)
    except OSError:
        found = list(range(3, os.sysconf("SC_OPEN_MAX")))
    opened = {}
    for fd in found:
        try:
            status = os.fstat(fd)
        except OSError:
            continue  # it was the listing's own
        if fd > 2:
            opened[fd] = (status.st_dev, status.st_ino)
    return opened


def let_go(own: Collection[int], inherited: Opened) -> None:
    """Give up every descriptor of the parent's, but for the standard ones, ``own``, and those that are ``inherited``.

    Each becomes one of ``/dev/null``: an object of the parent's that is collected here later closes a number, which by
    then would belong to something else.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd, identity in open_descriptors().items():
        if fd != nothing and fd not in own and inherited.get(fd) != identity:
            os.dup2(nothing, fd, inheritable=False)
    os.close(nothing)


def share_memory() -> None:
    """Keep the collector from touching, and so from copying, what there is now: forked processes share it.

    Nothing is collected before: that takes longer than all else that a new process does, and finds next to nothing.
    """
    gc.freeze()
    gc.enable()
