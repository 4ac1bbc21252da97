"""The Makefile: every verb is explained, and a machine that cannot serve is told so in a few lines."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD = '#!/bin/sh\nif [ "$1" = -V ]; then echo Python 3.8.1; else exit 1; fi\n'
NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # What make and pip of whoever runs the tests were told is not for the make under test.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PIP_"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False, timeout=100
    )


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_make_alone_explains_each_verb() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    explained = re.findall(r"^make (\S+) ", make().stdout, re.MULTILINE)
    assert explained == [verb for verb in phony[1].split() if verb != "help"]


@pytest.mark.parametrize("verb", ["demo", "demo-io", "test", "check", "docs"])
def test_a_python_that_is_too_old_is_told(tmp_path: Path, verb: str) -> None:
    old = script(tmp_path / "python-old", OLD)
    result = make(f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", verb)
    assert result.returncode == 2
    assert "needs Python 3.11 or newer" in result.stderr
    assert "is Python 3.8.1" in result.stderr
    assert f"make PYTHON=python3.12 {verb}" in result.stderr
    assert len((result.stdout + result.stderr).splitlines()) <= 5
    assert not (tmp_path / "venv").exists()


def test_a_package_index_out_of_reach_is_told(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    result = make(f"PYTHON={sys.executable}", f"VENV={venv}", "demo", **NO_INDEX, PIP_FIND_LINKS="")
    assert result.returncode == 2
    assert "No package index within reach" in result.stderr
    assert not (venv / "ready-run").exists()


def test_what_is_set_up_is_not_set_up_again(tmp_path: Path) -> None:
    stamps = [tmp_path / "ready-run", tmp_path / "ready-dev"]
    for stamp in stamps:
        stamp.touch()
    planned = make("-n", f"VENV={tmp_path}", "check").stdout
    assert "setting up" not in planned
    os.utime(stamps[0], (0, 0))
    assert "setting up" in make("-n", f"VENV={tmp_path}", "check").stdout
