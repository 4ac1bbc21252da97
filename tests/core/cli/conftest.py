"""Command lines run in processes of their own, with the distributions of the test's `site` on their path."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..conftest import Site

TASKS = """
from worker_kernel import App
app = App("proj")
@app.task
def add(a, b):
    return a + b
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with an application in ``tasks.py``."""
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "tasks.py").write_text(TASKS)
    return directory


@pytest.fixture
def run(project: Path, site: Site) -> Run:
    """Run ``kernel`` in the project's directory and return what came of it."""

    def ran(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "worker_kernel", *arguments],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(site.folder), **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return ran
