from __future__ import annotations

import datetime as dt
import logging
import os
import socket
from collections.abc import Iterator

import pytest
from kombu.utils.eventio import ERR, READ, WRITE

from worker_hub.hub import KombuHub
from worker_hub.scope import RecordingScope
from worker_hub.timers import HeapTimers
from worker_kernel.testing import FakeClock

LONG = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hub(clock: FakeClock) -> Iterator[KombuHub]:
    hub = KombuHub(HeapTimers(clock), clock)
    yield hub
    hub.close()


@pytest.fixture
def scope(hub: KombuHub) -> RecordingScope:
    return hub.scope()


def test_drop_removes_everything_that_was_registered(
    hub: KombuHub, scope: RecordingScope, clock: FakeClock, pair: tuple[socket.socket, socket.socket]
) -> None:
    calls: list[str] = []
    loop = scope.transport_hub
    scope.add_reader(pair[0].fileno(), calls.append, "reader")
    scope.add_writer(pair[1], calls.append, "writer")
    loop.on_tick.add(lambda: calls.append("tick"))
    loop.call_soon(calls.append, "soon")
    loop.call_later(1.0, calls.append, "later")
    loop.call_repeatedly(1.0, calls.append, "repeatedly")
    scope.timers.call_later(1.0, calls.append, "scope's timer")
    assert scope.leftovers() == 7
    pair[1].send(b"x")
    scope.drop()
    scope.drop()
    assert scope.leftovers() == 0
    clock.advance(10.0)
    hub.run_once(timeout=0.0)
    hub.run_once(timeout=0.0)
    assert calls == []
    assert hub.statistics().descriptors == 0
    assert hub.statistics().scopes == 0
    assert hub.timers.next_due() is None


def test_what_comes_after_drop_is_ignored(
    hub: KombuHub, scope: RecordingScope, clock: FakeClock, pair: tuple[socket.socket, socket.socket]
) -> None:
    calls: list[str] = []
    scope.drop()
    loop = scope.transport_hub
    loop.add_reader(pair[0], calls.append, "reader")
    loop.on_tick.add(lambda: calls.append("tick"))
    loop.call_soon(calls.append, "soon").cancel()
    handles = [
        loop.call_later(0.0, calls.append, "later"),
        loop.call_repeatedly(1.0, calls.append, "repeatedly"),
    ]
    pair[1].send(b"x")
    clock.advance(2.0)
    hub.run_once(timeout=0.0)
    assert calls == []
    assert scope.leftovers() == 0
    assert all(handle.canceled for handle in handles)


def test_a_stale_scope_cannot_take_down_its_successor(hub: KombuHub) -> None:
    """The number of a closed descriptor is given out again: it is the new owner's."""
    old, new = hub.scope(), hub.scope()
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    old.add_reader(number, lambda: None)
    ours.close()
    theirs.close()
    reader, writer = os.pipe()
    os.dup2(reader, number)
    got: list[bytes] = []
    new.add_reader(number, lambda: got.append(os.read(number, 10)))
    assert old.leftovers() == 0
    old.remove(number)
    old.drop()
    os.write(writer, b"x")
    hub.run_once(timeout=LONG)
    assert got == [b"x"]
    new.drop()
    for fd in {reader, writer, number}:
        os.close(fd)


def test_an_event_counts_only_for_the_registration_it_was_polled_for(hub: KombuHub) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    calls: list[str] = []
    old, new = hub.scope(), hub.scope()

    def read(other: int) -> None:
        calls.append("old")
        new.add_reader(pairs[other][0], calls.append, "new")

    for number in (0, 1):
        old.add_reader(pairs[number][0], read, 1 - number)
        pairs[number][1].send(b"x")
    hub.run_once(timeout=LONG)
    assert calls == ["old"]
    assert (old.leftovers(), new.leftovers()) == (1, 1)
    old.drop()
    hub.run_once(timeout=LONG)
    assert calls == ["old", "new"]
    new.drop()
    for one, other in pairs:
        one.close()
        other.close()


def test_a_scope_leaves_the_hubs_own_registrations_alone(
    hub: KombuHub, scope: RecordingScope, pair: tuple[socket.socket, socket.socket]
) -> None:
    calls: list[str] = []
    hub.add_reader(pair[0], calls.append, "hub's")
    scope.remove(pair[0])
    scope.transport_hub.remove_reader(pair[0])
    scope.drop()
    pair[1].send(b"x")
    hub.run_once(timeout=LONG)
    assert calls == ["hub's"]


def test_ticks_run_once_per_turn_in_the_order_of_adding(hub: KombuHub, scope: RecordingScope) -> None:
    calls: list[int] = []
    ticks = [lambda number=number: calls.append(number) for number in range(20)]
    for tick in ticks:
        scope.transport_hub.on_tick.add(tick)
    scope.transport_hub.on_tick.add(ticks[0])
    hub.run_once(timeout=0.0)
    assert calls == list(range(20))
    scope.transport_hub.on_tick.discard(ticks[0])
    scope.transport_hub.on_tick.remove(ticks[1])
    assert ticks[1] not in scope.transport_hub.on_tick
    assert ticks[2] in scope.transport_hub.on_tick
    with pytest.raises(KeyError):
        scope.transport_hub.on_tick.remove(ticks[1])
    assert len(scope.transport_hub.on_tick) == 18


def test_an_error_of_a_tick_leaves_the_turn(hub: KombuHub, scope: RecordingScope) -> None:
    def tick() -> None:
        raise ConnectionError("broker is gone")

    scope.transport_hub.on_tick.add(tick)
    with pytest.raises(ConnectionError, match="broker is gone"):
        hub.run_once(timeout=0.0)


def test_a_tick_can_drop_its_scope(hub: KombuHub, scope: RecordingScope) -> None:
    calls: list[str] = []
    scope.transport_hub.on_tick.add(scope.drop)
    scope.transport_hub.on_tick.add(lambda: calls.append("tick"))
    hub.run_once(timeout=0.0)
    assert calls == []


class BrokerError(Exception):
    """Like the errors of the Redis and AMQP clients: no OSError."""


def test_connection_errors_of_a_transports_timers_leave_the_turn_and_others_are_logged(
    hub: KombuHub, scope: RecordingScope, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(error: Exception) -> None:
        raise error

    loop = scope.transport_hub
    loop.propagate_errors = (BrokerError, OSError)
    calls: list[str] = []
    loop.call_later(1.0, fail, LookupError("a bug in a timer"))
    loop.call_repeatedly(1.0, fail, BrokerError("heartbeat missed"))
    loop.call_later(1.0, calls.append, "behind")
    clock.advance(1.0)
    with caplog.at_level(logging.ERROR, logger="worker_hub"), pytest.raises(BrokerError, match="heartbeat missed"):
        hub.run_once(timeout=0.0)
    assert calls == ["behind"]
    assert "a bug in a timer" in caplog.text


def test_an_error_of_a_dropped_scope_does_not_reach_its_successor(
    hub: KombuHub, scope: RecordingScope, clock: FakeClock
) -> None:
    def fail() -> None:
        raise OSError("old connection")

    scope.transport_hub.call_later(1.0, fail)
    scope.transport_hub.call_later(1.0, fail)
    clock.advance(1.0)
    with pytest.raises(OSError, match="old connection"):
        hub.run_once(timeout=0.0)
    scope.drop()
    hub.run_once(timeout=0.0)


def test_timers_of_a_scope_know_when_they_are_due(hub: KombuHub, scope: RecordingScope, clock: FakeClock) -> None:
    calls: list[str] = []
    hub.timers.call_later(0.5, calls.append, "hub's")
    assert scope.timers.next_due() is None
    series = scope.scoped_timers.call_repeatedly(2.0, calls.append, "series")
    scope.timers.call_later(1.0, calls.append, "once")
    assert scope.timers.next_due() == 1.0
    clock.advance(1.0)
    assert scope.timers.fire() == 2
    assert calls == ["hub's", "once"]
    assert scope.leftovers() == 1
    clock.advance(1.0)
    hub.run_once(timeout=0.0)
    assert scope.timers.next_due() == 2.0
    assert not series.canceled
    series.cancel()
    assert series.canceled
    assert scope.leftovers() == 0


def test_kombus_timer_interface(hub: KombuHub, scope: RecordingScope, clock: FakeClock) -> None:
    calls: list[tuple[str, int]] = []
    timer = scope.transport_hub.timer

    def call(name: str, number: int = 0) -> None:
        calls.append((name, number))

    timer.call_after(1.0, call, ("after",), {"number": 1})
    timer.call_at(clock.monotonic() + 1.0, call, ("at",))
    scope.transport_hub.call_at(dt.datetime(2001, 1, 1, tzinfo=dt.UTC), call, "long ago")
    series = timer.call_repeatedly(1.0, call, ("series",))
    timer.cancel(timer.call_after(1.0, call, ("cancelled",)))
    hub.run_once(timeout=0.0)
    clock.advance(1.0)
    hub.run_once(timeout=0.0)
    assert calls == [("long ago", 0), ("after", 1), ("at", 0), ("series", 0)]
    assert not series.canceled
    timer.clear()
    assert scope.leftovers() == 0


def test_reader_and_writer_can_be_taken_away_one_by_one(
    hub: KombuHub, scope: RecordingScope, pair: tuple[socket.socket, socket.socket]
) -> None:
    calls: list[str] = []
    loop = scope.transport_hub
    loop.add(pair[0], calls.append, READ | ERR, ("read",))
    loop.add(pair[0], calls.append, WRITE, ("write",))
    number = pair[0].fileno()
    assert loop.readers == {number: (calls.append, ("read",))}
    assert loop.writers == {number: (calls.append, ("write",))}
    pair[1].send(b"x")
    hub.run_once(timeout=LONG)
    assert calls == ["read", "write"]
    loop.remove_writer(pair[0])
    hub.run_once(timeout=LONG)
    assert calls == ["read", "write", "read"]
    loop.add_writer(pair[0], calls.append, "write")
    loop.remove_reader(pair[0])
    hub.run_once(timeout=LONG)
    assert calls[3:] == ["write"]
    loop.remove(pair[0])
    assert scope.leftovers() == 0
    assert not loop.readers
    assert not loop.writers


def test_the_poller_of_a_transport_is_recorded_too(
    hub: KombuHub, scope: RecordingScope, pair: tuple[socket.socket, socket.socket]
) -> None:
    poller = scope.transport_hub.poller
    poller.register(pair[0], READ | ERR)
    assert scope.leftovers() == 1
    pair[1].send(b"x")
    assert poller.poll(LONG) == [(pair[0].fileno(), READ)]
    hub.run_once(timeout=LONG)  # nobody reads it: polled no longer
    assert scope.leftovers() == 0
    poller.register(pair[0], READ | ERR)
    poller.unregister(pair[0])
    assert scope.leftovers() == 0
    pair[0].close()
    poller.unregister(pair[0])
    scope.drop()
    assert poller.poll(None) == []


def test_on_close_callbacks_run_when_the_scope_is_dropped(
    scope: RecordingScope, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[object] = []

    def bad(loop: object) -> None:
        raise RuntimeError("bad on_close")

    scope.transport_hub.on_close.add(bad)
    scope.transport_hub.on_close.add(closed.append)
    scope.drop()
    assert closed == [scope.transport_hub]
    assert "bad on_close" in caplog.text
