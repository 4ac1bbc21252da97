"""The small contracts are tested, too: loops and a hub with one lie each break exactly the promise that names it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from worker_hub.hub import KombuHub
from worker_hub.timers import HeapTimers
from worker_kernel import Hub, SystemClock
from worker_kernel.testing import HubContract, LoopContract, broken_promises


def honest(drive: Any, hub: Any) -> None:
    while drive.pending():
        drive.turn()
        if drive.pending():
            hub.run_once(drive.timeout())


def turns_without_asking(drive: Any, hub: Any) -> None:
    """Takes a turn also where there is nothing to do."""
    if not drive.pending():
        drive.turn()
    honest(drive, hub)


def blocks_too_long(drive: Any, hub: Any) -> None:
    while drive.pending():
        drive.turn()
        if drive.pending():
            hub.run_once(drive.timeout() + 1.0)


def swallows_errors(drive: Any, hub: Any) -> None:
    while drive.pending():
        try:
            drive.turn()
        except ConnectionError:
            continue
        if drive.pending():
            hub.run_once(drive.timeout())


def works_in_a_thread(drive: Any, hub: Any) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            honest(drive, hub)
        except ConnectionError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


LOOPS: dict[Callable[[Any, Any], None], set[str]] = {
    turns_without_asking: {"test_it_returns_at_once_when_nothing_is_pending"},
    blocks_too_long: {"test_it_blocks_no_longer_than_the_drive_allows"},
    swallows_errors: {"test_a_raising_turn_ends_it"},
    works_in_a_thread: {"test_everything_happens_on_the_thread_that_calls_it"},
    honest: set(),
}


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_a_loop_s_lie_is_caught_by_the_promise_that_names_it(loop: Callable[[Any, Any], None]) -> None:
    class Contract(LoopContract):
        asynchronous = True

        def make_loop(self) -> Callable[[Any, Any], None]:
            return loop

    assert set(broken_promises(Contract())) == LOOPS[loop]


class ReordersCalls(KombuHub):
    """Makes calls from other threads before its own."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        if threading.current_thread() is not threading.main_thread() and len(self._calls) > 1:
            self._calls.appendleft((callback, args))
            self.wake()
        else:
            super().call_soon(callback, *args)


class ForgetsPendingCalls(KombuHub):
    """Drops what is pending when it is closed."""

    def close(self) -> None:
        self._calls.clear()
        super().close()


HUBS: dict[type[KombuHub], set[str]] = {
    ReordersCalls: {"test_calls_from_another_thread_keep_their_order"},
    ForgetsPendingCalls: {"test_close_makes_the_pending_calls_and_can_be_repeated"},
}


@pytest.mark.parametrize("cls", HUBS)
def test_a_hub_s_lie_is_caught_by_the_promise_that_names_it(cls: type[KombuHub]) -> None:
    class Contract(HubContract):
        def make_hub(self) -> Hub:
            clock = SystemClock()
            return cls(HeapTimers(clock), clock)

    assert set(broken_promises(Contract())) == HUBS[cls]
