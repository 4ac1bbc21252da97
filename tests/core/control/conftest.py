"""What the tests of control share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for the name of a socket, as that of ``tmp_path`` may not."""
    with tempfile.TemporaryDirectory(prefix="wk") as folder:
        yield Path(folder)
