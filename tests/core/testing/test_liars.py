"""The conformance kit is itself tested: each pool with one lie breaks exactly the promise that names it."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from worker_kernel.pool import Pool, PoolConfig
from worker_kernel.testing import FakePool, PoolContract

LIARS = Path(__file__).with_name("liars.py")
MODEL = "test_any_sequence_of_calls_ends_where_the_model_says"
ALONE = (MODEL, "test_no_thread_is_left_after_stop")
PATIENCE = 8.0


def _load() -> dict[str, type[FakePool]]:
    spec = importlib.util.spec_from_file_location("liars", LIARS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: cls for name, cls in vars(module).items() if isinstance(cls, type) and hasattr(cls, "caught_by")}


POOLS = _load()
LIES = sorted(name for name, cls in POOLS.items() if getattr(cls, "caught_by", ""))


def contract_over(name: str) -> PoolContract:
    cls = POOLS[name]

    class Contract(PoolContract):
        pool_path = f"{LIARS}:{name}"
        capabilities = cls.capabilities
        patience = PATIENCE

        def make_pool(self, config: PoolConfig) -> Pool:
            return cls(config)

    return Contract()


def cases(contract: PoolContract) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every test of the contract, once for each set of its parameters."""
    for name in sorted(name for name in dir(contract) if name.startswith("test_")):
        marks = [mark for mark in getattr(getattr(contract, name), "pytestmark", []) if mark.name == "parametrize"]
        choices = [[{mark.args[0]: value} for value in mark.args[1]] for mark in marks]
        for chosen in itertools.product(*choices):
            yield name, {key: value for part in chosen for key, value in part.items()}


def broken_promises(contract: PoolContract, *, without: frozenset[str]) -> dict[str, str]:
    """Run the contract, but for the tests in ``without``; return the failed tests with what they said.

    Its tests wait much and share nothing, so they run side by side; those that look at the whole process run alone.
    """
    wanted = [(name, parameters) for name, parameters in cases(contract) if name not in without]
    broken: dict[str, str] = {}

    def run(case: tuple[str, dict[str, Any]]) -> None:
        name, parameters = case
        try:
            getattr(contract, name)(**parameters)
        except (Exception, pytest.fail.Exception) as error:
            broken[name] = f"{parameters}: {error}"

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(run, [case for case in wanted if case[0] not in ALONE]))
    for case in wanted:
        if case[0] in ALONE:
            run(case)
    return broken


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_caught_by_the_promise_that_names_it_and_by_no_other(name: str) -> None:
    """The model tries everything at once, and so is left out, but for the one lie that only it can find."""
    named = getattr(POOLS[name], "caught_by", "")
    broken = broken_promises(contract_over(name), without=frozenset({MODEL} - {named}))
    assert set(broken) == {named}, broken


def test_there_are_enough_different_lies() -> None:
    assert len(LIES) >= 15
    assert all(hasattr(PoolContract, getattr(POOLS[name], "caught_by", "")) for name in LIES)


def test_the_pool_that_liars_start_from_keeps_every_promise() -> None:
    contract = contract_over("Plain")
    assert len(list(cases(contract))) > 80
    assert broken_promises(contract, without=frozenset()) == {}
