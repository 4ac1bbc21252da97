"""Real worker processes against a real broker file, on both loops."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.redis_server import RedisServer
from tests.waiting import missing, wait_for

from worker_kernel import App
from worker_kernel.control.client import ask

READY = " ready"
POOLS = ("solo", "threads", "prefork")
"""The pools that the matrices of this folder go through; a new pool is entered here."""

SHARE = 3
"""Of the variants of a test on Redis or RabbitMQ every third is in the short form, and all are in the long one."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most variants of each test on a real broker to the long form: SQLite has them all.

    The tests of reconnecting choose by themselves, so that each fault stays in.
    """
    variants: dict[str, list[pytest.Item]] = {}
    for item in items:
        on_broker = item.path.parent.name in ("redis", "rabbitmq") and item.path.parents[1].name == "system"
        if on_broker and item.path.name != "test_reconnect.py" and item.get_closest_marker("long") is None:
            variants.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, group in variants.items():
        if len(group) >= SHARE:
            offset = sum(name.encode()) % SHARE
            for number, item in enumerate(group):
                if number % SHARE != offset:
                    item.add_marker(pytest.mark.long)


class WorkerProcess:
    """One ``kernel worker`` in a process of its own."""

    def __init__(self, folder: Path, url: str, args: tuple[str, ...], env: dict[str, str], name: str) -> None:
        self.log_file = folder / f"{name}.log"
        self._log = self.log_file.open("w")
        command = [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks", "-b", url, "-l", "INFO", *args]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=self._log, stderr=subprocess.STDOUT, env={**os.environ, **env}
        )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_ready(self) -> WorkerProcess:
        wait_for(lambda: READY in self.log or self.process.poll() is not None, "the worker to be ready")
        assert self.process.poll() is None, self.log
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the worker did not end within {timeout:.0f} s:\n{self.log}")

    def stop(self, audit: bool = True) -> int:
        """Stop warmly; throughout, each slot must have been either running or free (``audit``)."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        assert not audit or "slot audit" not in self.log, self.log
        return code

    def discard(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


class Site:
    """A folder with a tasks.py, a broker file, and the workers that were started in it."""

    def __init__(self, folder: Path, query: str, broker_url: str | None = None, **settings: str) -> None:
        self.folder = folder
        self.query = query
        self.broker_url = broker_url or f"sqlite:///{folder}/broker.sqlite3"
        self.settings = settings
        self.queue = settings.get("task_default_queue", "celery")
        self.marks = folder / "marks"
        self.workers: list[WorkerProcess] = []
        self.app = App("client", broker_url=self.broker_url, **settings)

    @property
    def url(self) -> str:
        return f"{self.broker_url}{self.query}"

    def write(self, source: str) -> None:
        """Write tasks.py; ``mark(*words)`` in it appends one line to the marks in one write."""
        head = f"""
            import os, sys, time, threading
            from worker_kernel import App, Ignore, Reject, SoftTimeLimitExceeded
            app = App("tasks")
            def mark(*words):
                fd = os.open({str(self.marks)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(fd, (" ".join(map(str, words)) + "\\n").encode())
                os.close(fd)
        """
        (self.folder / "tasks.py").write_text(textwrap.dedent(head) + textwrap.dedent(source))

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.marks.read_text().splitlines()] if self.marks.exists() else []

    def worker(self, *args: str, query: str | None = None, ready: bool = True, **env: str) -> WorkerProcess:
        url = self.url if query is None else self.url.partition("?")[0] + query
        env = {**{f"KERNEL_{name.upper()}": value for name, value in self.settings.items()}, **env}
        worker = WorkerProcess(self.folder, url, args, env, f"worker{len(self.workers)}")
        self.workers.append(worker)
        return worker.wait_ready() if ready else worker

    def queue_size(self, queue: str | None = None) -> int:
        """Messages in the queue, those that are leased not counted; 0 where there is no such queue."""
        queue = queue or self.queue
        with self.app.connection() as connection, contextlib.closing(connection.channel()) as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except connection.channel_errors:
                return 0

    def state(self) -> dict[str, Any]:
        """What the worker with ``--state-file state.json`` says of itself."""
        path = self.folder / "state.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def tell(self, name: str, **arguments: Any) -> Any:
        """Give that worker a command over its socket, see `sockets_of_its_own`; the file may be late with its path."""
        wait_for(lambda: self.state().get("control_socket"), "the state file to name the socket")
        return ask(self.state()["control_socket"], name, arguments, timeout=30)["ok"]

    def kernel(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of ``kernel`` in this folder."""
        return subprocess.run(
            [sys.executable, "-m", "worker_kernel", *arguments],
            cwd=self.folder,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def close(self) -> None:
        for worker in self.workers:
            worker.discard()
        self.app.close()


@pytest.fixture(params=["asynloop", "synloop"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """On each of the two loops."""
    site = Site(tmp_path, "" if request.param == "asynloop" else "?hub=0")
    yield site
    site.close()


@pytest.fixture
def new_site() -> type[Site]:
    """For sites on other brokers."""
    return Site


@pytest.fixture
def plain_site(tmp_path: Path) -> Iterator[Site]:
    """Where the loop does not matter."""
    site = Site(tmp_path, "")
    yield site
    site.close()


@pytest.fixture
def sockets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the workers of a test apart from others on this machine, where a socket's path is short enough."""
    with tempfile.TemporaryDirectory(prefix="wk") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, which runs."""
    if shutil.which("redis-server") is None:
        missing("there is no program redis-server: make services")
    folder = tmp_path / "server"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.kill()
