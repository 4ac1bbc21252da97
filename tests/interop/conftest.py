"""Real brokers with queues of the tests' own, workers of ours and of Celery's, and clients of both."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import amqp
import celery
import kombu
import pytest
import redis
from tests.waiting import missing, wait_for

from worker_kernel import App

AMQP = os.environ.get("WK_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS = os.environ.get("WK_TEST_REDIS_URL", "redis://127.0.0.1:6379")
DATABASE = 5 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
"""Each process of a parallel run has its own."""
READY = " ready"


class Process:
    """A worker in a process of its own."""

    def __init__(self, folder: Path, name: str, command: list[str], ready: str) -> None:
        self.log_file = folder / f"{name}.log"
        self._ready = ready
        self._log = self.log_file.open("w")
        # Not traced: on CPython 3.11 a traced process stalls while an exception waits for a blocked thread, and one
        # worker serves many tests here, those of limits among them.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=self._log, stderr=subprocess.STDOUT, env=environment
        )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_ready(self) -> Process:
        wait_for(lambda: self._ready in self.log or self.process.poll() is not None, "the worker to be ready", 60)
        assert self.process.poll() is None, self.log
        return self

    def wait(self, timeout: float = 30.0) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the worker did not end within {timeout:.0f} s:\n{self.log}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def discard(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


class Place:
    """A folder with tasks, a broker with a queue of its own, and whoever works there."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.queue = f"wk-test-{uuid.uuid4().hex[:12]}"
        self.marks = folder / "marks"
        self.processes: list[Process] = []
        self.results = f"{REDIS}/{DATABASE}"
        self.url = {"sqlite": f"sqlite:///{folder}/broker.sqlite3", "redis": self.results, "amqp": AMQP}[kind]
        self._check()
        if kind == "sqlite":
            self.results = self.url
        self.app = App("client", broker_url=self.url, result_backend=self.results, task_default_queue=self.queue)
        self._celery: Any = None

    def _check(self) -> None:
        if self.kind != "sqlite":
            server = redis.Redis.from_url(self.results)
            try:
                server.flushdb()
            except redis.ConnectionError as error:
                missing(f"there is no Redis at {REDIS} ({error})")
            finally:
                server.close()
        if self.kind == "amqp":
            try:
                kombu.Connection(AMQP).ensure_connection(max_retries=1).release()
            except (OSError, kombu.exceptions.OperationalError) as error:
                missing(f"there is no RabbitMQ at {AMQP} ({error})")

    @property
    def celery(self) -> Any:
        """A Celery application as its users make it."""
        if self._celery is None:
            self._celery = celery.Celery("client", broker=self.url, backend=self.results, set_as_current=False)
            self._celery.conf.task_default_queue = self.queue
            self._celery.conf.result_extended = True
        return self._celery

    def write(self, source: str) -> None:
        """Write tasks.py; ``mark(*words)`` in it appends one line to the marks in one write."""
        head = f"""
            import os, sys, time, signal
            from worker_kernel import App, Ignore, Reject, Retry, SoftTimeLimitExceeded
            app = App("tasks", task_default_queue={self.queue!r})
            def mark(*words):
                fd = os.open({str(self.marks)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(fd, (" ".join(map(str, words)) + "\\n").encode())
                os.close(fd)
        """
        (self.folder / "tasks.py").write_text(textwrap.dedent(head) + textwrap.dedent(source))

    def write_celery(self, source: str) -> None:
        """Write celerytasks.py, for a worker of Celery's."""
        head = f"""
            import time
            from celery import Celery
            app = Celery("tasks", broker={self.url!r}, backend={self.results!r})
            app.conf.task_default_queue = {self.queue!r}
        """
        (self.folder / "celerytasks.py").write_text(textwrap.dedent(head) + textwrap.dedent(source))

    def lines(self) -> list[str]:
        return self.marks.read_text().splitlines() if self.marks.exists() else []

    def worker(self, *args: str, query: str = "", ready: bool = True) -> Process:
        """Start a worker of ours."""
        command = [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks", "-b", self.url + query]
        given = [*command, "--result-backend", self.results, "-Q", self.queue, "-l", "INFO", *args]
        return self._started("ours", given, READY, ready)

    def celery_worker(self, *args: str) -> Process:
        """Start a worker of Celery's."""
        command = [sys.executable, "-m", "celery", "-A", "celerytasks", "worker", "-P", "solo", "-l", "INFO"]
        command += ["-n", f"{uuid.uuid4().hex}@%h"]  # two of one name lock each other out
        return self._started("celerys", [*command, "--without-gossip", "--without-mingle", *args], READY, True)

    def _started(self, name: str, command: list[str], sign: str, ready: bool) -> Process:
        process = Process(self.folder, f"{name}{len(self.processes)}", command, sign)
        self.processes.append(process)
        return process.wait_ready() if ready else process

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        with self.app.connection() as connection, contextlib.closing(connection.channel()) as channel:
            yield channel

    def publish(self, body: bytes | str, **message: Any) -> None:
        """Send a message as nobody's client would."""
        with self.channel() as channel:
            queue = kombu.Queue(self.queue, exchange=kombu.Exchange(""), routing_key=self.queue, durable=True)
            with kombu.Producer(channel, auto_declare=False) as producer:
                producer.publish(body, routing_key=self.queue, declare=[queue], **message)

    def depth(self, queue: str = "") -> int:
        """Messages in a queue, those in somebody's hands not counted."""
        with self.channel() as channel:
            try:
                return int(channel.queue_declare(queue or self.queue, passive=True).message_count)
            except (
                amqp.exceptions.NotFound,
                kombu.exceptions.OperationalError,
                *channel.connection.client.channel_errors,
            ):
                return 0

    def quarantined(self) -> int:
        return self.depth(f"{self.queue}.quarantine")

    def take_quarantined(self) -> Any:
        """Take one message out of the quarantine."""
        with self.channel() as channel:
            message = channel.basic_get(f"{self.queue}.quarantine")
            assert message is not None, "the quarantine is empty"
            channel.basic_ack(message.delivery_tag)
            return message

    def close(self) -> None:
        for process in self.processes:
            process.discard()
        if self.kind == "amqp":
            for name in (self.queue, f"{self.queue}.quarantine"):
                with self.channel() as channel:
                    channel.queue_delete(name)
        if self.kind != "sqlite":
            server = redis.Redis.from_url(f"{REDIS}/{DATABASE}")
            server.flushdb()
            server.close()
        self.app.close()
        if self._celery is not None:
            if self.kind != "sqlite":
                self._celery.backend.result_consumer.stop()
                self._celery.backend.client.connection_pool.disconnect()
            self._celery.close()
            self._celery = None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # what Celery and redis-py leave open
                gc.collect()


@contextlib.contextmanager
def place_of(kind: str, folder: Path) -> Iterator[Place]:
    place = Place(kind, folder)
    try:
        yield place
    finally:
        place.close()


@pytest.fixture(params=["sqlite", "redis", "amqp"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """On each broker."""
    with place_of(request.param, tmp_path) as place:
        yield place


@pytest.fixture(params=["redis", "amqp"])
def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """On each broker that Celery has too."""
    with place_of(request.param, tmp_path) as place:
        yield place


@pytest.fixture(scope="module", params=["redis", "amqp"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The same with a worker of ours that runs the module's TASKS, one for all tests of the module."""
    with place_of(request.param, tmp_path_factory.mktemp("served")) as place:
        place.write(request.module.TASKS)
        place.worker("-P", "threads", "-c", "4")
        yield place
