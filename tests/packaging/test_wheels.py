"""The wheels, installed in a clean virtual environment from which the checkout cannot be seen."""

from __future__ import annotations

import email
import json
import os
import re
import signal
import subprocess
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from email.message import Message
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.packaging.conftest import FOLDERS, ROOT, pip

README = ROOT / "README.md"
PLUGINS = {"hub": "worker-hub", "loops": "worker-loops", "solo": "worker-pool-solo", "sqlite": "worker-broker-sqlite"}
PLUGINS |= {"gevent": "worker-pool-gevent", "eventlet": "worker-pool-eventlet"}
PLUGINS |= {"threads": "worker-pool-threads", "redis": "worker-broker-redis", "autoscale": "worker-autoscale"}
SHORT = ("worker-pool-eventlet", "worker-kernel[prefork]")

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("packaging")]

WHERE = """
import importlib, json, pkgutil, sys
from importlib.metadata import distributions

packages = [name for name in sorted({d.metadata["Name"].replace("-", "_") for d in distributions()})
            if name.startswith("worker_")]
files = {}
for package in packages:
    files[package] = importlib.import_module(package).__file__
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if ".testing." in info.name:  # needs what only the extra of that name brings
            files[info.name] = info.module_finder.find_spec(info.name).origin
        elif not info.name.endswith("__main__"):
            files[info.name] = importlib.import_module(info.name).__file__
print(json.dumps({"path": sys.path, "files": files}))
"""

TASKS = """
from worker_kernel import App

app = App("tasks")

@app.task
def add(a, b):
    return a + b
"""

CALL = """
from tasks import add

print(add.delay(2, 3).get(timeout=30))
"""


def run(command: Sequence[str | Path], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of this process's environment but what every process needs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    words = list(map(str, command))
    return subprocess.run(
        words, cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False, timeout=240
    )


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@attrs.frozen(kw_only=True)
class Site:
    """A clean virtual environment with all distributions, and an empty folder to work in."""

    python: Path
    kernel: Path
    wheels: Path
    work: Path

    def packages(self) -> Path:
        """The only folder from which our packages may come."""
        (found,) = self.python.parents[1].glob("lib/python3.*/site-packages")
        return found.resolve()

    def listed(self) -> dict[str, str]:
        """The plugins of ``kernel list-plugins --json``: status by name."""
        result = run([self.kernel, "list-plugins", "--json"], self.work)
        assert result.returncode == 0, result.stdout + result.stderr
        return {plugin["name"]: plugin["status"] for plugin in json.loads(result.stdout)["plugins"]}


def names_of(wheels: Path) -> set[str]:
    return {str(metadata(wheel)["Name"]) for wheel in wheels.glob("*.whl")}


def third_party(wheels: Path) -> list[str]:
    """What our wheels need of others, extras aside."""
    ours = names_of(wheels)
    needed = {line for wheel in wheels.glob("*.whl") for line in metadata(wheel).get_all("Requires-Dist", ())}
    return sorted(line for line in needed if "extra ==" not in line and re.split(r"[^A-Za-z0-9-]", line)[0] not in ours)


def project_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return content


@pytest.fixture(scope="module")
def site(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    ours = names_of(wheels)
    pip("--python", python, "install", "--quiet", *third_party(wheels))
    # Ours from the folder alone: an index might have distributions of the same names.
    pip("--python", python, "install", "--quiet", "--no-index", "--find-links", wheels, *sorted(ours))
    (folder / "work").mkdir()
    return Site(python=python, kernel=python.with_name("kernel"), wheels=wheels, work=folder / "work")


def test_each_distribution_makes_a_wheel_that_is_whole(wheels: Path) -> None:
    built = sorted(wheels.glob("*.whl"))
    assert len(built) == len(FOLDERS)
    for wheel in built:
        names = zipfile.ZipFile(wheel).namelist()
        package = wheel.name.partition("-")[0]
        assert f"{package}/py.typed" in names
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
        assert str(metadata(wheel).get_payload()).startswith(f"# {package.replace('_', '-')}\n")
        assert metadata(wheel)["License-Expression"] == "BSD-3-Clause"


def test_a_wheel_holds_every_module_and_nothing_else(wheels: Path) -> None:
    for folder in FOLDERS:
        (package,) = (init.parent for init in folder.glob("src/*/__init__.py"))
        (wheel,) = wheels.glob(f"{package.name}-*.whl")
        shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        assert shipped == {path.relative_to(package.parent).as_posix() for path in files}


def test_every_module_comes_from_the_site_packages(site: Site) -> None:
    result = run([site.python, "-c", WHERE], site.work)
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert not [path for path in seen["path"] if (site.work / path).resolve().is_relative_to(ROOT)]
    assert {name.partition(".")[0] for name in seen["files"]} >= {"worker_kernel", "worker_loops", "worker_pool_solo"}
    elsewhere = {name: file for name, file in seen["files"].items() if not Path(file).is_relative_to(site.packages())}
    assert elsewhere == {}


def test_the_command_says_its_version(site: Site) -> None:
    (wheel,) = site.wheels.glob("worker_kernel-*.whl")
    result = run([site.kernel, "--version"], site.work)
    assert result.returncode == 0, result.stderr
    assert metadata(wheel)["Version"] in result.stdout


def test_every_plugin_is_listed_as_ready(site: Site) -> None:
    assert site.listed().items() >= dict.fromkeys(PLUGINS, "ready").items()


def test_what_the_readme_shows_is_what_is_printed(site: Site) -> None:
    shown = re.search(r"^```console installed\n\$ kernel (.*)\n((?s:.*?))^```$", README.read_text(), re.MULTILINE)
    assert shown is not None
    result = run([site.kernel, *shown[1].split()], site.work)
    assert [line.rstrip() for line in result.stdout.splitlines()] == shown[2].splitlines()


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_taking_a_plugin_away_leaves_the_list_whole(site: Site, name: str) -> None:
    pip("--python", site.python, "uninstall", "--quiet", "--yes", PLUGINS[name])
    try:
        listed = site.listed()
        plain = run([site.kernel, "list-plugins"], site.work)
    finally:
        local = ("--no-index", "--find-links", site.wheels)
        pip("--python", site.python, "install", "--quiet", "--no-deps", *local, PLUGINS[name])
    assert listed.get(name) in (None, "missing")
    assert set(PLUGINS) - {name} <= set(listed)
    assert plain.returncode == 0, plain.stdout + plain.stderr


def run_a_task(site: Site, pool: str) -> None:
    """Run a worker on a pool, have it run a task, and stop it.

    Raises:
        AssertionError: one of these failed.
    """
    (site.work / "tasks.py").write_text(TASKS)
    url = f"sqlite:///{site.work / 'broker.db'}"
    environment = {"PATH": os.environ["PATH"], "KERNEL_BROKER_URL": url, "HOME": str(site.work)}
    log = site.work / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [str(site.kernel), "worker", "-A", "tasks", "-P", pool],
            cwd=site.work,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        result = run([site.python, "-c", CALL], site.work, KERNEL_BROKER_URL=url)
        assert result.stdout.strip() == "5", result.stderr + log.read_text()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()


def test_a_solo_worker_runs_a_task_from_end_to_end(site: Site) -> None:
    run_a_task(site, "solo")


@pytest.fixture(scope="module")
def house(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of everything that ours depend on, so that a clean environment asks no index."""
    folder = tmp_path_factory.mktemp("house")
    pip("wheel", "--quiet", "--wheel-dir", folder, *third_party(wheels))
    return folder


def asked() -> list[Any]:
    """Every way to ask for a pool: its distribution, and the extra of the kernel that brings it."""
    names = [project["name"] for project in map(project_of, FOLDERS)]
    pools = [name.removeprefix("worker-pool-") for name in names if name.startswith("worker-pool-")]
    extras = [name for name in project_of(ROOT / "core")["optional-dependencies"] if name in pools]
    ways = [(pool, f"worker-pool-{pool}") for pool in pools] + [(extra, f"worker-kernel[{extra}]") for extra in extras]
    return [
        pytest.param(pool, way, id=way, marks=() if pool == "gevent" or way in SHORT else pytest.mark.long)
        for pool, way in ways
    ]


@pytest.mark.parametrize(("pool", "requirement"), asked())
def test_what_is_asked_for_alone_runs_a_task(
    pool: str, requirement: str, wheels: Path, house: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    places = ("--no-index", "--find-links", wheels, "--find-links", house)
    pip("--python", python, "install", "--quiet", *places, requirement)
    (tmp_path / "work").mkdir()
    run_a_task(Site(python=python, kernel=python.with_name("kernel"), wheels=wheels, work=tmp_path / "work"), pool)


def test_the_demonstration_needs_no_checkout(site: Site) -> None:
    result = run([site.kernel, "demo"], site.work)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "solo" in result.stdout
    assert "threads" in result.stdout
