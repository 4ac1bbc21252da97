"""Every dependency is named with its reason, and none is named that is not there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "design" / "dependencies.md"


def load(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def names(lines: list[Any]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9-]", line)[0] for line in lines if isinstance(line, str)}


def declared() -> set[str]:
    """The dependencies of all distributions, extras and groups, without our own."""
    found = names([line for group in load(ROOT / "pyproject.toml")["dependency-groups"].values() for line in group])
    for path in [ROOT / "core" / "pyproject.toml", *(ROOT / "plugins").glob("**/pyproject.toml")]:
        project = load(path)["project"]
        extras = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
        found |= names([*project["dependencies"], *extras])
    return {name for name in found if not name.startswith("worker-")}


def test_the_page_names_each_dependency_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| .*\S.* \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(declared())
