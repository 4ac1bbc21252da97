"""The page on performance has every case and every target, and says when and how its figures came to be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench.cases import ALL
from bench.results import Results
from bench.targets import TARGETS

PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(ALL))
def test_each_case_stands_on_the_page(name: str) -> None:
    assert f"\n## {ALL[name].title}\n" in PAGE
    assert f"`--case {name}`" in PAGE


def test_each_target_stands_on_the_page() -> None:
    nothing = Results(command="", date="", machine={})
    for target in TARGETS:
        assert target.verdict(nothing).target in PAGE


def test_the_page_says_when_how_and_with_which_versions() -> None:
    assert re.search(r"^Measured on \d{4}-\d\d-\d\d on \d+ cores of ", PAGE, re.MULTILINE)
    assert re.search(r"^- `python -m bench run.*`$", PAGE, re.MULTILINE)
    assert re.search(r"^- ours: .*worker-kernel \d", PAGE, re.MULTILINE)
    assert re.search(r"^- celery: .*celery \d", PAGE, re.MULTILINE)
