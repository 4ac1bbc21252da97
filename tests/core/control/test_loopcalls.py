"""Calls for the loop's thread are made in order, once, and answered whatever happens."""

from __future__ import annotations

import functools

import pytest

from worker_kernel import LoopCalls


def test_calls_wait_for_the_loop_and_are_made_in_order() -> None:
    woken: list[None] = []
    calls = LoopCalls(lambda: woken.append(None))
    made: list[int] = []

    def make(n: int) -> int:
        made.append(n)
        return n

    futures = [calls.put(functools.partial(make, n)) for n in range(3)]
    assert calls
    assert made == []
    assert len(woken) == 3
    calls.run()
    assert [future.result(0) for future in futures] == made == [0, 1, 2]
    assert not calls


def test_what_a_call_raises_is_its_callers_affair() -> None:
    calls = LoopCalls(lambda: None)
    bad = calls.put(lambda: 1 // 0)
    good = calls.put(lambda: 2)
    calls.run()
    assert isinstance(bad.exception(0), ZeroDivisionError)
    assert good.result(0) == 2


def test_a_call_that_was_given_up_in_time_is_never_made() -> None:
    calls = LoopCalls(lambda: None)
    made: list[None] = []
    future = calls.put(lambda: made.append(None))
    assert future.cancel()
    calls.run()
    assert made == []


def test_a_call_that_makes_another_leaves_it_to_the_next_turn() -> None:
    calls = LoopCalls(lambda: None)
    calls.put(lambda: calls.put(lambda: None))
    calls.run()
    assert calls


@pytest.mark.parametrize("before", [True, False])
def test_once_closed_nobody_waits_for_ever(before: bool) -> None:
    calls = LoopCalls(lambda: None)
    future = calls.put(lambda: 1) if before else None
    calls.close()
    future = future or calls.put(lambda: 1)
    assert future.cancelled()
