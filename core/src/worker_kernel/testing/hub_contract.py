"""The conformance kit for hubs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ..hub import Hub
from .recording import PATIENCE

_SHORT = 0.01
"""Seconds; between timers whose order is looked at."""


class HubContract:
    """Every promise of `worker_kernel.Hub` and its scopes, as tests for pytest.

    ::

        class TestMyHub(HubContract):
            def make_hub(self):
                return MyHub()
    """

    def make_hub(self) -> Hub:
        """Build a hub that runs on the machine's own clock."""
        raise NotImplementedError("a HubContract needs make_hub()")

    def test_calls_are_made_in_order_on_the_loop_s_thread(self) -> None:
        made: list[tuple[int, int]] = []
        with self._hub() as hub:
            for number in range(100):
                hub.call_soon(lambda number=number: made.append((number, threading.get_ident())))
            _turn(hub, lambda: len(made) == 100)
        assert made == [(number, threading.get_ident()) for number in range(100)]

    def test_calls_from_another_thread_keep_their_order(self) -> None:
        made: list[int] = []
        with self._hub() as hub:

            def call() -> None:
                for number in range(500):
                    hub.call_soon(made.append, number)

            caller = threading.Thread(target=call)
            caller.start()
            _turn(hub, lambda: len(made) == 500)
            caller.join()
        assert made == list(range(500))

    def test_a_call_from_another_thread_wakes_a_hub_that_blocks(self) -> None:
        made = threading.Event()
        with self._hub() as hub:
            caller = threading.Timer(0.05, hub.call_soon, (made.set,))
            caller.start()
            _turn(hub, made.is_set, block=PATIENCE)
            caller.join()

    def test_wake_ends_a_turn_that_blocks(self) -> None:
        with self._hub() as hub:
            hub.run_once(0)
            waker = threading.Timer(0.05, hub.wake)
            began = time.monotonic()
            waker.start()
            hub.run_once(PATIENCE)
            waker.join()
        assert time.monotonic() - began < PATIENCE

    def test_a_call_made_by_a_call_is_made_too(self) -> None:
        made: list[str] = []
        with self._hub() as hub:
            hub.call_soon(lambda: hub.call_soon(made.append, "inner"))
            _turn(hub, lambda: made == ["inner"])

    def test_a_call_that_raises_does_not_cost_the_others_theirs(self) -> None:
        made: list[str] = []
        with self._hub() as hub:
            hub.call_soon(made.append, "before")
            hub.call_soon(_boom)
            hub.call_soon(made.append, "after")
            _turn(hub, lambda: len(made) == 2)
        assert made == ["before", "after"]

    def test_timers_fire_in_the_order_of_their_due_times(self) -> None:
        fired: list[int] = []
        with self._hub() as hub:
            for number in (3, 1, 4, 2, 0):
                hub.timers.call_later(number * _SHORT, fired.append, number)
            _turn(hub, lambda: len(fired) == 5)
        assert fired == [0, 1, 2, 3, 4]

    def test_a_timer_is_not_early_and_is_called_once(self) -> None:
        fired: list[float] = []
        with self._hub() as hub:
            began = time.monotonic()
            hub.timers.call_later(5 * _SHORT, lambda: fired.append(time.monotonic() - began))
            _turn(hub, lambda: bool(fired))
            hub.run_once(0)
            assert hub.timers.next_due() is None
        assert len(fired) == 1
        assert fired[0] >= 5 * _SHORT

    def test_a_cancelled_timer_is_never_called(self) -> None:
        fired: list[str] = []
        with self._hub() as hub:
            handle = hub.timers.call_later(_SHORT, fired.append, "cancelled")
            hub.timers.call_later(3 * _SHORT, fired.append, "other")
            handle.cancel()
            handle.cancel()
            _turn(hub, lambda: "other" in fired)
        assert fired == ["other"]

    def test_a_repeated_timer_is_called_until_it_is_cancelled(self) -> None:
        fired: list[int] = []
        with self._hub() as hub:
            handle = hub.timers.call_repeatedly(_SHORT, lambda: fired.append(len(fired)))
            _turn(hub, lambda: len(fired) >= 3)
            handle.cancel()
            seen = len(fired)
            later: list[None] = []
            hub.timers.call_later(3 * _SHORT, later.append, None)
            _turn(hub, lambda: bool(later))
        assert len(fired) == seen

    def test_a_timer_that_raises_does_not_cost_the_others_theirs(self) -> None:
        fired: list[str] = []
        with self._hub() as hub:
            hub.timers.call_later(0.0, _boom)
            hub.timers.call_later(_SHORT, fired.append, "next")
            _turn(hub, lambda: bool(fired))
        assert fired == ["next"]

    def test_a_turn_waits_for_the_next_timer_and_no_longer(self) -> None:
        fired: list[None] = []
        with self._hub() as hub:
            hub.timers.call_later(5 * _SHORT, fired.append, None)
            _turn(hub, lambda: bool(fired), block=None)

    def test_a_readable_descriptor_is_told_until_it_is_removed(self) -> None:
        read: list[bytes] = []
        with self._hub() as hub, _pipe() as (reader, writer):
            hub.add_reader(reader, lambda: read.append(os.read(reader, 1)))
            os.write(writer, b"ab")
            _turn(hub, lambda: read == [b"a", b"b"])
            hub.remove(reader)
            hub.remove(reader)
            os.write(writer, b"c")
            hub.run_once(_SHORT)
        assert read == [b"a", b"b"]

    def test_a_second_reader_replaces_the_first(self) -> None:
        told: list[str] = []
        with self._hub() as hub, _pipe() as (reader, writer):
            hub.add_reader(reader, told.append, "first")
            hub.add_reader(reader, lambda: told.append(os.read(reader, 1).decode()))
            os.write(writer, b"s")
            _turn(hub, lambda: bool(told))
            hub.remove(reader)
        assert told == ["s"]

    def test_a_writable_descriptor_is_told(self) -> None:
        told: list[str] = []
        with self._hub() as hub, _pipe() as (_, writer):
            hub.add_writer(writer, told.append, "writable")
            _turn(hub, lambda: bool(told))
            hub.remove(writer)

    def test_dropping_a_scope_leaves_nothing_of_it(self) -> None:
        told: list[str] = []
        with self._hub() as hub, _pipe() as (reader, writer):
            scope = hub.scope()
            scope.add_reader(reader, told.append, "reader")
            scope.add_writer(writer, told.append, "writer")
            scope.timers.call_later(_SHORT, told.append, "timer")
            scope.timers.call_repeatedly(_SHORT, told.append, "repeated")
            os.write(writer, b"x")
            assert scope.leftovers() > 0
            scope.drop()
            scope.drop()
            assert scope.leftovers() == 0
            over: list[None] = []
            hub.timers.call_later(3 * _SHORT, over.append, None)
            _turn(hub, lambda: bool(over))
        assert told == []

    def test_dropping_a_scope_leaves_the_others_alone(self) -> None:
        told: list[str] = []
        with self._hub() as hub, _pipe() as (reader, writer):
            one, other = hub.scope(), hub.scope()
            one.timers.call_later(_SHORT, told.append, "one")
            other.add_reader(reader, lambda: told.append(os.read(reader, 1).decode()))
            one.drop()
            os.write(writer, b"o")
            _turn(hub, lambda: bool(told))
            other.drop()
        assert told == ["o"]

    def test_close_makes_the_pending_calls_and_can_be_repeated(self) -> None:
        made: list[str] = []
        hub = self.make_hub()
        hub.call_soon(made.append, "pending")
        hub.close()
        hub.close()
        assert made == ["pending"]

    @contextmanager
    def _hub(self) -> Iterator[Hub]:
        hub = self.make_hub()
        try:
            yield hub
        finally:
            hub.close()


def _turn(hub: Hub, happened: Callable[[], bool], block: float | None = 0.05) -> None:
    """Run the hub until ``happened()``; what a callback raises may leave a turn, as long as the next goes on."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"within {PATIENCE} s the hub did not do it")
        try:
            hub.run_once(block)
        except _Boom:
            continue


class _Boom(Exception):
    """What callbacks raise here."""


def _boom() -> None:
    raise _Boom


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)
