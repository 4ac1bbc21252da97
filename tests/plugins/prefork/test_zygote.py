"""The worker's view of a zygote: what it is asked while it cannot answer is neither lost nor told twice."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plugins.prefork.small_application import app

from worker_kernel import BootRecord, SystemClock
from worker_pool_prefork.child import Ends
from worker_pool_prefork.launch.launcher import Exit
from worker_pool_prefork.launch.zygote import Zygote, ZygoteLauncher
from worker_pool_prefork.orders import Orders
from worker_pool_prefork.reactor import Reactor

MANY = 400
"""Requests; a socket has room for some 270."""


class Recorded:
    """A birth that records what it is told."""

    def __init__(self) -> None:
        self.pid = 0
        self.why = ""
        self.exits: list[Exit] = []

    def spawned(self, pid: int) -> None:
        self.pid = pid

    def send(self, frame: bytes) -> None:
        """Its child's pipe is closed, so nobody reads it."""

    def progress(self, words: str) -> None:
        """The zygote loads."""

    def broken(self, why: str) -> None:
        self.why = why

    def exited(self, ending: Exit) -> None:
        self.exits.append(ending)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor(SystemClock(), name="test-reactor")
    yield reactor
    reactor.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Those of a child that finds its pipe closed, and exits with 1."""
    fds = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
    yield Ends(pipe=fds[0], page=fds[1], crash=fds[2])
    for fd in fds:
        os.close(fd)


@pytest.fixture
def orders() -> Orders:
    boot = BootRecord(origin=app.origin or "", path=tuple(sys.path), directory=str(Path.cwd()))
    return Orders(index=0, slots=(0,), title="test", parent=os.getpid(), boot=boot)


def turn_until_all_have_ended(reactor: Reactor, births: list[Recorded]) -> None:
    deadline = time.monotonic() + 60
    while not all(birth.exits for birth in births):
        assert time.monotonic() < deadline, f"{sum(not birth.exits for birth in births)} births are without an end"
        reactor.turn(0.05)


def test_more_births_than_its_socket_has_room_for_all_come(reactor: Reactor, ends: Ends, orders: Orders) -> None:
    launcher = ZygoteLauncher(reactor)
    births = [Recorded() for _ in range(MANY)]
    for birth in births:
        launcher.launch(orders, ends, birth)  # it imports the application meanwhile, and reads nothing
    turn_until_all_have_ended(reactor, births)
    assert {len(birth.exits) for birth in births} == {1}
    assert len({birth.pid for birth in births} - {0}) == MANY
    assert {os.waitstatus_to_exitcode(birth.exits[0].status) for birth in births} == {1}
    launcher.close()


def test_what_waits_for_a_zygote_that_is_killed_has_an_end(reactor: Reactor, ends: Ends, orders: Orders) -> None:
    gone: list[Zygote] = []
    zygote = Zygote(reactor, orders, gone.append)
    os.kill(zygote.pid, signal.SIGSTOP)
    births = [Recorded() for _ in range(MANY)]
    assert all(zygote.bear(number, ends, birth) for number, birth in enumerate(births, 1))
    os.kill(zygote.pid, signal.SIGKILL)
    turn_until_all_have_ended(reactor, births)
    assert {len(birth.exits) for birth in births} == {1}
    assert not zygote.alive
    assert not zygote.bear(MANY + 1, ends, Recorded())
    assert gone == [zygote]


def test_a_zygote_that_is_gone_is_replaced_before_its_end_is_told(reactor: Reactor, ends: Ends, orders: Orders) -> None:
    launcher = ZygoteLauncher(reactor)
    first, second = Recorded(), Recorded()
    launcher.launch(orders, ends, first)
    turn_until_all_have_ended(reactor, [first])
    (old,) = launcher._all()
    os.kill(old.pid, signal.SIGKILL)
    os.waitid(os.P_PID, old.pid, os.WEXITED | os.WNOWAIT)  # it is gone, and the reactor was not turned yet
    launcher.launch(orders, ends, second)
    turn_until_all_have_ended(reactor, [second])
    assert second.pid
    assert len(second.exits) == 1
    launcher.close()
