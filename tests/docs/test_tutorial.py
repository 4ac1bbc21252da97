"""The tutorial: its commands run as they are written and print what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.timeout(240)
def test_its_commands_run_as_written(read_through: Callable[[Path], int]) -> None:
    assert read_through(TUTORIAL) >= 12
