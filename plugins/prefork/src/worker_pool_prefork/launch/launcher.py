"""What every way to start a child has in common."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Protocol

import attrs

from ..child import Ends
from ..orders import Orders
from ..reactor import READ, Reactor


@attrs.frozen(kw_only=True)
class Exit:
    """How a process ended."""

    status: int
    """As `os.waitpid` tells it."""
    peak: int
    """Its largest resident size, in bytes; 0: not known."""

    @property
    def words(self) -> str:
        """For people: ``signal 9 (SIGKILL)``, ``exit code 3``."""
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            try:
                return f"signal {number} ({signal.Signals(number).name})"
            except ValueError:
                return f"signal {number}"
        return f"exit code {os.waitstatus_to_exitcode(self.status)}"


class Birth(Protocol):
    """Whom a launcher tells of one child."""

    def spawned(self, pid: int) -> None:
        """The process exists."""
        ...

    def send(self, frame: bytes) -> None:
        """Put a frame into the child's pipe, ahead of everything else."""
        ...

    def progress(self, words: str) -> None:
        """It is about to do something on its way to a process that takes jobs."""
        ...

    def broken(self, why: str) -> None:
        """It cannot be started, for this reason; `exited` follows."""
        ...

    def exited(self, ending: Exit) -> None:
        """The process has ended and is reaped. Told once, also where it could not be started at all."""
        ...


class Launcher(Protocol):
    """Starts children. Methods are called where the reactor is turned."""

    def launch(self, orders: Orders, ends: Ends, birth: Birth) -> None:
        """Start a child. ``ends`` stay the caller's, which closes them afterwards."""
        ...

    def overdue(self, birth: Birth) -> None:
        """A child was killed a while ago, and its end has not been told of: see whether it still can be."""
        ...

    def renew(self) -> None:
        """Start the children to come with the code that is on disk now, where that can be had."""
        ...

    def close(self) -> None:
        """Release what is held. The children have ended. Idempotent."""
        ...


def reap(reactor: Reactor, pid: int, exited: Callable[[Exit], None]) -> None:
    """Wait for a child of this process without blocking, and tell of its end, once.

    What it has started and left behind in its group is ended before its number can be given to another process.
    """
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        _poll(reactor, pid, exited)
        return

    def ended(events: int) -> None:
        del events
        reactor.forget(fd)
        os.close(fd)
        exited(collect(pid))

    reactor.watch(fd, READ, ended)


def collect(pid: int) -> Exit:
    """Reap a child that has ended, and end what is left of its group."""
    end_group(pid)
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return Exit(status=0, peak=0)  # somebody else's code has waited for all children
    return Exit(status=status, peak=usage.ru_maxrss * 1024)


def end_group(pid: int) -> bool:
    """Kill the processes of a child's group; False: it has none of its own, or nobody is in it."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


_POLL = 0.1


def _poll(reactor: Reactor, pid: int, exited: Callable[[Exit], None]) -> None:
    """The same where the platform has no descriptors for processes."""
    try:
        gone = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        gone = True
    if gone:
        exited(collect(pid))
    else:
        reactor.later(_POLL, lambda: _poll(reactor, pid, exited))
