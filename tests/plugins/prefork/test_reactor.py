"""The poller that drives the pool: who is called, when, in which thread, and how often it has to be woken."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel import SystemClock
from worker_kernel.testing import FakeClock
from worker_pool_prefork.reactor import READ, WRITE, Reactor

PATIENCE = 20.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reactor(clock: FakeClock) -> Iterator[Reactor]:
    """Turned by the test, in time that the test moves."""
    reactor = Reactor(clock, name="test-reactor")
    yield reactor
    reactor.close()


@pytest.fixture
def real() -> Iterator[Reactor]:
    """In real time."""
    reactor = Reactor(SystemClock(), name="test-reactor")
    yield reactor
    reactor.close()


def test_calls_from_many_threads_are_all_made_and_wake_it_once(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakes: list[int] = []
    write = os.write

    def counting(fd: int, data: bytes) -> int:
        wakes.append(fd)
        return write(fd, data)

    monkeypatch.setattr(os, "write", counting)
    made: list[tuple[int, int]] = []
    start = threading.Barrier(4)

    def post(who: int) -> None:
        start.wait()
        for turn in range(100):
            reactor.post(lambda call=(who, turn): made.append(call))  # type: ignore[misc]  # bound at once

    threads = [threading.Thread(target=post, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reactor.turn(0.0)
    assert sorted(made) == [(who, turn) for who in range(4) for turn in range(100)]
    for who in range(4):
        assert [call for call in made if call[0] == who] == [(who, turn) for turn in range(100)], "in each one's order"
    assert 1 <= len(wakes) <= 4, "at most one for each thread that looked before the first had said so"
    reactor.post(made.clear)
    reactor.turn(None)
    assert made == [], "it is woken again after a turn"


def test_a_call_that_is_posted_while_calls_are_made_is_made_in_the_same_turn(reactor: Reactor) -> None:
    made: list[str] = []

    def first() -> None:
        made.append("first")
        reactor.post(lambda: made.append("second"))

    reactor.post(first)
    reactor.turn(0.0)
    assert made == ["first", "second"]


def test_timers_are_called_in_the_order_of_their_times_and_not_before(reactor: Reactor, clock: FakeClock) -> None:
    made: list[str] = []
    reactor.later(2.0, lambda: made.append("late"))
    reactor.later(1.0, lambda: made.append("early"))
    reactor.later(1.0, lambda: made.append("early too"))
    forgotten = reactor.later(1.5, lambda: made.append("never"))
    reactor.turn(0.0)
    assert made == []
    clock.advance(1.0)
    reactor.turn(0.0)
    assert made == ["early", "early too"]
    forgotten.cancel()
    forgotten.cancel()
    clock.advance(1.0)
    reactor.turn(0.0)
    assert made == ["early", "early too", "late"]


def test_a_timer_that_is_always_due_does_not_keep_descriptors_from_their_turn(reactor: Reactor) -> None:
    made: list[str] = []

    def again() -> None:
        made.append("timer")
        reactor.later(0.0, again)

    again()
    reactor.turn(0.0)
    reactor.turn(0.0)
    assert made == ["timer"] * 3


def test_a_descriptor_is_told_of_what_it_is_watched_for_until_it_is_forgotten(reactor: Reactor) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        told: list[int] = []
        reactor.watch(ours.fileno(), READ, told.append)
        reactor.turn(0.0)
        theirs.send(b"!")
        reactor.turn(0.0)
        assert told == [READ]
        reactor.watch(ours.fileno(), READ | WRITE, told.append)
        reactor.turn(0.0)
        assert told[-1] == READ | WRITE
        reactor.forget(ours.fileno())
        reactor.forget(ours.fileno())
        reactor.turn(0.0)
        assert len(told) == 2


def test_what_one_of_them_raises_is_logged_and_the_others_go_on(
    reactor: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[str] = []
    reactor.post(lambda: 1 / 0)
    reactor.post(lambda: made.append("after"))
    reactor.turn(0.0)
    assert made == ["after"]
    assert "ZeroDivisionError" in caplog.text


def test_turning_until_something_happens_ends_with_it_or_with_the_time(reactor: Reactor, clock: FakeClock) -> None:
    made: list[str] = []
    reactor.post(lambda: made.append("here"))
    assert reactor.turn_until(lambda: made == ["here"], None)
    reactor.later(0.0, lambda: clock.advance(5.0))
    assert not reactor.turn_until(lambda: False, 3.0)


def test_on_a_thread_calls_are_made_there_and_what_they_raise_is_raised_here(real: Reactor) -> None:
    real.start_thread()
    assert real.threaded
    assert real.call(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        real.call(lambda: 1 / 0)
    assert real.call(lambda: real.call(threading.get_ident)) == real.call(threading.get_ident), "from there as well"
    real.stop_thread()
    assert not real.threaded
    assert real.call(threading.current_thread) is threading.current_thread(), "where nobody turns it: here"


def test_on_the_hub_everything_is_called_by_the_hub_in_order_and_there_is_no_thread(real: Reactor) -> None:
    clock = SystemClock()
    hub = KombuHub(HeapTimers(clock), clock)
    before = threading.active_count()
    ours, theirs = socket.socketpair()
    made: list[tuple[str, int]] = []

    def note(what: str) -> None:
        made.append((what, threading.get_ident()))

    def read(events: int) -> None:
        note(f"descriptor {ours.recv(1)!r}")

    def post() -> None:
        for number in range(3):
            real.post(lambda number=number: note(f"call {number}"))  # type: ignore[misc]  # bound at once

    with ours, theirs:
        real.later(0.01, lambda: note("timer"))  # before it is on the hub
        real.join(hub)
        real.watch(ours.fileno(), READ, read)
        theirs.send(b"!")
        poster = threading.Thread(target=post)
        poster.start()
        poster.join()
        assert threading.active_count() == before
        while len(made) < 5:
            hub.run_once(PATIENCE)
        told = [what for what, _ in made]
        told.remove("timer")  # it may be due by the time of the first turn, or not
        assert told == ["descriptor b'!'", "call 0", "call 1", "call 2"]
        assert {thread for _, thread in made} == {threading.get_ident()}
        real.later(0.02, lambda: note("later"))
        real.later(0.01, lambda: note("sooner"))  # the hub has to come earlier than it meant to
        while len(made) < 7:
            hub.run_once(PATIENCE)
        assert [what for what, _ in made[5:]] == ["sooner", "later"]
        real.leave()
        real.leave()
        real.post(lambda: note("unheard"))
        hub.run_once(0.0)
        assert len(made) == 7
        real.forget(ours.fileno())
    hub.close()


def test_closing_it_is_idempotent_and_ends_its_thread(real: Reactor) -> None:
    real.start_thread()
    real.close()
    real.close()
    assert not real.threaded
