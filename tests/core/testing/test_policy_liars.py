"""The kit for autoscaling policies is itself tested: each with one lie breaks exactly the promise that names it."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import IO, ClassVar

import pytest

from worker_kernel import AutoscalePolicy, Load, Settings
from worker_kernel.errors import PluginNotFound
from worker_kernel.testing import PolicyContract, a_load, broken_promises
from worker_kernel.testing.promises import cases


class Honest(AutoscalePolicy):
    caught_by: ClassVar[str] = ""
    kept: ClassVar[list[IO[bytes]]] = []

    def wanted(self, load: Load) -> int:
        return load.busy + load.waiting + (load.depth or 0)


class WantsHalves(Honest):
    caught_by = "test_it_answers_every_load_with_a_whole_number"

    def wanted(self, load: Load) -> int:
        return super().wanted(load) if load.depth in (None, 0) else load.busy * 1.5  # type: ignore[return-value]  # the lie


class CountsOnTheBroker(Honest):
    caught_by = "test_it_does_without_what_nobody_knows"

    def wanted(self, load: Load) -> int:
        if load.depth is None and load.runtime == 0.0 and load.busy == 2:
            raise ZeroDivisionError
        return super().wanted(load)


class AllowsNothing(Honest):
    caught_by = "test_its_ceiling_leaves_at_least_one_slot"

    def ceiling(self, load: Load) -> int:
        return load.busy


class Ponders(Honest):
    caught_by = "test_it_does_not_keep_the_loop_waiting"

    def wanted(self, load: Load) -> int:
        if load.now == 1001.0 and load.busy == 1:
            time.sleep(0.8)
        return super().wanted(load)


class ShowsItself(Honest):
    caught_by = "test_its_statistics_fit_into_json_at_every_moment"
    seen: float | None = None

    def wanted(self, load: Load) -> int:
        self.seen = load.age
        return super().wanted(load)

    def statistics(self) -> Mapping[str, object]:
        return {"age": float("nan") if self.seen is not None else None}


class Gossips(Honest):
    caught_by = "test_each_worker_has_a_policy_of_its_own"
    count: ClassVar[Iterator[int]] = itertools.count()
    last: ClassVar[list[int]] = [0]

    def wanted(self, load: Load) -> int:
        self.last[0] = next(self.count)
        return super().wanted(load)

    def statistics(self) -> Mapping[str, object]:
        return {"asked": self.last[0]}


class Hoards(Honest):
    caught_by = "test_it_leaves_nothing_behind"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.kept.append(self.open())

    def open(self) -> IO[bytes]:
        return tempfile.TemporaryFile()


LIES = [cls for cls in Honest.__subclasses__() if cls.caught_by]


def contract_over(cls: type[Honest], seconds: float = 20.0) -> PolicyContract:
    class Contract(PolicyContract):
        policy = "load"
        patience = seconds

        def _class(self, path: str) -> type[AutoscalePolicy]:
            return cls

    return Contract()


@pytest.fixture(autouse=True)
def nothing_is_hoarded() -> Iterator[None]:
    yield
    for file in Honest.kept:
        file.close()
    Honest.kept.clear()


@pytest.mark.parametrize("cls", LIES)
def test_a_lie_is_caught_by_the_promise_that_names_it_and_by_no_other(cls: type[Honest]) -> None:
    others = {promise for promise, _ in cases(contract_over(cls))} - {cls.caught_by}
    assert broken_promises(contract_over(cls), without={cls.caught_by}) == {}
    assert set(broken_promises(contract_over(cls, seconds=0.3), without=others)) == {cls.caught_by}


def test_an_honest_policy_keeps_every_promise_and_every_promise_has_its_liar() -> None:
    assert broken_promises(contract_over(Honest)) == {}
    promises = {promise for promise, _ in cases(contract_over(Honest))} - {"test_nothing_is_overridden"}
    assert {cls.caught_by for cls in LIES} == promises


class TestLoad(PolicyContract):
    policy = "load"


class TestResources(PolicyContract):
    policy = "resources"


def test_a_policy_that_nobody_declares_is_named() -> None:
    class Contract(PolicyContract):
        policy = "loads"

    with pytest.raises(PluginNotFound, match="no policy 'loads' is declared; did you mean 'load'"):
        Contract().make_policy()


def test_a_load_is_that_of_a_worker_with_little_to_do() -> None:
    assert (a_load().busy, a_load(busy=2).busy) == (1, 2)
