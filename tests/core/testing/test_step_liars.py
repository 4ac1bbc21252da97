"""The kit for steps is itself tested: each step with one lie breaks exactly the promise that names it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker_kernel import BlueprintName, StepSpec
from worker_kernel.errors import PluginNotFound
from worker_kernel.testing import StepContract, broken_promises
from worker_kernel.testing.promises import cases

MODULE = "liar_steps_of_the_kit"


def _load() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(MODULE, Path(__file__).with_name("liar_steps.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # a step is named by the path to import it from
    spec.loader.exec_module(module)
    return {name: cls for name, cls in vars(module).items() if isinstance(cls, type) and hasattr(cls, "caught_by")}


STEPS = _load()
HONEST = [name for name, cls in STEPS.items() if not cls.caught_by]
LIES = [name for name in STEPS if name not in HONEST]


def contract_over(name: str, seconds: float = 20.0) -> StepContract:
    cls = STEPS[name]
    spec = StepSpec(
        name=cls.name,
        blueprint=cls.blueprint,
        factory=f"{MODULE}:{name}",
        requires=("timer",) if cls.blueprint is BlueprintName.WORKER else ("connection",),
        owner="acme-probe",
    )

    class Contract(StepContract):
        patience = seconds

        def make_spec(self) -> StepSpec:
            return spec

    return Contract()


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    """What liars keep for ever ends with the test."""
    yield
    for file in STEPS["OpensWhenItIsCreated"].kept:
        file.close()
    STEPS["OpensWhenItIsCreated"].kept.clear()


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_caught_by_the_promise_that_names_it_and_by_no_other(name: str) -> None:
    named = STEPS[name].caught_by
    others = {promise for promise, _ in cases(contract_over(name))} - {named}
    assert broken_promises(contract_over(name), without={named}) == {}
    assert set(broken_promises(contract_over(name, seconds=0.3), without=others)) == {named}


@pytest.mark.parametrize("name", HONEST)
def test_the_steps_that_liars_start_from_keep_every_promise(name: str) -> None:
    assert broken_promises(contract_over(name)) == {}


def test_every_promise_of_the_contract_has_its_liar() -> None:
    promises = {promise for promise, _ in cases(contract_over("Plain"))} - {"test_nothing_is_overridden"}
    assert {STEPS[name].caught_by for name in LIES} == promises


def test_an_easier_promise_is_caught() -> None:
    class Easier(StepContract):
        step = "timer"

        def test_start_does_not_block(self) -> None:
            pass

    assert set(broken_promises(Easier(), without=set(dir(StepContract)) - {"test_nothing_is_overridden"})) == {
        "test_nothing_is_overridden"
    }


def test_a_step_that_nobody_declares_is_named() -> None:
    class Contract(StepContract):
        step = "timers"

    with pytest.raises(PluginNotFound, match=r"no plugin declares a step 'timers'.*'timer'"):
        Contract().make_spec()
