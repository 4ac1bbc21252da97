"""When a pool is made larger or smaller, whatever the policy wants."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_autoscale.scaler import Scaler
from worker_kernel import AutoscalePolicy, Load, Pool

KEEPALIVE = 10.0


class Sized:
    """The part of a pool that is resized."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.history: list[int] = []
        self.left = 1000

    def grow(self, n: int) -> None:
        assert n >= 1
        self.size += min(n, self.left)
        self.history.append(n)
        if n > self.left:
            raise RuntimeError("the system has no thread left")

    def statistics(self) -> Any:
        return SimpleNamespace(limit=self.size)

    def shrink(self, n: int) -> None:
        assert n >= 1
        if self.size - n < 1:
            raise ValueError("one must stay")
        self.size -= n
        self.history.append(-n)


class Scripted(AutoscalePolicy):
    """Wants what the test says."""

    want = 1
    most = 10_000

    def wanted(self, load: Load) -> int:
        return self.want

    def ceiling(self, load: Load) -> int:
        return self.most


class Scene:
    def __init__(self, settings: Any, load: Any, size: int = 1, maximum: int = 10, minimum: int = 1) -> None:
        self.pool, self.policy = Sized(size), Scripted(settings())
        self.scaler = Scaler(
            cast("Pool", self.pool), self.policy, size=size, maximum=maximum, minimum=minimum, keepalive=KEEPALIVE
        )
        self.load, self.now = load, 1000.0

    def want(self, number: int, after: float = 1.0) -> int:
        self.now += after
        self.policy.want = number
        self.scaler.decide(self.load(now=self.now, size=self.scaler.size))
        assert self.scaler.size == self.pool.size
        return self.pool.size


@pytest.fixture
def scene(settings: Any, load: Any) -> Scene:
    return Scene(settings, load)


def test_it_grows_at_once_to_what_is_wanted_and_never_beyond_the_bounds(scene: Scene) -> None:
    assert [scene.want(number) for number in (1, 4, 99, -5)] == [1, 4, 10, 10]


def test_it_shrinks_only_after_the_keepalive_since_the_last_growth(scene: Scene) -> None:
    scene.want(8)
    assert [scene.want(2, after=KEEPALIVE / 4) for _ in range(4)] == [8, 8, 8, 8]
    assert scene.want(2, after=KEEPALIVE / 4) == 2


def test_it_shrinks_also_where_it_has_never_grown(settings: Any, load: Any) -> None:
    scene = Scene(settings, load, size=6)
    assert (scene.want(1), scene.want(1, after=KEEPALIVE)) == (6, 1)


def test_it_shrinks_to_the_most_that_was_wanted_meanwhile(scene: Scene) -> None:
    scene.want(8)
    assert [scene.want(number, after=4.0) for number in (2, 5, 1, 1)] == [8, 8, 8, 5]


def test_load_that_comes_and_goes_within_the_keepalive_does_not_move_it(scene: Scene) -> None:
    scene.want(8)
    for _ in range(20):
        scene.want(1, after=KEEPALIVE * 0.9)
        scene.want(8, after=0.1)
    assert scene.pool.history == [7]


def test_a_ceiling_takes_slots_away_without_waiting_and_none_grow_beyond_it(scene: Scene) -> None:
    scene.want(8)
    scene.policy.most = 3
    assert scene.want(8) == 3
    assert scene.want(9) == 3
    scene.policy.most = 0
    assert scene.want(9) == 1, "the minimum holds"


def test_what_it_does_is_said_with_the_reason(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    scene.want(3)
    scene.want(1)
    scene.want(1, after=KEEPALIVE)
    assert [record.getMessage() for record in caplog.records] == [
        "scaling up 2 slot(s) to 3: 0 busy, 0 waiting",
        "scaling down 2 slot(s) to 1: no more were wanted for 10 s",
    ]
    assert dict(scene.scaler.moves) == {"up": 1, "down": 1}


def test_where_the_system_has_no_more_to_give_the_size_is_what_there_is(scene: Scene, caplog: Any) -> None:
    scene.pool.left = 2
    assert scene.want(6) == 3
    assert "the pool has 3 slot(s) and cannot grow further: the system has no thread left" in caplog.text
    assert (scene.want(1), scene.want(1, after=KEEPALIVE)) == (3, 1)


def test_new_bounds_hold_at_once(scene: Scene) -> None:
    scene.want(8)
    assert scene.scaler.update(4, None, scene.now) == (4, 1)
    assert scene.pool.size == 4
    assert scene.scaler.update(12, 6, scene.now) == (12, 6)
    assert scene.pool.size == 6
    with pytest.raises(ValueError, match="max 3 is below min 6"):
        scene.scaler.update(3, None, scene.now)
    assert (scene.scaler.maximum, scene.scaler.minimum) == (12, 6)


@given(wants=st.lists(st.tuples(st.integers(-2, 20), st.floats(0.01, 30)), max_size=50))
def test_the_size_is_always_within_the_bounds_and_never_falls_soon_after_it_rose(
    wants: list[tuple[int, float]],
) -> None:
    policy = Scripted(cast("Any", None))
    pool = Sized(2)
    scaler = Scaler(cast("Pool", pool), policy, size=2, maximum=9, minimum=2, keepalive=KEEPALIVE)
    now, rose = 0.0, float("-inf")
    for want, gap in wants:
        now += gap
        policy.want = want
        idle = Load(now=now, size=pool.size, busy=0, waiting=0, depth=0, age=None, runtime=0.0, minimum=2, maximum=9)
        change = scaler.decide(idle)
        assert 2 <= pool.size <= 9
        assert pool.size == scaler.size
        assert pool.size >= min(max(want, 2), 9), "there is never less than is wanted"
        if change > 0:
            rose = now
        assert change >= 0 or now - rose >= KEEPALIVE
