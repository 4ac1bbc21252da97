"""What the distributions say about themselves, read from their pyproject.toml."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core"
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("**/pyproject.toml"))
DISTRIBUTIONS = [CORE, *PLUGINS]
GROUPS = {"worker_kernel.pools", "worker_kernel.commands", "worker_kernel.plugins", "worker_kernel.patches"}


def project(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return content


def package(folder: Path) -> Path:
    (found,) = (path.parent for path in (folder / "src").glob("*/__init__.py"))
    return found


def each(folders: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("folder", folders, ids=[folder.relative_to(ROOT).as_posix() for folder in folders])


def test_the_workspace_lists_every_distribution() -> None:
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {project(folder)["name"] for folder in DISTRIBUTIONS}
    assert set(workspace["tool"]["uv"]["sources"]) == names
    listed = workspace["tool"]["uv"]["workspace"]
    members = {folder for pattern in listed["members"] for folder in ROOT.glob(pattern)}
    members -= {ROOT / folder for folder in listed["exclude"]}
    assert members == set(DISTRIBUTIONS)
    assert "project" not in workspace


def test_the_tools_look_at_every_distribution() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    packages = {package(folder).name for folder in DISTRIBUTIONS}
    sources = {(folder / "src").relative_to(ROOT).as_posix() for folder in DISTRIBUTIONS}
    assert set(tool["coverage"]["run"]["source_pkgs"]) == packages
    assert set(tool["importlinter"]["root_packages"]) == packages
    assert set(tool["mypy"]["mypy_path"]) == sources
    assert sources < set(tool["mypy"]["files"])


def test_the_makefile_installs_every_distribution() -> None:
    line = re.search(r"^DISTRIBUTIONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line is not None
    assert set(line[1].split()) == {folder.relative_to(ROOT).as_posix() for folder in DISTRIBUTIONS}


def test_all_versions_are_static_and_in_lock_step() -> None:
    versions = {project(folder)["name"]: project(folder)["version"] for folder in DISTRIBUTIONS}
    assert len(set(versions.values())) == 1, versions
    assert not any("dynamic" in project(folder) for folder in DISTRIBUTIONS)


@each(PLUGINS)
def test_a_plugin_asks_for_this_series_of_the_kernel(folder: Path) -> None:
    major, minor, _ = project(CORE)["version"].split(".")
    series = f"worker-kernel>={major}.{minor},<{major}.{int(minor) + 1}"
    assert series in project(folder)["dependencies"]


@each(PLUGINS)
def test_a_plugin_is_found_by_its_entry_point(folder: Path) -> None:
    groups = project(folder)["entry-points"]
    assert set(groups) <= GROUPS
    assert package(folder).name in {
        re.split(r"[.:]", target)[0] for group in groups.values() for target in group.values()
    }


@each([folder for folder in PLUGINS if project(folder)["name"].startswith("worker-pool-")])
def test_a_pool_alone_brings_a_working_worker(folder: Path) -> None:
    required = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in project(folder)["dependencies"]}
    assert {"worker-kernel", "worker-loops", "worker-broker-sqlite"} <= required


@each(DISTRIBUTIONS)
def test_a_distribution_is_whole(folder: Path) -> None:
    said = project(folder)
    assert package(folder).name == said["name"].replace("-", "_")
    assert (package(folder) / "py.typed").is_file()
    assert (folder / "README.md").read_text().startswith(f"# {said['name']}\n")
    assert said["readme"] == "README.md"
    assert said["license"] == "BSD-3-Clause"
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert said["requires-python"] == ">=3.11"
    assert said["description"]


@each(DISTRIBUTIONS)
def test_a_distribution_depends_on_what_it_imports(folder: Path) -> None:
    said = project(folder)
    extras = said.get("optional-dependencies", {})
    lines = [*said["dependencies"], *extras.get("testing", ()), *extras.get("fast", ())]
    declared = {re.split(r"[^A-Za-z0-9-]", line)[0].replace("-", "_") for line in lines}
    imported = {
        name.partition(".")[0]
        for path in package(folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported_by(node)
    }
    assert imported - set(sys.stdlib_module_names) - {package(folder).name} <= declared


def imported_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def test_each_extra_that_the_design_names_is_there() -> None:
    extras = project(CORE)["optional-dependencies"]
    assert {"solo", "threads", "prefork", "gevent", "eventlet", "standard", "all"} <= set(extras)
    for name in ("solo", "threads", "prefork", "gevent", "eventlet"):
        assert [line.partition(">=")[0] for line in extras[name]] == [f"worker-pool-{name}"]


def test_the_kernel_depends_on_no_plugin() -> None:
    assert not [line for line in project(CORE)["dependencies"] if line.startswith("worker-")]
