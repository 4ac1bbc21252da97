"""Real workers on a real RabbitMQ, each test on queues of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest


class Rabbit:
    """What a test needs of the broker beside the worker under test."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        with kombu.Connection(self.url) as connection, connection.channel() as channel:
            yield channel

    def declare(self, name: str, **arguments: object) -> None:
        with self.channel() as channel:
            channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments or None)

    def take(self, queue: str) -> Any:
        """Take the first message of a queue, or None."""
        with self.channel() as channel:
            return channel.basic_get(queue, no_ack=True)

    def delete(self, *names: str) -> None:
        for name in names:
            with self.channel() as channel:
                channel.queue_delete(name)


class Proxy:
    """A TCP proxy on the loopback interface that can misbehave."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.silent = threading.Event()
        self._closed = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.heal()

    def heal(self) -> None:
        """Take connections, and pass on what arrives on new ones."""
        self.silent.clear()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self.port = self._listener.getsockname()[1]
            self._start(self._accept, self._listener)

    def cut(self) -> None:
        """Close all connections."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                _end(one)

    def refuse(self) -> None:
        """Close all connections and take no new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _end(listener)
        self.cut()

    def swallow(self) -> None:
        """Let all that is sent vanish, on new connections too, and say nothing: a black hole."""
        self.silent.set()

    def close(self) -> None:
        self.refuse()
        for thread in self._threads:
            thread.join(10)

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self._pairs.append((near, far))
            # What is swallowed once stays lost: a connection that lived through a black hole is of no more use.
            dead = threading.Event()
            self._start(self._pass_on, near, far, dead)
            self._start(self._pass_on, far, near, dead)

    def _pass_on(self, source: socket.socket, target: socket.socket, dead: threading.Event) -> None:
        try:
            while data := source.recv(65536):
                if self.silent.is_set():
                    dead.set()
                if not dead.is_set():
                    target.sendall(data)
        except OSError:
            pass
        if not dead.is_set():
            _end(target)
        _end(source)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@pytest.fixture
def rabbit(rabbitmq_url: str) -> Rabbit:
    return Rabbit(rabbitmq_url, f"wk-test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def proxy(rabbitmq_url: str) -> Iterator[Proxy]:
    proxy = Proxy(5672)
    yield proxy
    proxy.close()


@pytest.fixture
def rabbit_site(rabbit: Rabbit, new_site: type[Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make sites: ``rabbit_site(queue_type="classic", loop="asynloop", **settings)``."""
    sites: list[Any] = []

    def make(queue_type: str = "classic", loop: str = "asynloop", port: int = 5672, **settings: str) -> Any:
        folder = tmp_path / f"site{len(sites)}"
        folder.mkdir()
        query = "" if loop == "asynloop" else "?hub=0"
        site = new_site(
            folder,
            query,
            f"amqp://guest:guest@127.0.0.1:{port}//",
            **{
                "task_default_queue": f"{rabbit.prefix}-{len(sites)}",
                "task_default_queue_type": queue_type,
                "result_backend": f"sqlite:///{folder}/results.sqlite3",
                **settings,
            },
        )
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.close()
        rabbit.delete(site.queue, f"{site.queue}.quarantine")


LONG = pytest.mark.long


@pytest.fixture(
    params=[
        "classic-asynloop",
        "quorum-synloop",
        pytest.param("classic-synloop", marks=LONG),
        pytest.param("quorum-asynloop", marks=LONG),
    ]
)
def site(request: pytest.FixtureRequest, rabbit_site: Callable[..., Any]) -> Any:
    """Each type of queue on each loop; in the short form, each of them once."""
    queue_type, _, loop = request.param.partition("-")
    return rabbit_site(queue_type, loop)
