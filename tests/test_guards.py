"""The guards of conftest.py: each kind of thing that a test could leave behind is caught, by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

TIDY = """
import os, signal, subprocess, sys, threading

def test_tidy():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", ""], check=True)
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGTERM, previous)
"""

THREAD = """
import threading

def test_it():
    threading.Thread(target=threading.Event().wait, name="left-over", daemon=True).start()
"""

CHILD = """
import subprocess, sys

children = []

def test_it():
    children.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
"""

DESCRIPTOR = """
import os

def test_it():
    os.pipe()
"""

HANDLER = """
import signal

def test_it():
    signal.signal(signal.SIGTERM, lambda *_: None)
"""

LEAVES = {
    "thread": (THREAD, "threads: thread 'left-over'"),
    "child": (CHILD, "children: process"),
    "descriptor": (DESCRIPTOR, "descriptors: descriptor"),
    "signal handler": (HANDLER, "signal handlers: SIGTERM"),
}


def run(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text().replace("GRACE = 5.0", "GRACE = 0.2"))
    (folder / "test_it.py").write_text(test)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COVERAGE"))}
    environment["PYTHONPATH"] = str(CONFTEST.parents[1])  # where it imports from
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_tidy_test_passes(tmp_path: Path) -> None:
    result = run(tmp_path, TIDY)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("kind", sorted(LEAVES))
def test_what_a_test_leaves_behind_is_named(tmp_path: Path, kind: str) -> None:
    test, words = LEAVES[kind]
    result = run(tmp_path, test)
    assert result.returncode == 1, result.stdout
    assert "the test leaves behind" in result.stdout
    assert words in result.stdout


def marked(mark: str) -> str:
    return "import pytest\n" + DESCRIPTOR.replace("def test_it", f"@pytest.mark.leaves({mark})\ndef test_it")


def test_a_mark_with_a_reason_allows_it(tmp_path: Path) -> None:
    assert run(tmp_path, marked("'descriptors', reason='to show it'")).returncode == 0


def test_a_mark_without_a_reason_is_an_error(tmp_path: Path) -> None:
    assert run(tmp_path, marked("'descriptors'")).returncode == 1


def test_a_mark_with_an_unknown_kind_is_an_error(tmp_path: Path) -> None:
    assert run(tmp_path, marked("'luggage', reason='to show it'")).returncode == 1
