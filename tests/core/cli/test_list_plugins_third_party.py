"""``kernel list-plugins`` with everything that others may have installed: run as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..conftest import Site

POOL = """
from worker_kernel import Capabilities, PoolSpec, implements, kernel_pools
CONTRACT = 1

@implements(kernel_pools)
def pools():
    return [PoolSpec(name="{name}", cls="nowhere:Pool", capabilities=Capabilities())]
"""

SURVIVABLE = {
    "acme-raises": "raise RuntimeError('native library missing')",
    "acme-exits": "import sys; sys.exit(0)",
    "acme-prints": "print('hello'); CONTRACT = 1",
}
FATAL = {
    "acme-ends": "import os; os._exit(0)",
    "acme-hangs": "import threading; threading.Event().wait()",
    "acme-crashes": "import ctypes; ctypes.string_at(0)",
}


@pytest.fixture
def zoo(site: Site, tmp_path: Path) -> Site:
    """Sound, incompatible, conflicting, and broken in each way that there is."""
    for name in ("sound", "left", "right"):
        site.module(f"acme_{name}", POOL.format(name="sound" if name == "sound" else "both"))
    site.install("acme-sound", {"pools": {"sound": "acme_sound"}})
    site.install("acme-future", {"pools": {"future": "acme_future"}}, requires=("worker-kernel>=99",))
    site.install("acme-left", {"pools": {"both": "acme_left"}})
    site.install("acme-right", {"pools": {"both": "acme_right"}})
    for name, source in {**SURVIVABLE, **FATAL}.items():
        module = name.replace("-", "_")
        site.module(module, source)
        site.install(name, {"plugins": {name: module}})
    site.install("acme-unversioned", {"plugins": {"unversioned": "acme_unversioned"}}, version=None)
    site.install("acme-malformed", "worker_kernel.plugins ] what = is this\n[worker_kernel.pools\nx = y\n")
    again = type(site)(tmp_path / "again")
    again.install("acme-sound", {"pools": {"sound": "acme_sound"}}, version="0.9")
    return site


def run(zoo: Site, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(zoo.folder), str(zoo.folder.parent / "again")])
    done = subprocess.run(
        [sys.executable, "-m", "worker_kernel", "list-plugins", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        cwd=zoo.folder.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    return {row["dist"]: row for row in document["plugins"] if row["dist"].startswith("acme")}


def statuses(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {dist: row["status"] for dist, row in rows(done).items()}


METADATA_ONLY = {
    "acme-crashes": "ready",
    "acme-ends": "ready",
    "acme-exits": "ready",
    "acme-future": "incompatible",
    "acme-hangs": "ready",
    "acme-left": "conflict",
    "acme-malformed": "broken",
    "acme-prints": "ready",
    "acme-raises": "ready",
    "acme-right": "conflict",
    "acme-sound": "ready",
    "acme-unversioned": "broken",
}


def test_metadata_alone_lists_them_all_and_imports_none(zoo: Site) -> None:
    done = run(zoo, "--json")
    assert statuses(done) == METADATA_ONLY
    assert list(rows(done)) == sorted(METADATA_ONLY)
    assert rows(done)["acme-sound"]["version"] == "1.0"
    assert done.stderr == ""
    for row in rows(done).values():
        assert (row["status"] == "ready") == (row["reason"] == "")
        assert (row["status"] == "ready") == (row["remedy"] == "")


def test_the_text_lists_them_all_too(zoo: Site) -> None:
    text = run(zoo).stdout
    for dist, status in METADATA_ONLY.items():
        (line,) = [line for line in text.splitlines() if f"  {dist}  " in line]
        assert f" {status}" in line


def test_check_exits_with_1(zoo: Site) -> None:
    assert statuses(run(zoo, "--json", "--check", code=1)) == METADATA_ONLY


def test_help_and_version_survive_them_all(zoo: Site) -> None:
    run(zoo, "--help")
    done = subprocess.run(
        [sys.executable, "-m", "worker_kernel", "--version"],
        env={**os.environ, "PYTHONPATH": str(zoo.folder)},
        capture_output=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0


def test_load_survives_what_raises_or_exits_and_keeps_the_output_clean(
    zoo: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERNEL_PLUGINS", ",".join(f"-{name}" for name in FATAL))
    done = run(zoo, "--json", "--load")
    found = rows(done)
    assert {dist: found[dist]["status"] for dist in FATAL} == dict.fromkeys(FATAL, "disabled")
    assert (found["acme-raises"]["status"], found["acme-raises"]["reason"]) == (
        "broken",
        "RuntimeError: native library missing",
    )
    assert (found["acme-exits"]["status"], found["acme-exits"]["reason"]) == (
        "broken",
        "exits at import with status 0",
    )
    assert found["acme-sound"]["status"] == "loaded"
    assert found["acme-sound"]["declares"]["pools"] == ["sound"]
    assert found["acme-prints"]["status"] == "loaded"
    assert "hello" in done.stderr


def test_probe_names_what_each_does_and_with_load_leaves_those_alone(zoo: Site) -> None:
    done = run(zoo, "--json", "--probe", "--probe-limit", "1.5", "--load")
    found = rows(done)
    assert {dist: found[dist]["reason"] for dist in (*SURVIVABLE, *FATAL)} == {
        "acme-raises": "RuntimeError: native library missing",
        "acme-exits": "exits at import with status 0",
        "acme-prints": "",
        "acme-ends": "exits at import with status 0",
        "acme-hangs": "hangs at import (> 1.5 s)",
        "acme-crashes": "kills the interpreter: SIGSEGV",
    }
    verdicts = {dist: row["probe"]["verdict"] for dist, row in found.items() if row["probe"]}
    assert verdicts == {
        "acme-crashes": "killed",
        "acme-ends": "exits",
        "acme-exits": "exits",
        "acme-future": "raises",  # there is no such module; it stays incompatible
        "acme-hangs": "hangs",
        "acme-left": "ok",
        "acme-prints": "ok",
        "acme-raises": "raises",
        "acme-right": "ok",
        "acme-sound": "ok",
        "acme-unversioned": "raises",
    }
    assert found["acme-future"]["status"] == "incompatible"
    assert found["acme-sound"]["status"] == "loaded"
    assert found["acme-sound"]["probe"]["modules"] > 0
    assert all(found[dist]["status"] == "broken" for dist in (*FATAL, "acme-raises", "acme-exits"))


def test_listing_imports_neither_plugins_nor_kombu(zoo: Site) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worker_kernel", "list-plugins", "--json"],
        env={**os.environ, "PYTHONPATH": str(zoo.folder)},
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "worker_kernel.plugins.discovery" in imported
    values = {row["value"].partition(":")[0] for row in json.loads(done.stdout)["plugins"]} - {""}
    assert len(values) > 8
    heavy = {"kombu", "billiard", "gevent", "eventlet", "celery", "rich"}
    assert not {name for name in imported if name.partition(".")[0] in values | heavy}
