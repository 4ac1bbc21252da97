"""The command line where nobody listens, where there is no room, and where there is no directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "worker_kernel"]


def run(*arguments: str, cwd: Path, redirection: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command line by way of a shell, which is what closes streams and leaves directories."""
    script = f'cd "$1"; [ -z "$GO" ] || rmdir "$1"; shift; exec "$@" {redirection}'
    env = {**os.environ, "GO": "" if redirection else "gone"}
    command = ["sh", "-c", script, "sh", str(cwd), *COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [("list-plugins",), ("--help",), ("settings", "--json"), ("pools",)])
def test_a_closed_stdout_is_as_good_as_any(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path, redirection=">&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_under_stdout_is_told_as_what_it_is(tmp_path: Path) -> None:
    done = run("list-plugins", cwd=tmp_path, redirection="> /dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: what there is to tell could not be written: No space left on device"


@pytest.mark.parametrize("arguments", [("list-plugins", "--json"), ("--help",), ("--version",), ("settings",)])
def test_what_needs_no_directory_works_in_one_that_is_gone(arguments: tuple[str, ...], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run(*arguments, cwd=gone)
    assert not gone.exists()
    assert done.returncode == 0, done.stderr


def test_an_application_in_a_directory_that_is_gone_is_not_loaded(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run("worker", "-A", "tasks", cwd=gone)
    assert done.returncode == 4
    assert done.stderr.startswith("error: the working directory is gone: ")


@pytest.mark.parametrize(("lasts", "told"), [(600, True), (0.1, False)])
def test_a_thread_that_the_application_leaves_behind_keeps_no_process(lasts: float, told: bool, tmp_path: Path) -> None:
    script = f"import threading, time\nthreading.Thread(target=time.sleep, args=[{lasts}]).start()\n"
    (tmp_path / "left.py").write_text(script)
    done = run("worker", "-A", "left:app", cwd=tmp_path, redirection="< /dev/null")
    error, *rest = done.stderr.splitlines()
    assert done.returncode == 4
    assert error == "error: -A left:app: left has no 'app'"
    assert any(line.startswith("warning: the process ends without threads") for line in rest) is told
