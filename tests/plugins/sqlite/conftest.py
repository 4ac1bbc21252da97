from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest
from kombu.transport import TRANSPORT_ALIASES

from worker_broker_sqlite.database import Database
from worker_broker_sqlite.queues import Queues

Connect = Callable[..., Any]
Spawn = Callable[..., "Child"]


class FakeClock:
    """The wall clock, moved by the test."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


class Child:
    """A process that runs child.py."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("child.py")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> dict[str, Any]:
        """The next thing it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        heard: dict[str, Any] = json.loads(line)
        return heard

    def tell(self, order: str) -> None:
        """Give it a line on its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def finish(self) -> str:
        """Wait for its end; what it wrote on its standard error."""
        _, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors
        return errors

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def database(path: str) -> Iterator[Database]:
    database = Database(path)
    yield database
    database.close()


@pytest.fixture
def queues(database: Database, clock: FakeClock) -> Queues:
    return Queues(database, lease=30.0, now=clock)


@pytest.fixture(autouse=True)
def alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSPORT_ALIASES, "wk-sqlite", "worker_broker_sqlite.transport:Transport")


@pytest.fixture
def url(path: str) -> str:
    return f"wk-sqlite:///{path}"


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    opened: list[Any] = []

    def connect(query: str = "", **options: Any) -> Any:
        connection = kombu.Connection(url + query, **options)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.release()


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    children: list[Child] = []

    def spawn(*arguments: str) -> Child:
        children.append(Child(*arguments))
        return children[-1]

    yield spawn
    for child in children:
        child.end()


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    threads = set(threading.enumerate())
    descriptors = _descriptors()
    yield
    assert set(threading.enumerate()) <= threads
    if not _descriptors() <= descriptors:
        pytest.fail(f"leaked descriptors: {_descriptors() - descriptors}")


def _descriptors() -> set[str]:
    found = Path("/proc/self/fd")
    if not found.exists():
        return set()
    links = set()
    for entry in found.iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if "jobs.db" in target:
            links.add(f"{entry.name} {target}")
    return links
