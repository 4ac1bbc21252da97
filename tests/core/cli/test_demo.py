"""``kernel demo``: shows the pools at work, and says what went wrong where something did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker_kernel import KernelError, PluginNotFound
from worker_kernel.cli import demo

SLEEPS = "import signal, time; signal.signal(signal.SIGTERM, {handler}); print('ready', flush=True); time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    while "ready" not in log.read_text():
        assert process.poll() is None


def test_it_shows_each_pool_that_is_named() -> None:
    result = CliRunner().invoke(
        demo.command, ["--pools", "solo,threads,prefork", "--tasks", "7"], catch_exceptions=False
    )
    assert result.exit_code == 0
    for pool in ("solo", "threads", "prefork"):
        assert f"kernel worker -A tasks -P {pool} " in result.output
        assert [line.split()[1::2][:2] for line in result.output.splitlines() if f"│ {pool} " in line] == [[pool, "7"]]


def test_it_takes_every_installed_pool_by_default() -> None:
    assert {"solo", "threads", "prefork"} <= set(demo.installed_pools())


def test_a_pool_that_cannot_be_used_is_left_out_and_ends_nothing(importable: Any) -> None:
    importable.pool("acme")
    importable.pool("acme_rival", dist="rival")
    importable.pool("acme_rival", dist="other-rival")
    importable.install("acme-broken", "[worker_kernel.pools]\nthis is no entry point\n")
    pools = demo.installed_pools()
    assert pools == sorted(pools)
    assert {"acme", "solo"} <= set(pools)
    assert "acme_rival" not in pools


def test_without_any_pool_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(PluginNotFound, match="pip install"):
        demo.installed_pools()


def test_the_file_it_gives_to_the_worker_is_an_app(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(demo.TASKS)
    code = "from tasks import app, primes; print(primes.name, primes(30))"
    done = subprocess.run(python(code), cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["tasks.primes", "10"]


def test_a_worker_that_ends_by_itself_is_told_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = python("import sys; print('out of order', flush=True); sys.exit(7)")
    monkeypatch.setattr(demo, "worker_command", lambda pool, url: command)
    with pytest.raises(KernelError, match=r"the worker ended with exit code 7\nout of order"):
        demo.run_pool("solo", 1, tmp_path, patience=60)


def test_a_worker_that_does_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "worker_command", lambda pool, url: python(SLEEPS.format(handler="signal.SIG_DFL")))
    with pytest.raises(KernelError, match=r"no result for 0\.3 s"):
        demo.run_pool("solo", 1, tmp_path, patience=0.3)


@pytest.mark.parametrize(
    ("handler", "words"),
    [("signal.SIG_IGN", r"did not end within 1 s\nready"), ("lambda *_: exit(3)", r"exit code 3 instead of 0\nready")],
)
def test_a_worker_that_does_not_end_well_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: str, words: str
) -> None:
    log = tmp_path / "worker.log"
    monkeypatch.setattr(demo, "worker_command", lambda pool, url: python(SLEEPS.format(handler=handler)))
    monkeypatch.setattr(demo, "STOP_WITHIN", 1.0)
    with pytest.raises(KernelError, match=words), demo.running_worker("solo", "sqlite:///x.db", log) as process:
        until_ready(process, log)
    assert process.poll() is not None


def test_a_wrong_result_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = demo.TASKS.replace("sum(", "1 + sum(")
    assert wrong != demo.TASKS
    (tmp_path / "tasks.py").write_text(wrong)
    with pytest.raises(KernelError, match=r"primes\(100\) came back as 26"):
        demo.run_pool("solo", 1, tmp_path, patience=60)


def test_it_keeps_the_settings_of_the_caller_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERNEL_WORKER_POOL", "nonsense")
    monkeypatch.setenv("KERNEL_BROKER_URL", "sqlite:////nowhere/at/all.db")
    (tmp_path / "tasks.py").write_text(demo.TASKS)
    assert demo.run_pool("threads", 2, tmp_path, patience=60).tasks == 2
