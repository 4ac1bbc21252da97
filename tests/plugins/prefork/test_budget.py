"""So many failures within so many seconds are borne, and one more is not."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from worker_kernel.testing import FakeClock
from worker_pool_prefork.budget import Budget


@given(most=st.integers(0, 5), steps=st.lists(st.floats(0, 3), max_size=30))
def test_it_is_overdrawn_when_more_than_it_bears_fall_within_its_time(most: int, steps: list[float]) -> None:
    clock = FakeClock()
    budget = Budget(most, 2.0, clock)
    when: list[float] = []
    for step in steps:
        clock.advance(step)
        when.append(clock.monotonic())
        assert budget.spend() is (sum(moment >= when[-1] - 2.0 for moment in when) > most)


def test_without_a_limit_everything_is_borne() -> None:
    budget = Budget(math.inf, 1.0, FakeClock())
    assert not any(budget.spend() for _ in range(1000))


def test_what_was_is_forgotten_when_all_is_well_again() -> None:
    budget = Budget(1, 10.0, FakeClock())
    assert (budget.spend(), budget.spend()) == (False, True)
    budget.refill()
    assert (budget.spend(), budget.spend()) == (False, True)
