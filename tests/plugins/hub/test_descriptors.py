"""Descriptors that would make the loop spin: closed behind its back, or at their end without their reader noticing."""

from __future__ import annotations

import logging
import os
import socket
import threading

import pytest
from kombu.utils.eventio import ERR

from worker_hub.descriptors import SPIN_LIMIT, SPIN_WINDOW, Descriptors
from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel import SystemClock
from worker_kernel.testing import FakeClock

LONG = 60.0


def turns_while_idle(hub: KombuHub) -> int:
    """How many turns the hub takes for 0.2 s in which nothing happens."""
    done: list[int] = []
    hub.timers.call_later(0.2, done.append, 1)
    before = hub.statistics().turns
    while not done:
        hub.run_once()
    return hub.statistics().turns - before


def test_a_descriptor_closed_behind_the_hubs_back_does_not_spin(caplog: pytest.LogCaptureFixture) -> None:
    """The worst kind: a copy of it lives on, so the kernel goes on to report what cannot be unregistered."""
    hub = KombuHub(HeapTimers(SystemClock()), FakeClock())  # for the detector, everything happens within a second
    ours, theirs = socket.socketpair()
    hub.add_reader(ours.fileno(), lambda: None)
    copy = os.dup(ours.fileno())
    theirs.send(b"never read")
    ours.close()
    with caplog.at_level(logging.WARNING, logger="worker_hub.descriptors"):
        for _ in range(2 * SPIN_LIMIT + 10):
            hub.run_once(timeout=0.0)
    assert hub.statistics().descriptors == 0
    assert "closed without being removed" in caplog.text
    assert turns_while_idle(hub) <= 4
    os.close(copy)
    theirs.close()
    hub.close()


def test_a_number_that_nobody_watches_any_more_does_not_spin(hub: KombuHub) -> None:
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    hub.add_reader(number, lambda: None)
    copy = os.dup(number)
    theirs.send(b"never read")
    ours.close()
    hub.remove(number)  # too late: the kernel has no such descriptor to unregister
    assert turns_while_idle(hub) <= 4
    other = threading.Thread(target=hub.wake)
    other.start()
    hub.run_once(timeout=LONG)
    other.join()
    assert hub.statistics().wakeups == 1  # what is watched is still watched
    os.close(copy)
    theirs.close()


def test_a_reader_that_does_not_notice_the_end_is_dropped_with_an_error(
    pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    hub = KombuHub(HeapTimers(clock), clock)
    hub.add_reader(pair[0], lambda: None)
    pair[1].close()
    for _ in range(SPIN_LIMIT):
        hub.run_once(timeout=LONG)
    with pytest.raises(ConnectionResetError, match="did not notice"):
        hub.run_once(timeout=LONG)
    assert "dropped file descriptor" in caplog.text
    assert hub.statistics().descriptors == 0
    hub.close()


def test_a_busy_descriptor_is_not_taken_for_a_spinning_one(pair: tuple[socket.socket, socket.socket]) -> None:
    clock = FakeClock()  # stands still: everything happens within a second
    hub = KombuHub(HeapTimers(clock), clock)
    got: list[bytes] = []
    hub.add_reader(pair[0], lambda: got.append(pair[0].recv(1)))
    for _ in range(2 * SPIN_LIMIT + 10):
        pair[1].send(b"x")
        hub.run_once(timeout=LONG)
    assert len(got) == 2 * SPIN_LIMIT + 10
    assert hub.statistics().descriptors == 1
    hub.close()


def test_a_reader_that_takes_its_time_is_not_spinning(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    clock = FakeClock()
    hub = KombuHub(HeapTimers(clock), clock)
    got: list[bytes] = []
    hub.add_reader(pair[0], lambda: got.append(pair[0].recv(1)))
    pair[1].send(b"x" * (2 * SPIN_LIMIT + 10))
    for _ in range(2 * SPIN_LIMIT + 10):
        hub.run_once(timeout=LONG)
    assert len(got) == 2 * SPIN_LIMIT + 10
    assert hub.statistics().descriptors == 1
    hub.close()


def test_an_end_that_fires_slowly_is_left_to_its_reader(pair: tuple[socket.socket, socket.socket]) -> None:
    clock = FakeClock()
    hub = KombuHub(HeapTimers(clock), clock)
    hub.add_reader(pair[0], lambda: None)
    pair[1].close()
    for _ in range(2 * SPIN_LIMIT + 10):
        clock.advance(SPIN_WINDOW / SPIN_LIMIT)
        hub.run_once(timeout=LONG)
    assert hub.statistics().descriptors == 1
    hub.close()


def test_an_invalid_descriptor_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """As ``poll(2)`` and ``select(2)`` report it; epoll never does."""

    class InvalidPoller:
        def register(self, fd: int, flags: int) -> None:
            self.fd = fd

        def unregister(self, fd: int) -> None:
            raise KeyError(fd)

        def poll(self, timeout: float) -> list[tuple[int, int]]:
            return [(self.fd, ERR)]

        def close(self) -> None:
            """Nothing to release."""

    reader, writer = os.pipe()
    descriptors = Descriptors(FakeClock())
    descriptors._poller.close()
    descriptors._poller = InvalidPoller()
    watch = descriptors.claim("me", reader)
    watch.reader = (print, ())
    descriptors.update(watch)
    assert descriptors.poll(0.0) == [(watch, ERR)]  # an error, but open: for the reader to find out
    os.close(reader)
    os.close(writer)
    assert descriptors.poll(0.0) == []
    assert len(descriptors) == 0
    assert "closed without being removed" in caplog.text
    descriptors.close()


def test_a_forked_child_changes_nothing_in_its_parents_poller(pair: tuple[socket.socket, socket.socket]) -> None:
    clock = FakeClock()
    hub = KombuHub(HeapTimers(clock), clock)
    scope = hub.scope()
    calls: list[str] = []
    scope.add_reader(pair[0], calls.append, "parent's")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            scope.drop()
            hub.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    pair[1].send(b"x")
    hub.run_once(timeout=LONG)
    assert calls == ["parent's"]
    hub.close()
