"""Holds an installed plugin to every contract there is: ``python -m worker_kernel.testing.checking NAME``.

Writes one JSON object per line to stdout: each thing that is checked, each case when it is over, each verdict. What the
plugin itself prints goes to stderr. ``kernel check-plugin`` reads that.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import attrs

from ..bootsteps import StepSpec
from ..hub import Hub
from ..plugins.found import Found
from ..plugins.loading import Plugins
from ..pool import PoolSpec
from .hub_contract import HubContract
from .loop_contract import LoopContract
from .plugin_contract import PluginContract, rows_of
from .policy_contract import PolicyContract
from .pool_contract import PoolContract
from .promises import verdicts
from .step_bench import StepMaker, installed, make_worker, on_worker
from .step_contract import StepContract

SIDE_BY_SIDE = 4
"""How many cases of a pool are run at a time: they mostly wait."""


@attrs.frozen(kw_only=True)
class Subject:
    """One thing of a plugin that a contract is held against."""

    kind: str
    """``plugin``, ``pool``, ``step``, ``hub``, ``loop`` or ``policy``."""
    name: str
    """Its name."""
    contract: object | None = None
    """An instance of a contract; None: it is not checked."""
    unchecked: str = ""
    """Why it is not."""
    side_by_side: int = 1
    """As `verdicts` takes it."""


def subjects(plugins: Plugins, name: str) -> Iterator[Subject]:
    """Yield everything that the plugin ``name`` brings, with the contract for it."""
    yield Subject(kind="plugin", name=name, contract=_contract(PluginContract, plugin=name))
    for row in rows_of(plugins, name):
        declares = row.declares or {}
        for pool in declares.get("pools", ()):
            yield _pool(plugins.pools[pool], row)
        for step in plugins.steps:
            if step.name in declares.get("steps", ()) and step.owner == row.dist:
                yield from _step(step)
        for loop in declares.get("loops", ()):
            spec = plugins.loops[loop]
            function = plugins.load_object(spec.factory, row.dist)
            contract = _contract(LoopContract, asynchronous=spec.asynchronous, make_loop=_returning(function))
            yield Subject(kind="loop", name=loop, contract=contract)
        for policy in declares.get("policies", ()):
            yield Subject(kind="policy", name=policy, contract=_contract(PolicyContract, policy=policy))


def _pool(spec: PoolSpec, row: Found) -> Subject:
    patch = row.name if row.patch else ""
    contract = _contract(PoolContract, pool_path=spec.cls, capabilities=spec.capabilities, patch=patch)
    able = spec.capabilities
    alone = able.runs_in_main_thread or able.is_green or able.runs_elsewhere  # processes take long to come up
    return Subject(kind="pool", name=spec.name, contract=contract, side_by_side=1 if alone else SIDE_BY_SIDE)


def _step(spec: StepSpec) -> Iterator[Subject]:
    for broker in ("", "memory://"):  # the embedded one cannot broadcast
        fields = {"step": spec.name, "broker": broker}
        with on_worker(cast("StepMaker", _contract(StepContract, **fields))) as bench:
            blueprint = bench.blueprint()
            why = blueprint.why_disabled(spec.name) or ""
        if not why:
            yield Subject(kind="step", name=spec.name, contract=_contract(StepContract, **fields))
            break
    else:
        yield Subject(kind="step", name=spec.name, unchecked=f"{why}: give settings as KERNEL_... in the environment")
    if spec.name == "hub":
        yield Subject(kind="hub", name=spec.name, contract=_contract(HubContract, make_hub=_make_hub))


def _make_hub(_: object) -> Hub:
    """Return what the step ``hub`` creates; the contract closes it."""
    maker = cast("StepMaker", _contract(StepContract, step="hub", broker=""))
    worker = make_worker(maker, [maker.make_spec()], Path(tempfile.gettempdir()))
    worker.blueprint.create()
    return cast("Hub", worker.blueprint.component("hub"))


def _contract(cls: type, **fields: object) -> object:
    return type("Contract", (cls,), fields)()


def _returning(value: object) -> Callable[[object], object]:
    return lambda _: value


def check(name: str, tell: Callable[[dict[str, Any]], None]) -> None:
    """Hold the plugin ``name`` to its contracts, and tell what comes out."""
    for subject in subjects(installed(), name):
        tell({"event": "subject", "kind": subject.kind, "name": subject.name, "unchecked": subject.unchecked})
        if subject.contract is None:
            continue
        found = verdicts(
            subject.contract,
            without={"test_nothing_is_overridden"},  # nothing is, here
            side_by_side=subject.side_by_side,
            told=lambda test: tell({"event": "case", "test": test}),
        )
        for verdict in found:
            tell(
                {
                    "event": "verdict",
                    "test": verdict.test,
                    "promise": verdict.promise,
                    "kept": verdict.kept,
                    "cases": verdict.cases,
                    "why": verdict.why,
                }
            )


def main(arguments: Sequence[str]) -> None:
    """Check the plugin that is named; see the module."""
    (name,) = arguments
    answers = os.dup(1)
    os.dup2(2, 1)  # what is printed, here or in child processes, is no part of the answer
    logging.lastResort = None  # pools log what they are made to suffer
    with open(answers, "w", encoding="utf-8", buffering=1) as out, contextlib.redirect_stdout(sys.stderr):  # noqa: PTH123

        def tell(event: dict[str, Any]) -> None:
            out.write(json.dumps(event) + "\n")

        check(name, tell)
        tell({"event": "over"})


if __name__ == "__main__":
    main(sys.argv[1:])
