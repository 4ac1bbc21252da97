"""Every link between the Markdown files leads somewhere, and the check would notice one that does not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def check_links() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_links", ROOT / "docs" / "check_links.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_link_leads_somewhere() -> None:
    command = [sys.executable, "docs/check_links.py"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("there.md", None),
        ("there.md#a-heading-with-code", None),
        ("#here", None),
        ("https://example.org/nowhere", None),
        ("gone.md", "no such file"),
        ("there.md#another", "no such heading"),
        ("#another", "no such heading"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(
    check_links: ModuleType, tmp_path: Path, target: str, wrong: str | None
) -> None:
    (tmp_path / "there.md").write_text("# A heading, with `code`\n")
    (tmp_path / "here.md").write_text(f"# Here\n\nA [link]({target}).\n")
    ((line, found),) = check_links.links(tmp_path / "here.md")
    assert (line, found) == (3, target)
    problem = check_links.problem(tmp_path / "here.md", found)
    assert problem is None if wrong is None else wrong in problem
