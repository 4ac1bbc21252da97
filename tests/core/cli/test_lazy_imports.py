"""``--help`` and ``--version`` read metadata: they import neither kombu nor a plugin, and no plugin ends them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..conftest import Site

Run = Callable[..., "subprocess.CompletedProcess[str]"]
HEAVY = ("kombu", "billiard", "gevent", "eventlet", "worker_hub", "worker_loops", "worker_pool_", "worker_broker_")

FATAL = {
    "raises": "raise RuntimeError('boom')",
    "exits": "import sys; sys.exit(0)",
    "ends": "import os; os._exit(0)",
    "hangs": "import threading; threading.Event().wait()",
    "crashes": "import os; os.abort()",
}


def imported(*arguments: str) -> set[str]:
    """The modules that a command line imports, as the interpreter tells it."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worker_kernel", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ,
    )
    rows = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in rows}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list-plugins"], ["list-plugins", "--json"]])
def test_neither_kombu_nor_a_plugin_is_imported(arguments: list[str]) -> None:
    modules = imported(*arguments)
    assert "click" in modules
    assert sorted(name for name in modules if name.startswith(HEAVY)) == []


@pytest.mark.parametrize("arguments", [["settings"], ["pools"], ["worker", "--help"]])
def test_what_loads_plugins_still_needs_no_kombu(arguments: list[str]) -> None:
    modules = imported(*arguments)
    assert any(name.startswith("worker_pool_") for name in modules)
    assert sorted(name for name in modules if name.startswith(("kombu", "billiard", "gevent"))) == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_no_plugin_can_end_help_or_version(arguments: list[str], run: Run, site: Site) -> None:
    for name, source in FATAL.items():
        site.module(f"acme_{name}", source)
        site.install(
            f"acme-{name}", {"plugins": {name: f"acme_{name}"}, "commands": {f"do-{name}": f"acme_{name}:run"}}
        )
    done = run(*arguments)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    if arguments == ["--help"]:
        for name in FATAL:
            assert f"do-{name}" in done.stdout


@pytest.mark.parametrize("how", ["ends", "hangs"])
def test_the_workers_help_is_out_before_a_plugin_can_end_it(how: str, site: Site) -> None:
    site.module("acme_fatal", FATAL[how])
    site.install("acme-fatal", {"plugins": {"fatal": "acme_fatal"}})
    process = subprocess.Popen(
        [sys.executable, "-m", "worker_kernel", "worker", "--help"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site.folder)},
    )
    with process:
        assert process.stdout is not None
        assert any(
            "--concurrency" in line for line in process.stdout
        )  # ends at the line, not at the end of the process
        process.kill()


def test_the_version_is_the_distributions(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").stdout.strip() == f"kernel {version('worker-kernel')}"


def test_a_command_of_a_plugin_is_listed_with_its_summary_and_run_when_called(run: Run, site: Site) -> None:
    site.module("acme_hello", "import click\n@click.command()\ndef run():\n    click.echo('hello')\n")
    site.install("acme-hello", {"commands": {"hello": "acme_hello:run"}})
    assert "  hello  The acme-hello of a test.\n" in run("--help").stdout
    assert run("hello").stdout == "hello\n"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise RuntimeError('boom')\n", "broken: RuntimeError: boom"),
        ("import sys; sys.exit(0)\n", "broken: exits at import with status 0"),
        ("run = 1\n", "broken: acme_hello:run is no click command"),
    ],
)
def test_a_broken_command_is_a_stub_that_says_why(source: str, why: str, run: Run, site: Site) -> None:
    site.module("acme_hello", source)
    site.install("acme-hello", {"commands": {"hello": "acme_hello:run"}})
    for arguments in (["hello"], ["hello", "--whatever", "x"]):
        done = run(*arguments)
        assert done.returncode == 3
        assert done.stderr.startswith(f"error: the command 'hello' of acme-hello 1.0 cannot be used: {why}")
    assert why in run("hello", "--help").stdout


def test_a_disabled_and_an_incompatible_command_say_so_without_an_import(run: Run, site: Site) -> None:
    site.module("acme_hello", "raise SystemExit\n")
    site.install("acme-hello", {"commands": {"hello": "acme_hello:run"}}, requires=("worker-kernel>=99",))
    assert "incompatible" in run("hello").stderr
    assert run("hello").returncode == 3
    done = run("hello", KERNEL_PLUGINS="-hello")
    assert "disabled: by KERNEL_PLUGINS=-hello" in done.stderr
    assert done.returncode == 2


def test_machine_output_is_json_alone_also_beside_a_broken_plugin(run: Run, site: Site) -> None:
    site.module("acme_bad", "raise RuntimeError('boom')\n")
    site.install("acme-bad", {"plugins": {"bad": "acme_bad"}})
    for arguments in (["settings", "--json"], ["pools", "--json"]):
        done = run(*arguments)
        document = json.loads(done.stdout)
        assert document["schema"] == 1
        assert document["kernel"]
        assert "plugin bad (acme-bad 1.0) is not used: broken: RuntimeError: boom" in done.stderr
