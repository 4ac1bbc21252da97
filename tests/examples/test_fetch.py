"""The demo of I/O: every page is checked on each pool, and the table tells what it took."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "fetch" / "demo.py"


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


def test_every_page_is_fetched_on_each_pool_and_the_server_counts_as_many() -> None:
    pools = [name for name in ("gevent", "eventlet") if importlib.util.find_spec(name) is not None]
    done = demo("--requests", "60", "--delay", "0.05", "--pools", ",".join([*pools, "threads"]))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^│ (\w+) +│ +\d+ │ +[\d.]+ │ +(\d+) │", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == [*pools, "threads"]
    assert all(int(rate) > 0 for _, rate in rows)
    assert "every page was right" in done.stdout


@pytest.mark.long
def test_a_thousand_greenlets_fetch_six_times_as_fast_as_twenty_processes() -> None:
    pytest.importorskip("gevent")
    done = demo("--pools", "gevent,prefork")
    rates = dict(re.findall(r"^│ (\w+) +│ +\d+ │ +[\d.]+ │ +(\d+) │", done.stdout, re.MULTILINE))
    assert int(rates["gevent"]) >= 6 * int(rates["prefork"]), done.stdout
