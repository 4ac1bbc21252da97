"""``kernel worker``: its options come from the settings, and its banner says what came from where."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from worker_kernel.cli.worker import GREEN_WARNING, command
from worker_kernel.core_settings import CORE_SETTINGS

if TYPE_CHECKING:
    from ..conftest import Site

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SETTINGS_PLUGIN = """
import worker_kernel as wk
from worker_kernel import kinds
CONTRACT = 1
@wk.implements(wk.kernel_settings)
def settings():
    return [
        wk.Setting(
            name="acme_port", parse=kinds.whole(1), kind="whole number >= 1", default=80, options=("--acme-port",),
            help="The port of acme.",
        )
    ]
"""
GREEN_PLUGIN = """
import worker_kernel as wk
CONTRACT = 1
def patch():
    print("patched")
@wk.implements(wk.kernel_pools)
def pools():
    can = wk.Capabilities(is_green=True, concurrency=wk.Support.NATIVE)
    return [wk.PoolSpec(name="fakegreen", cls="acme_green_pool:Pool", capabilities=can)]
"""


def test_every_setting_with_options_is_an_option_of_the_worker() -> None:
    with click.Context(command) as ctx:
        spellings = [spelling for param in command.get_params(ctx) for spelling in param.opts]
    assert len(set(spellings)) == len(spellings)
    assert {option for setting in CORE_SETTINGS for option in setting.options} <= set(spellings)


def test_one_declaration_of_a_plugin_yields_option_variable_key_and_help(run: Run, site: Site, project: Path) -> None:
    site.module("acme_settings", SETTINGS_PLUGIN)
    site.install("acme-settings", {"plugins": {"acme": "acme_settings"}})
    assert "--acme-port WHOLE NUMBER >= 1  The port of acme. [default: 80]" in run("worker", "--help").stdout
    wrong = "error: acme_port ({}): expected a whole number >= 1, got {}\n"
    assert run("worker", "-A", "tasks", "--acme-port", "0").stderr == wrong.format("--acme-port", "'0'")
    assert run("worker", "-A", "tasks", KERNEL_ACME_PORT="x").stderr == wrong.format("KERNEL_ACME_PORT", "'x'")
    (project / "kernel.toml").write_text("acme_port = -1\n")
    assert run("worker", "-A", "tasks").stderr == wrong.format("kernel.toml:1", "-1")


@pytest.fixture
def started(project: Path, site: Site) -> Callable[..., tuple[int, list[str]]]:
    """Run a worker until it says that it is ready, stop it warmly, and return its exit code and what it said."""

    def ran(*arguments: str, **environ: str) -> tuple[int, list[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks", "-l", "info", *arguments],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(site.folder), **environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        said: list[str] = []
        with process:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line.rstrip("\n"))
                if line.endswith(" ready\n"):
                    process.send_signal(signal.SIGTERM)
        return process.returncode, said

    return ran


def test_the_banner_says_what_came_from_where_and_a_warm_stop_exits_with_0(
    started: Callable[..., tuple[int, list[str]]],
) -> None:
    code, said = started("-P", "threads", "-n", "w1@here", KERNEL_WORKER_QUEUES="a,b")
    assert code == 0, said
    assert said[0].startswith("w1@here (worker-kernel ")
    banner = dict(line.split(maxsplit=1) for line in said[1:7])
    assert banner["app"] == "proj (tasks:app)"
    assert banner["broker"].startswith("sqlite:///")
    assert banner["broker"].endswith(" (default)")
    assert banner["results"] == "with the broker (default)"
    assert banner["pool"].startswith("threads x ")
    assert banner["pool"].endswith(" (-P; CPUs of the affinity mask)")
    assert banner["loop"] in {"asynloop", "synloop"}
    assert banner["queues"] == "a, b (KERNEL_WORKER_QUEUES)"
    assert any("INFO/MainProcess]" in line for line in said[7:])


def test_what_waits_is_thrown_away_with_purge_and_warnings_follow_the_banner(
    started: Callable[..., tuple[int, list[str]]], run: Run
) -> None:
    for _ in range(3):
        assert run("call", "-A", "tasks", "tasks.add", "--args", "[1, 2]").returncode == 0
    code, said = started("-P", "solo", "--purge", KERNEL_WORKER_CONCURRENCY="8", KERNEL_NEVER="1")
    assert code == 0, said
    assert said[4].split(maxsplit=1) == ["pool", "solo x 1 (-P; solo runs one task at a time)"]
    assert said[7:10] == [
        "warning: no setting has this variable: KERNEL_NEVER",
        "warning: worker_concurrency = 8 (KERNEL_WORKER_CONCURRENCY) is left out: solo runs one task at a time",
        "purge: 3 messages thrown away",
    ]


def test_a_green_pool_that_the_applications_code_names_makes_the_worker_start_again_once_patched(
    run: Run, site: Site, project: Path
) -> None:
    site.module("acme_green", GREEN_PLUGIN)
    site.install("acme-green", {"pools": {"fakegreen": "acme_green"}, "patches": {"fakegreen": "acme_green:patch"}})
    tasks = project / "tasks.py"
    tasks.write_text(tasks.read_text().replace('"proj"', '"proj", worker_pool="fakegreen"'))
    done = run("worker", "-A", "tasks")
    assert done.stdout == "patched\n"
    assert done.stderr.splitlines()[0].endswith(f"UserWarning: {GREEN_WARNING}")
    assert done.stderr.count(GREEN_WARNING) == 1
    assert "fakegreen x " in done.stderr
    assert done.returncode == 3  # there is no such class: what matters here is that it got that far
    assert run("worker", "-A", "tasks", "-P", "fakegreen").stderr.count(GREEN_WARNING) == 0


def test_a_number_of_slots_beside_a_range_is_refused_in_five_lines_at_most(run: Run) -> None:
    done = run("worker", "-A", "tasks", "-P", "threads", "-c", "3", "--autoscale", "4,2")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "error: -c 3 is refused: --autoscale 4,2 says how many slots there are"
    assert lines[1].startswith("  leave it out")
    assert len(lines) <= 5


ALONE = "-gevent,-eventlet,-prefork,-threads"
"""No other pool that waits better than solo."""


def wants_a_green_pool(site: Site, project: Path, workload: str = '"io"') -> None:
    """A green pool, and tasks that ask -P auto for one."""
    source = GREEN_PLUGIN.replace("is_green=True", "is_green=True, io_bound=wk.Fitness.EXCELLENT")
    site.module("acme_green", source.replace('print("patched")', 'print("patched"); import sys; sys.patched = True'))
    site.install("acme-green", {"pools": {"fakegreen": "acme_green"}, "patches": {"fakegreen": "acme_green:patch"}})
    tasks = project / "tasks.py"
    tasks.write_text(tasks.read_text().replace("@app.task", f"import sys\n@app.task(workload={workload})"))


@pytest.mark.parametrize("where", ["command line", "environment", "application"])
def test_a_green_pool_that_the_worker_chooses_makes_it_start_again_once_patched(
    where: str, run: Run, site: Site, project: Path
) -> None:
    wants_a_green_pool(site, project)
    arguments, environ = ["worker", "-A", "tasks"], {"KERNEL_PLUGINS": ALONE}
    if where == "command line":
        arguments += ["-P", "auto"]
    elif where == "environment":
        environ["KERNEL_WORKER_POOL"] = "auto"
    else:
        tasks = project / "tasks.py"
        tasks.write_text(tasks.read_text().replace('"proj"', '"proj", worker_pool="auto"'))
    done = run(*arguments, **environ)
    assert done.stdout == "patched\n"
    assert GREEN_WARNING not in done.stderr, "nobody named it in the wrong place"
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("  pool ")]
    assert line.split(maxsplit=1)[1].startswith("fakegreen x ")
    assert "auto" in line.partition(": every task is declared io; auto: 100 greenlets for each of ")[0]
    assert done.returncode == 3  # there is no such class: what matters here is that it got that far


def test_tasks_that_call_for_another_pool_once_patched_are_told_of(run: Run, site: Site, project: Path) -> None:
    wants_a_green_pool(site, project, workload='"cpu" if hasattr(sys, "patched") else "io"')
    done = run("worker", "-A", "tasks", "-P", "auto", KERNEL_PLUGINS=ALONE)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: -P auto chose fakegreen, and solo once that had patched the standard library",
        "  the tasks seem to depend on the patch: name the pool with -P",
    ]


def test_a_patch_that_raises_ends_the_worker_with_3(run: Run, site: Site) -> None:
    site.module("acme_green", GREEN_PLUGIN.replace('print("patched")', "raise RuntimeError('boom')"))
    site.install("acme-green", {"pools": {"fakegreen": "acme_green"}, "patches": {"fakegreen": "acme_green:patch"}})
    done = run("worker", "-A", "tasks", "-P", "fakegreen")
    assert done.returncode == 3
    assert done.stderr.startswith("error: the patch acme_green:patch of acme-green 1.0 for pool 'fakegreen' raised")
    assert run("list-plugins").returncode == 0
