"""``kernel settings`` shows each value and its source, and no password."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from worker_kernel.core_settings import CORE_SETTINGS

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_every_setting_is_a_record_with_stable_keys(run: Run) -> None:
    document = json.loads(run("settings", "--json").stdout)
    assert set(document) == {"schema", "kernel", "settings"}
    names = [row["name"] for row in document["settings"]]
    assert names == sorted(names)
    assert {setting.name for setting in CORE_SETTINGS} <= set(names)
    for row in document["settings"]:
        assert list(row) == [
            "name",
            "value",
            "default",
            "given",
            "layer",
            "source",
            "kind",
            "unit",
            "options",
            "variable",
            "refused",
            "owner",
            "help",
        ]


def test_what_an_application_prints_does_not_spoil_the_json(run: Run, project: Path) -> None:
    (project / "chatty.py").write_text("print('hello')\nfrom worker_kernel import App\napp = App('chatty')\n")
    done = run("settings", "--json", "-A", "chatty")
    assert json.loads(done.stdout)["schema"] == 1
    assert "hello" in done.stderr


def test_the_source_of_each_value_is_shown(run: Run, project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.kernel]\nworker_grace = inf\n")
    done = run("settings", "--given", KERNEL_WORKER_CONCURRENCY="3", KERNEL_BROKER_URL="redis://u:geheim@h")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [
        ["NAME", "SOURCE", "VALUE"],
        ["broker_url", "KERNEL_BROKER_URL", "redis://u:**@h"],
        ["worker_concurrency", "KERNEL_WORKER_CONCURRENCY", "3", "items"],
        ["worker_grace", "pyproject.toml:2", "inf", "seconds"],
    ]
    assert json.loads(run("settings", "--json").stdout)


def test_what_is_refused_is_counted_not_listed(run: Run) -> None:
    lines = run("settings").stdout.splitlines()
    refused = sum(bool(setting.refused) for setting in CORE_SETTINGS)
    assert lines[-1] == f"and {refused} of Celery's that are refused if asked for; --json tells why"
    assert not any(line.startswith("task_always_eager") for line in lines)


def test_wrong_settings_are_errors_here_too(run: Run) -> None:
    done = run("settings", KERNEL_WORKER_CONCURRENCY="0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: worker_concurrency (KERNEL_WORKER_CONCURRENCY): expected ")
