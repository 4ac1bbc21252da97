"""A real Redis at 127.0.0.1:6379, in a database of the tests' own, which is emptied before and after each test."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import kombu
import pytest
import redis
from kombu.transport import TRANSPORT_ALIASES
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.redis_server import RedisServer

HOST = "127.0.0.1"
PORT = 6379


def wait_for(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Look at the thing itself until it is so; the limit is for a loaded machine."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:.0f} s in vain for: {what}")
        time.sleep(0.01)


def missing(what: str) -> NoReturn:
    """Skip a test, or fail it where its server was promised."""
    if os.environ.get("WK_TEST_REQUIRE_SERVICES") == "1":
        pytest.fail(f"needs {what}, which was promised (WK_TEST_REQUIRE_SERVICES=1)")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def number() -> int:
    """The database; each process of a parallel run has its own."""
    return 11 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4


@pytest.fixture
def server(number: int) -> Iterator[Any]:
    """A client of the database."""
    client = redis.Redis(host=HOST, port=PORT, db=number, retry=Retry(NoBackoff(), 0))
    try:
        client.ping()
    except redis.ConnectionError as error:
        client.close()
        missing(f"Redis at {HOST}:{PORT} ({error})")
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


@pytest.fixture(autouse=True)
def alias(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("redis", "rediss", "sentinel"):
        monkeypatch.setitem(TRANSPORT_ALIASES, f"wk-{scheme}", "worker_broker_redis.transport:Transport")


@pytest.fixture
def plain(server: Any, number: int) -> str:
    """The URL as users write it, and as kombu's own transport takes it."""
    return f"redis://{HOST}:{PORT}/{number}"


@pytest.fixture
def url(plain: str) -> str:
    """The same for our transport."""
    return f"wk-{plain}"


@pytest.fixture
def connect(url: str) -> Iterator[Callable[..., Any]]:
    """Connections on our transport."""
    opened: list[Any] = []

    def connect(query: str = "", **options: Any) -> Any:
        connection = kombu.Connection(url + query, transport_options=options)
        opened.append(connection)
        connection.connect()
        return connection

    yield connect
    for connection in opened:
        connection.release()


@pytest.fixture
def kombus(plain: str) -> Iterator[Callable[..., Any]]:
    """Connections on kombu's own transport."""
    opened: list[Any] = []

    def connect(**options: Any) -> Any:
        connection = kombu.Connection(plain, transport_options=options)
        opened.append(connection)
        connection.connect()
        return connection

    yield connect
    while opened:
        opened.pop().release()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what kombu and redis-py leave open now and then
        gc.collect()


class Receiver:
    """A connection with one consumer that keeps what it gets."""

    def __init__(self, connection: Any, *queues: str, prefetch: int = 0, no_ack: bool = False) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.messages: list[Any] = []
        self.consumer = kombu.Consumer(
            self.channel,
            [kombu.Queue(name) for name in queues or ("q",)],
            on_message=self.messages.append,
            prefetch_count=prefetch,
            no_ack=no_ack,
        )
        self.consumer.consume()

    def drain(self, timeout: float = 0.0) -> list[Any]:
        """What comes within the timeout."""
        got = len(self.messages)
        with contextlib.suppress(TimeoutError):
            self.connection.drain_events(timeout=timeout)
        return [message.payload for message in self.messages[got:]]


@pytest.fixture
def receive() -> type[Receiver]:
    return Receiver


@pytest.fixture
def send() -> Callable[..., None]:
    def send(connection: Any, *bodies: Any, queue: str = "q", **options: Any) -> None:
        producer = connection.Producer()
        for body in bodies:
            producer.publish(body, routing_key=queue, **options)

    return send


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server, not started yet."""
    if shutil.which("redis-server") is None:
        missing("the program redis-server")
    folder = tmp_path / "server"
    folder.mkdir()
    server = RedisServer(folder)
    yield server
    server.kill()


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_for


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
def spawn() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def spawn(*arguments: str) -> Child:
        children.append(Child(*arguments))
        return children[-1]

    yield spawn
    for child in children:
        child.end()


class Program:
    """A worker, ours or Celery's, in a process of its own, with its log."""

    def __init__(self, folder: Path, name: str, command: list[str]) -> None:
        self.log_file = folder / f"{name}.log"
        self._log = self.log_file.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, stdout=self._log, stderr=subprocess.STDOUT
        )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_ready(self) -> Program:
        wait_for(lambda: " ready" in self.log or self.process.poll() is not None, "the worker to be ready")
        assert self.process.poll() is None, self.log
        return self

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self._log.close()


class Site:
    """A folder with tasks, and the workers that were started in it."""

    def __init__(self, folder: Path, url: str) -> None:
        from worker_kernel import App

        self.folder, self.url = folder, url
        self.marks = folder / "marks"
        self.programs: list[Program] = []
        self.app = App("client", broker_url=url)

    def write(self, source: str) -> None:
        """Write our tasks.py; ``mark(*words)`` in it appends one line to the marks."""
        head = f"""
            import os, time
            from worker_kernel import App
            app = App("tasks")
            def mark(*words):
                fd = os.open({str(self.marks)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(fd, (" ".join(map(str, words)) + "\\n").encode())
                os.close(fd)
        """
        (self.folder / "tasks.py").write_text(textwrap.dedent(head) + textwrap.dedent(source))

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.marks.read_text().splitlines()] if self.marks.exists() else []

    def worker(self, *args: str, query: str = "") -> Program:
        """Start one of ours."""
        command = ["worker_kernel", "worker", "-A", "tasks", "-b", self.url + query, "-l", "INFO", *args]
        return self._start("kernel", command)

    def celery(self, source: str) -> Program:
        """Start one of Celery's, with tasks of its own."""
        head = f"""
            import os, time
            from celery import Celery
            app = Celery("tasks", broker={self.url!r}, backend={self.url!r})
            app.conf.task_acks_late = True
            app.conf.worker_prefetch_multiplier = 1
            app.conf.broker_transport_options = dict(
                visibility_timeout=2, unacked_restore_interval=0.5, unacked_restore_throttle=1
            )
            def mark(*words):
                with open({str(self.marks)!r}, "a") as file:
                    file.write(" ".join(map(str, words)) + "\\n")
        """
        (self.folder / "theirs.py").write_text(textwrap.dedent(head) + textwrap.dedent(source))
        command = ["celery", "-A", "theirs", "worker", "-P", "solo", "-l", "INFO"]
        return self._start("celery", [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"])

    def _start(self, name: str, command: list[str]) -> Program:
        program = Program(self.folder, f"{name}{len(self.programs)}", command)
        self.programs.append(program)
        return program

    def close(self) -> None:
        for program in self.programs:
            program.close()
        self.app.close()


@pytest.fixture
def site(tmp_path: Path, plain: str) -> Iterator[Site]:
    site = Site(tmp_path, plain)
    yield site
    site.close()
