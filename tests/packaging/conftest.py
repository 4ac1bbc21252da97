"""The wheels of all distributions, built once for all tests of this folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "core", *sorted(path.parent for path in (ROOT / "plugins").glob("**/pyproject.toml"))]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def pip(*arguments: str | Path) -> None:
    """Run pip with the environment of this process, which may say where the index is.

    Raises:
        AssertionError: pip failed; with what it said.
    """
    command = [*PIP, *map(str, arguments)]
    result = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=240)
    assert result.returncode == 0, f"pip failed (is a package index within reach?):\n{result.stdout}{result.stderr}"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *FOLDERS)
    return folder
