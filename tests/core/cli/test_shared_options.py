"""``-A``, ``-b`` and ``--result-backend`` are taken before and after the command, and the later one holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from worker_kernel.cli.invocation import spelling_used

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def sources(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[object, str]]:
    """What ``kernel settings --json --given`` says: value and source by name."""
    assert done.returncode == 0, done.stderr
    return {row["name"]: (row["value"], row["source"]) for row in json.loads(done.stdout)["settings"]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-A", "tasks", "-b", "memory://x", "settings", "--json", "--given"],
        ["settings", "-A", "tasks", "-b", "memory://x", "--json", "--given"],
        ["-b", "memory://y", "-A", "never", "settings", "-b", "memory://x", "--json", "--given", "-A", "tasks"],
    ],
)
def test_before_and_after_the_command(arguments: list[str], run: Run, project: Path) -> None:
    tasks = project / "tasks.py"
    tasks.write_text(tasks.read_text().replace('"proj"', '"proj", worker_grace=7'))
    assert sources(run(*arguments)) == {"broker_url": ("memory://x", "-b"), "worker_grace": (7.0, "App('proj')")}


def test_the_spelling_that_was_used_is_told(run: Run) -> None:
    done = run("settings", "--json", "--given", "--broker=memory://", "--result-backend", "redis://u:geheim@h")
    assert sources(done) == {
        "broker_url": ("memory://", "--broker"),
        "result_backend": ("redis://u:**@h", "--result-backend"),
    }


def test_the_application_may_stand_in_the_environment(run: Run, project: Path) -> None:
    tasks = project / "tasks.py"
    tasks.write_text(tasks.read_text().replace('"proj"', '"proj", worker_grace=7'))
    assert "worker_grace" in sources(run("settings", "--json", "--given", KERNEL_APP="tasks"))
    done = run("-A", "tasks", "settings", "--json", "--given", KERNEL_APP="never")
    assert "worker_grace" in sources(done)


def test_a_command_that_declares_such_an_option_itself_gets_what_was_said_before(run: Run) -> None:
    before = run("-A", "tasks", "--safe-mode", "graph")
    after = run("graph", "-A", "tasks", "--safe-mode")
    assert before.returncode == after.returncode == 0, before.stderr
    assert before.stdout == after.stdout != ""


@pytest.mark.parametrize(
    ("arguments", "spelling"),
    [
        (["worker", "-c", "3"], "-c"),
        (["worker", "-c3"], "-c"),
        (["worker", "--concurrency=3"], "--concurrency"),
        (["worker", "-c", "3", "--concurrency", "4"], "--concurrency"),
        (["worker", "--", "-c"], "--concurrency"),
        (["worker", "--conc"], "--concurrency"),
    ],
)
def test_the_spelling_is_found_among_the_arguments(arguments: list[str], spelling: str) -> None:
    assert spelling_used(arguments, ("-c", "--concurrency")) == spelling
