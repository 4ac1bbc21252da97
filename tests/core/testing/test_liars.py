"""The conformance kit is itself tested: each pool with one lie breaks exactly the promise that names it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from worker_kernel.pool import Pool, PoolConfig
from worker_kernel.testing import PoolContract, broken_promises
from worker_kernel.testing.contract_isolation import IsolationPromises
from worker_kernel.testing.promises import cases

ABOUT_PROCESSES = {name for name in vars(IsolationPromises) if name.startswith("test_")}
MODEL = "test_any_sequence_of_calls_ends_where_the_model_says"
PATIENCE = 20.0  # seconds for what an honest part must do
IMPATIENCE = 3.0  # seconds for what the lie keeps from happening


def _load(name: str) -> dict[str, tuple[str, type[Pool]]]:
    """Return the pools of a file beside this one: by name, the path for a child process, and the class."""
    file = Path(__file__).with_name(name)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {name: cls for name, cls in vars(module).items() if isinstance(cls, type) and hasattr(cls, "caught_by")}
    return {name: (f"{file}:{name}", cls) for name, cls in found.items()}


POOLS = _load("liars.py") | _load("limit_liars.py") | _load("elsewhere_pools.py")
LIES = sorted(name for name, (_, cls) in POOLS.items() if getattr(cls, "caught_by", ""))


def contract_over(name: str, seconds: float) -> PoolContract:
    path, cls = POOLS[name]

    class Contract(PoolContract):
        pool_path = path
        capabilities = cls.capabilities
        patience = seconds

        def make_pool(self, config: PoolConfig) -> Pool:
            return cls(config)

    return Contract()


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_caught_by_the_promise_that_names_it_and_by_no_other(name: str) -> None:
    """The model tries everything at once, and so is left out, but for the one lie that only it can find.

    Processes take long to fork: of liars with processes, only the promises about processes are asked for.
    """
    cls = POOLS[name][1]
    named = getattr(cls, "caught_by", "")
    others = {promise for promise, _ in cases(contract_over(name, PATIENCE))} - {named}
    spared = {MODEL, *(other for other in others if cls.capabilities.runs_elsewhere and other not in ABOUT_PROCESSES)}
    assert broken_promises(contract_over(name, PATIENCE), without={named, *spared}, side_by_side=8) == {}
    assert set(broken_promises(contract_over(name, IMPATIENCE), without=others)) == {named}


def test_there_are_enough_different_lies() -> None:
    assert len(LIES) >= 15
    assert all(hasattr(PoolContract, getattr(POOLS[name][1], "caught_by", "")) for name in LIES)


@pytest.mark.parametrize("name", ["Plain", pytest.param("ForkingPool", marks=pytest.mark.long)])
def test_the_pool_that_liars_start_from_keeps_every_promise(name: str) -> None:
    contract = contract_over(name, PATIENCE)
    assert len(list(cases(contract))) > 80
    assert broken_promises(contract, side_by_side=8) == {}
