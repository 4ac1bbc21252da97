"""The states of a child are those that the documentation draws, and its parameters those that a pool is given."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from worker_kernel import PoolConfig
from worker_pool_prefork.states import NEXT, HostState

PAGE = Path(__file__).parents[3] / "docs" / "design" / "prefork.md"
ARROW = re.compile(r"^ *(\S+) --> (\S+?)(?::.*)?$", re.MULTILINE)


def between(mark: str) -> str:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    marked, end, _ = rest.partition(f"<!-- end {mark} -->")
    assert end, f"{PAGE.name} has nothing marked {mark}"
    return marked


def arrows() -> list[tuple[str, str]]:
    return ARROW.findall(between("states"))


def test_the_diagram_has_the_very_transitions_that_a_child_may_make() -> None:
    drawn = {(HostState(source), HostState(target)) for source, target in arrows() if "[*]" not in (source, target)}
    assert drawn == {(source, target) for source, targets in NEXT.items() for target in targets}


def test_no_arrow_is_drawn_twice() -> None:
    assert len(arrows()) == len(set(arrows()))


def test_the_diagram_begins_where_a_child_does_and_ends_where_nothing_follows() -> None:
    assert [target for source, target in arrows() if source == "[*]"] == [HostState.SPAWNED]
    assert [source for source, target in arrows() if target == "[*]"] == [
        state for state in HostState if not NEXT[state]
    ]


@pytest.mark.parametrize("state", HostState)
def test_every_state_has_its_successors_declared_and_ends_as_reaped(state: HostState) -> None:
    reached = {state}
    while more := {successor for one in reached for successor in NEXT[one]} - reached:
        reached |= more
    assert HostState.REAPED in reached


def test_every_parameter_names_a_field_of_the_configuration() -> None:
    rows = [line.split("|") for line in between("parameters").splitlines()[2:]]
    named = {field for row in rows for field in re.findall(r"`(\w+)`", row[2])}
    assert len(rows) == 13
    assert named <= {field.name for field in attrs.fields(PoolConfig)}
