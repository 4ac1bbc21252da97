"""Running a contract without pytest's runner: which promises does an implementation break?"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

ALONE = frozenset(
    {
        "test_any_sequence_of_calls_ends_where_the_model_says",
        "test_no_process_is_left_after_the_end",
        "test_no_thread_is_left_after_stop",
        "test_it_leaves_no_thread",
    }
)
"""Tests that look at the whole process, or that want the main thread."""

Case = tuple[str, Mapping[str, object]]
"""The name of a test and its parameters."""


def cases(contract: object) -> Iterator[Case]:
    """Yield every test of ``contract``, in the order of names, once for each combination of its parameters."""
    for name in sorted(name for name in dir(contract) if name.startswith("test_")):
        marks = [mark for mark in getattr(getattr(contract, name), "pytestmark", ()) if mark.name == "parametrize"]
        choices = [[(mark.args[0], value) for value in mark.args[1]] for mark in marks]
        for chosen in itertools.product(*choices):
            yield name, dict(chosen)


def broken_promises(contract: object, *, without: Collection[str] = (), side_by_side: int = 1) -> dict[str, str]:
    """Run the tests of ``contract`` and return those that failed, with what the last failing case said.

    Marks other than ``parametrize`` are not honoured: a promise that is marked ``xfail`` counts as broken.

    Args:
        contract: an instance of a subclass of one of the contracts.
        without: names of tests to leave out.
        side_by_side: how many cases to run at a time (>= 1), in threads. They wait much and share nothing; those that
            look at the whole process run alone, after the others. Must be 1 for pools that want the main thread.
    """
    wanted = [case for case in cases(contract) if case[0] not in without]
    broken: dict[str, str] = {}

    def run(case: Case) -> None:
        name, parameters = case
        try:
            getattr(contract, name)(**parameters)
        except (Exception, pytest.fail.Exception) as error:
            broken[name] = f"{dict(parameters)}: {error}"

    if side_by_side > 1:
        with ThreadPoolExecutor(side_by_side) as executor:
            list(executor.map(run, [case for case in wanted if case[0] not in ALONE]))
        wanted = [case for case in wanted if case[0] in ALONE]
    for case in wanted:
        run(case)
    return dict(sorted(broken.items()))


def main(arguments: Sequence[str]) -> None:
    """Run the pool contract on the pool of a path, and print the broken promises as one line of JSON.

    For pools that need a process of their own: ``python -m worker_kernel.testing.patched gevent
    worker_kernel.testing.promises worker_pool_gevent.pool:GeventPool gevent``; the last word is what the cases that
    need a process of their own are patched for.
    """
    from .bench import load_pool
    from .pool_contract import PoolContract

    path, patch_name = arguments
    contract = type(
        "Contract",
        (PoolContract,),
        {"pool_path": path, "capabilities": load_pool(path).capabilities, "patch": patch_name},
    )
    print(json.dumps(broken_promises(contract())))


if __name__ == "__main__":
    main(sys.argv[1:])
