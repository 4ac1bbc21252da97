"""The README: its commands run as they are written, and its tables and outputs are the real ones."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def make_commands(text: str) -> list[str]:
    return re.findall(r"^make (\S+)$", text, re.MULTILINE)


def test_its_commands_run_as_written(read_through: Callable[[Path], int]) -> None:
    assert read_through(README) >= 3


def test_its_first_lines_say_what_it_is() -> None:
    head = README.read_text(encoding="utf-8").partition("\n## ")[0]
    assert 3 <= len([line for line in head.splitlines() if line.strip()]) <= 11


def test_its_tasks_fit_in_eight_lines(blocks: Callable[[Path], list[Any]]) -> None:
    (tasks,) = (block for block in blocks(README) if block.argument == "tasks.py")
    assert len(tasks.content.splitlines()) <= 8


def test_the_verbs_it_gives_are_there() -> None:
    given = make_commands(README.read_text(encoding="utf-8"))
    assert {"demo", "test", "check"} <= set(given)
    for verb in given:
        planned = subprocess.run(["make", "-n", verb], cwd=ROOT, capture_output=True, text=True, check=False)
        assert planned.returncode == 0, planned.stderr


def test_what_runs_on_each_change_is_what_it_gives() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert make_commands(script) == ["services", "check", "test"]
    assert set(make_commands(script)) <= set(make_commands(README.read_text(encoding="utf-8")))


def test_it_names_every_distribution_and_supported_python() -> None:
    text = README.read_text(encoding="utf-8")
    for path in [ROOT / "core" / "pyproject.toml", *(ROOT / "plugins").glob("**/pyproject.toml")]:
        project = tomllib.loads(path.read_text())["project"]
        assert f"`{project['name']}`" in text
    versions = [re.escape(line) for line in ("3.11", "3.13")]
    assert re.search(" to ".join(versions), text)
