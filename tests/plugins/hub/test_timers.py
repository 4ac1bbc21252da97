from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_hub.timers import COMPACT_ABOVE, HeapTimers, PendingCall
from worker_kernel.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timers(clock: FakeClock) -> HeapTimers:
    return HeapTimers(clock)


def test_nothing_is_due_where_nothing_is_pending(timers: HeapTimers) -> None:
    assert timers.next_due() is None
    assert timers.fire() == 0
    assert len(timers) == 0


def test_a_call_is_made_once_and_only_when_it_is_due(timers: HeapTimers, clock: FakeClock) -> None:
    calls: list[str] = []
    timers.call_later(2.0, calls.append, "a")
    assert timers.next_due() == 2.0
    clock.advance(1.5)
    assert timers.fire() == 0
    assert timers.next_due() == 0.5
    clock.advance(1.0)
    assert timers.next_due() == 0.0
    assert timers.fire() == 1
    assert timers.fire() == 0
    assert calls == ["a"]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.5, 7.0]), st.booleans()), max_size=40), st.data())
def test_calls_fire_in_due_order_and_cancelled_ones_never(
    planned: list[tuple[float, bool]], data: st.DataObject
) -> None:
    clock = FakeClock()
    timers = HeapTimers(clock)
    fired: list[int] = []
    handles = [timers.call_later(delay, fired.append, number) for number, (delay, _) in enumerate(planned)]
    for number in data.draw(st.permutations(range(len(planned)))):
        if planned[number][1]:
            handles[number].cancel()
            handles[number].cancel()
    kept = [number for number, (_, cancelled) in enumerate(planned) if not cancelled]
    assert len(timers) == len(kept)
    while (due := timers.next_due()) is not None:
        clock.advance(due)
        assert timers.fire() > 0
    assert fired == sorted(kept, key=lambda number: planned[number][0])  # stable: ties in the order of scheduling


def test_cancelling_after_the_call_is_harmless(timers: HeapTimers, clock: FakeClock) -> None:
    handle = timers.call_later(0.0, lambda: None)
    timers.call_later(1.0, lambda: None)
    timers.fire()
    handle.cancel()
    assert len(timers) == 1


def test_a_callback_that_raises_is_logged_and_the_others_run(
    timers: HeapTimers, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def bad() -> None:
        raise RuntimeError("bad timer")

    timers.call_later(0.0, bad)
    timers.call_later(0.0, calls.append, "after")
    with caplog.at_level(logging.ERROR, logger="worker_hub.timers"):
        assert timers.fire() == 2
    assert calls == ["after"]
    assert "bad timer" in caplog.text


def test_what_a_callback_schedules_waits_for_the_next_fire(timers: HeapTimers) -> None:
    calls: list[int] = []

    def again(number: int) -> None:
        calls.append(number)
        timers.call_later(0.0, again, number + 1)

    timers.call_later(0.0, again, 0)
    assert timers.fire() == 1
    assert timers.fire() == 1
    assert calls == [0, 1]


def test_a_callback_can_cancel_another_that_is_due(timers: HeapTimers) -> None:
    calls: list[str] = []
    handles: list[PendingCall] = []

    def cancel() -> None:
        handles[0].cancel()

    timers.call_later(0.0, cancel)
    handles.append(timers.call_later(0.0, calls.append, "cancelled"))
    assert timers.fire() == 1
    assert calls == []
    assert len(timers) == 0


def test_a_series_goes_on_until_it_is_cancelled_also_after_an_error(timers: HeapTimers, clock: FakeClock) -> None:
    calls: list[float] = []

    def tick() -> None:
        calls.append(clock.monotonic())
        if len(calls) == 1:
            raise RuntimeError("first")

    handle = timers.call_repeatedly(2.0, tick)
    for _ in range(6):
        clock.advance(1.0)
        timers.fire()
    assert calls == [2.0, 4.0, 6.0]
    handle.cancel()
    clock.advance(10.0)
    assert timers.fire() == 0
    assert len(timers) == 0


def test_a_series_can_cancel_itself(timers: HeapTimers, clock: FakeClock) -> None:
    calls: list[int] = []

    def once() -> None:
        calls.append(1)
        handle.cancel()

    handle = timers.call_repeatedly(1.0, once)
    for _ in range(3):
        clock.advance(1.0)
        timers.fire()
    assert calls == [1]
    assert timers.next_due() is None


def test_a_late_series_is_called_once_and_then_one_interval_later(timers: HeapTimers, clock: FakeClock) -> None:
    calls: list[float] = []
    timers.call_repeatedly(1.0, lambda: calls.append(clock.monotonic()))
    clock.advance(5.5)
    assert timers.fire() == 1
    assert timers.next_due() == 1.0
    clock.advance(1.0)
    timers.fire()
    assert calls == [5.5, 6.5]


def test_what_is_not_an_exception_leaves_fire_and_nothing_is_forgotten(timers: HeapTimers, clock: FakeClock) -> None:
    calls: list[str] = []

    def stop() -> None:
        raise SystemExit(3)

    timers.call_repeatedly(1.0, stop)
    timers.call_later(1.0, calls.append, "behind")
    clock.advance(1.0)
    with pytest.raises(SystemExit):
        timers.fire()
    assert timers.fire() == 1
    assert calls == ["behind"]
    assert timers.next_due() == 1.0


def test_cancelled_calls_do_not_pile_up(timers: HeapTimers) -> None:
    timers.call_later(3600.0, lambda: None)
    for _ in range(100 * COMPACT_ABOVE):
        timers.call_later(3600.0, lambda: None).cancel()
    assert len(timers) == 1
    assert len(timers._heap) <= COMPACT_ABOVE + 2


def test_a_negative_delay_is_now_and_an_infinite_one_never(timers: HeapTimers, clock: FakeClock) -> None:
    calls: list[str] = []
    timers.call_later(float("inf"), calls.append, "never")
    timers.call_later(-1.0, calls.append, "now")
    assert timers.fire() == 1
    clock.advance(1e9)
    assert timers.fire() == 0
    assert calls == ["now"]


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan")])
def test_an_interval_that_is_not_above_zero_is_refused(timers: HeapTimers, interval: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        timers.call_repeatedly(interval, lambda: None)


def test_a_delay_that_is_not_a_number_is_refused(timers: HeapTimers) -> None:
    with pytest.raises(ValueError, match="not a number"):
        timers.call_later(float("nan"), lambda: None)
