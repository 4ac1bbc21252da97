"""What authors of plugins get, in a clean environment: what new-plugin writes, and a pool by somebody else.

One environment for all: with the kernel, what a worker needs, and what the conformance kit is written with.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.packaging.conftest import ROOT, pip

from worker_kernel.cli.new_plugin import KINDS

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("authors")]

OURS = ("worker-kernel[testing]", "worker-hub", "worker-loops", "worker-broker-sqlite")
NEEDS = {"autoscaler": ("worker-autoscale",)}
"""What a kind needs besides."""

TASKS = """
import os
from worker_kernel import App

app = App("tasks")

@app.task
def cpus():
    return len(os.sched_getaffinity(0))
"""

CALL = """
from tasks import cpus

print(cpus.delay().get(timeout=60))
"""


@attrs.frozen(kw_only=True)
class Bench:
    """A clean environment, and a folder to work in."""

    python: Path
    work: Path

    def run(self, *words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, which sees nothing of this process's."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        command = [str(self.python.with_name(str(words[0]))), *map(str, words[1:])]
        return subprocess.run(
            command,
            cwd=cwd or self.work,
            env=kept | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def install(self, project: Path) -> None:
        """Install a project from its folder, which must find there all that it requires."""
        pip("--python", self.python, "install", "--quiet", "--no-index", "--no-build-isolation", project)

    def kernel(self, *words: str, code: int = 0) -> str:
        """Run ``kernel`` and return what it printed."""
        done = self.run("kernel", *words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def empty_bench(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("authors")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    wanted = [*OURS, *(name for kind in KINDS for name in NEEDS.get(kind, ()))]
    local = [str(next(wheels.glob(f"{name.partition('[')[0].replace('-', '_')}-*.whl"))) for name in wanted]
    local[0] += "[testing]"
    pip("--python", python, "install", "--quiet", "hatchling", *local)
    (folder / "work").mkdir()
    return Bench(python=python, work=folder / "work")


@pytest.fixture(scope="module")
def bench(empty_bench: Bench) -> Bench:
    """The same with a plugin of each kind, written and installed."""
    (empty_bench.work / "tasks.py").write_text(TASKS)
    for kind in KINDS:
        empty_bench.kernel("new-plugin", f"acme-{kind}", "--kind", kind)
        empty_bench.install(empty_bench.work / f"acme-{kind}")
    return empty_bench


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_installs_and_passes_its_own_tests(bench: Bench, kind: str) -> None:
    name = f"acme-{kind}"
    done = bench.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=bench.work / name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
    rows = {row["name"]: row for row in listed(bench)}
    assert (rows[name]["dist"], rows[name]["status"]) == (name, "ready")


def test_a_written_step_brings_a_setting_an_option_and_a_command(bench: Bench) -> None:
    serve(bench, ["-P", "acme-pool", "-c", "1", "--acme-step-file", "busy.jsonl", "--acme-step-interval", "0.1"])
    assert "0 of 1 slots busy" in bench.kernel("acme-step", "busy.jsonl")
    assert "acme-step.reporter of acme-step starts as number" in bench.kernel(
        "graph", "-P", "acme-pool", "--why", "acme-step.reporter"
    )
    setting = next(row for row in bench.kernel("settings").splitlines() if row.startswith("acme_step_interval"))
    assert "5.0" in setting


def test_a_written_step_keeps_what_check_plugin_looks_at(bench: Bench) -> None:
    document = json.loads(bench.kernel("check-plugin", "acme-step", "--json"))
    assert document["broken"] == 0
    assert document["kept"] > 15


def test_a_pool_by_somebody_else_is_listed_with_its_origin_chosen_and_checked(bench: Bench) -> None:
    example = ROOT / "examples" / "third-party-pool"
    lines = [line for file in example.glob("src/**/*.py") for line in file.read_text().splitlines()]
    assert len(lines) < 80
    bench.install(example)
    (row,) = (row for row in listed(bench) if row["name"] == "pinned")
    assert (row["kind"], row["dist"], row["version"], row["status"]) == ("pool", "pinned-pool", "1.0", "ready")
    assert str(example) in row["origin"]
    printed = serve(bench, ["-P", "pinned", "-c", "2", "--pinned-first-cpu", "0"])
    assert printed.strip() == "1", "the task runs on one CPU"
    document = json.loads(bench.kernel("check-plugin", "pinned", "--json"))
    assert [plugin["broken"] for plugin in document["plugins"]] == [0], document
    assert document["kept"] > 80


def listed(bench: Bench) -> list[dict[str, Any]]:
    plugins: list[dict[str, Any]] = json.loads(bench.kernel("list-plugins", "--json"))["plugins"]
    return plugins


def serve(bench: Bench, options: Sequence[str]) -> str:
    """Run a worker with these options, have it run a task, stop it, and return the task's result as text."""
    url = f"sqlite:///{bench.work / 'broker.db'}"
    environment = {"PATH": os.environ["PATH"], "KERNEL_BROKER_URL": url, "HOME": str(bench.work)}
    log = bench.work / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [str(bench.python.with_name("kernel")), "worker", "-A", "tasks", *options],
            cwd=bench.work,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        result = bench.run("python", "-c", CALL, KERNEL_BROKER_URL=url)
        assert result.returncode == 0, result.stderr + log.read_text()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()
    return result.stdout
