"""``kernel pools`` against the feature comparison of Celery's pools, cell by cell; each difference has its reason.

The reasons stand in docs/choosing-a-pool.md, in a table that is read here. A cell that differs and is not listed fails;
so does one that is listed and does not differ, or is listed with other words than those that are printed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from worker_kernel.cli.invocation import Invocation
from worker_kernel.cli.main import command as kernel

POOLS = ("prefork", "eventlet", "gevent", "solo", "threads")
CELERYS = {
    "True Parallelism": ("✓", "✗", "✗", "✗", "✗ (GIL)"),
    "CPU-Bound Tasks": ("Excellent", "Poor", "Poor", "Poor", "Poor"),
    "I/O-Bound Tasks": ("Good", "Excellent", "Excellent", "Poor", "Good"),
    "Memory Efficiency": ("Moderate", "High", "High", "High", "High"),
    "Concurrency Scale": ("10s-100s", "1000s", "1000s", "1", "10s"),
    "Time Limits": ("Hard+Soft", "Soft only", "Soft only", "Both", "Soft only"),
    "Process Isolation": ("✓", "✗", "✗", "✗", "✗"),
    "Autoscaling": ("✓", "✗", "✗", "✗", "✗"),
    "Windows Support": ("✓", "✗", "✗", "✓", "✓"),
    "Debugging": ("Harder", "Harder", "Harder", "Easy", "Moderate"),
}
"""The feature comparison as it is known of Celery 5.6, a row per feature, a cell per pool."""
PAGE = Path(__file__).parents[2] / "docs" / "choosing-a-pool.md"
Cell = tuple[str, str]


def listed() -> dict[Cell, tuple[str, str, str]]:
    """What the page lists: feature and pool -> Celery's words, ours, and the reason."""
    text = PAGE.read_text(encoding="utf-8").partition("## Where this differs from Celery's pools")[2]
    text = text.partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text, re.MULTILINE)
    ]
    found: dict[Cell, tuple[str, str, str]] = {}
    for feature, pools, theirs, ours, why in rows[2:]:
        for pool in re.findall(r"`(\w+)`", pools):
            assert (feature, pool) not in found, f"{feature} of {pool} is listed twice"
            found[feature, pool] = (theirs, ours, why)
    return found


@pytest.fixture(scope="module")
def printed() -> dict[str, dict[str, str]]:
    """What ``kernel pools --json`` says of our five pools."""
    result = CliRunner().invoke(
        kernel, ["pools", "--json"], prog_name="kernel", obj=Invocation(), catch_exceptions=False
    )
    assert result.exit_code == 0
    told = {pool["name"]: pool["features"] for pool in json.loads(result.stdout)["pools"] if pool["name"] in POOLS}
    if "eventlet" not in told:
        pytest.skip("worker-pool-eventlet is not installed: the table compares all pools")
    return told


def test_the_rows_are_those_of_the_comparison(printed: dict[str, dict[str, str]]) -> None:
    for pool in POOLS:
        assert list(printed[pool]) == list(CELERYS)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("feature", list(CELERYS))
def test_a_cell_says_what_celerys_says_or_is_listed_with_its_reason(
    feature: str, pool: str, printed: dict[str, dict[str, str]]
) -> None:
    theirs, ours = CELERYS[feature][POOLS.index(pool)], printed[pool][feature]
    difference = listed().get((feature, pool))
    if ours == theirs:
        assert difference is None, f"{feature} of {pool} is listed as a difference, and is none"
        return
    assert difference is not None, f"{feature} of {pool}: {theirs} with Celery, {ours} here, and no reason is given"
    assert difference[:2] == (theirs, ours)
    assert len(difference[2].split()) >= 8, "a reason is a sentence"


def test_nothing_is_listed_that_there_is_not() -> None:
    assert {feature for feature, _ in listed()} <= set(CELERYS)
    assert {pool for _, pool in listed()} <= set(POOLS)
