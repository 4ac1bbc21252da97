"""A probe judges by the state file, quickly, and imports next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker_kernel.probe import STALE, judge, main

NOW = 1000.0
WELL: dict[str, Any] = {"schema": 1, "state": "running", "ready": True, "loop_tick": NOW - 5, "reason": ""}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.mark.parametrize(
    ("changes", "live", "ready"),
    [
        ({}, "", ""),
        ({"ready": False, "reason": "broker down"}, "", "takes no messages: broker down"),
        ({"state": "draining", "ready": False}, "", "is draining"),
        ({"loop_tick": NOW - STALE - 1}, "not turned for 16 s", "not turned for 16 s"),
        ({"loop_tick": NOW + 3600}, "", ""),
        ({"loop_tick": None}, "not begun to turn", "not begun to turn"),
        ({"state": "dead", "reason": "SIGTERM"}, "has ended: SIGTERM", "has ended: SIGTERM"),
        ({"schema": 2}, "no state file", "no state file"),
    ],
)
def test_live_is_a_loop_that_turns_and_ready_one_that_consumes(
    path: Path, changes: dict[str, Any], live: str, ready: str
) -> None:
    path.write_text(json.dumps({**WELL, **changes}))
    for why_not, expected in (
        (judge(str(path), live=True, ready=False, now=NOW), live),
        (judge(str(path), live=False, ready=True, now=NOW), ready),
    ):
        assert (expected in why_not) if expected else why_not == ""


@pytest.mark.parametrize("content", [None, "", "nonsense", "[]", "3"])
def test_a_file_that_is_not_there_or_makes_no_sense_is_a_no(path: Path, content: str | None) -> None:
    if content is not None:
        path.write_text(content)
    assert judge(str(path), live=True, ready=False, now=NOW)


def test_the_exit_code_and_one_line_say_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main([]) == main([str(path), "--alive"]) == 2


def test_neither_click_nor_kombu_nor_a_plugin_is_imported(path: Path) -> None:
    path.write_text(json.dumps(WELL))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worker_kernel", "probe", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1  # it is long since the loop turned
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "worker_kernel" in modules
    assert modules.isdisjoint({"click", "kombu", "attrs", "attr", "pluggy", "packaging", "worker_loops"})
