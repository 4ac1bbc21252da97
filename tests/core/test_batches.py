"""How long runs take of late, which prefetching and batches follow."""

from __future__ import annotations

import pytest

from worker_kernel import average_of_late, batch_of


def average(*seconds: float, of: float = 0.0) -> float:
    """The average after these runs; with ``of``, after a hundred that took so long."""
    found = of
    for runs, one in enumerate(seconds, start=101 if of else 1):
        found = average_of_late(found, one, runs)
    return found


def test_the_first_runs_count_alike() -> None:
    assert average(0.3, 0.1, 0.2) == pytest.approx(0.2)


def test_a_small_run_that_lost_the_processor_is_one_of_many() -> None:
    assert average(0.004, of=0.0001) < 0.0002
    assert batch_of(average(0.004, of=0.0001)) == batch_of(0.0001)


def test_long_runs_are_seen_at_once() -> None:
    assert average(1.0, of=0.0001) > 0.01  # no batches of them any more
    assert average(1.0, 1.0, of=0.0001) > 0.1


def test_after_ten_long_runs_the_small_ones_before_do_not_count_much() -> None:
    assert average(*[0.1] * 10, of=0.0001) > 0.05


def test_after_small_ones_the_long_ones_before_are_forgotten() -> None:
    assert average(*[0.0001] * 200, of=1.0) < 0.001
