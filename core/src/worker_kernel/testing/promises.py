"""Running a contract without pytest's runner: which promises does an implementation keep, and which does it break?"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
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


@attrs.frozen(kw_only=True)
class Verdict:
    """What has come out about one promise."""

    test: str
    """The name of the test."""
    cases: int
    """How many cases of it were run (>= 1)."""
    why: str = ""
    """What the last failing case said; empty: the promise is kept."""

    @property
    def promise(self) -> str:
        """The test's name as the sentence that it is."""
        return self.test.removeprefix("test_").replace("_s_", "'s ").replace("_", " ")

    @property
    def kept(self) -> bool:
        """Whether every case succeeded."""
        return not self.why


def cases(contract: object) -> Iterator[Case]:
    """Yield every test of ``contract``, in the order of names, once for each combination of its parameters."""
    for name in sorted(name for name in dir(contract) if name.startswith("test_")):
        marks = [mark for mark in getattr(getattr(contract, name), "pytestmark", ()) if mark.name == "parametrize"]
        choices = [[(mark.args[0], value) for value in mark.args[1]] for mark in marks]
        for chosen in itertools.product(*choices):
            yield name, dict(chosen)


def verdicts(
    contract: object,
    *,
    without: Collection[str] = (),
    side_by_side: int = 1,
    told: Callable[[str], object] = str,
) -> list[Verdict]:
    """Run the tests of ``contract`` and return a verdict on each, in the order of names.

    Marks other than ``parametrize`` are not honoured: a promise that is marked ``xfail`` counts as broken.

    Args:
        contract: an instance of a subclass of one of the contracts.
        without: names of tests to leave out.
        side_by_side: how many cases to run at a time (>= 1), in threads. They wait much and share nothing; those that
            look at the whole process run alone, after the others, and so do once more those that failed: a machine that
            is kept busy by the kit itself proves nothing. Must be 1 for pools that want the main thread.
        told: called with the name of a test before each of its cases, from any thread.
    """
    wanted = [case for case in cases(contract) if case[0] not in without]
    broken: dict[str, str] = {}

    def run(case: Case) -> bool:
        name, parameters = case
        told(name)
        try:
            getattr(contract, name)(**parameters)
        except (Exception, pytest.fail.Exception) as error:
            case_words = (
                f"with {', '.join(f'{key}={value}' for key, value in parameters.items())}: " if parameters else ""
            )
            broken[name] = f"{case_words}{str(error) or repr(error)}"
            return False
        return True

    alone = wanted
    if side_by_side > 1:
        together = [case for case in wanted if case[0] not in ALONE]
        with ThreadPoolExecutor(side_by_side) as executor:
            kept = list(executor.map(run, together))
        alone = [case for case, well in zip(together, kept, strict=True) if not well]
        alone += [case for case in wanted if case[0] in ALONE]
        broken.clear()
    for case in alone:
        run(case)
    counts = Counter(name for name, _ in wanted)
    return [Verdict(test=name, cases=counts[name], why=broken.get(name, "")) for name in sorted(counts)]


def broken_promises(contract: object, *, without: Collection[str] = (), side_by_side: int = 1) -> dict[str, str]:
    """Return the tests of ``contract`` that failed, with what the last failing case said. See `verdicts`."""
    found = verdicts(contract, without=without, side_by_side=side_by_side)
    return {verdict.test: verdict.why for verdict in found if not verdict.kept}


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
