"""The brokers of a run: a redis-server of its own on a free port, a vhost of its own on RabbitMQ, files for SQLite."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import amqp
import redis

HOST = "127.0.0.1"
RABBITMQ = "BENCH_RABBITMQ"  # the environment variable with the URL of a RabbitMQ, less the vhost
PATIENCE = 30.0  # seconds


class Unavailable(Exception):
    """A broker that cannot be had here, and why."""


class Redis:
    """A redis-server that nobody else uses; keeps nothing on disk."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Unavailable("redis-server is not installed")
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self._port = int(probe.getsockname()[1])
        options = ["--bind", HOST, "--port", str(self._port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [program, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(),
            start_new_session=True,
        )
        self.url = f"redis://{HOST}:{self._port}/0"
        self.client = redis.Redis.from_url(self.url)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise Unavailable("redis-server does not start") from None
                time.sleep(0.02)

    @property
    def version(self) -> str:
        return f"Redis {self.client.info('server')['redis_version']}"

    def clear(self) -> None:
        self.client.flushall()

    def close(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait()


class RabbitMQ:
    """A vhost that is made anew before each measurement, by ``rabbitmqctl``."""

    def __init__(self) -> None:
        given = urlsplit(os.environ.get(RABBITMQ, f"amqp://guest:guest@{HOST}:5672"))
        self._user, self._password = given.username or "guest", given.password or "guest"
        self._address = f"{given.hostname}:{given.port or 5672}"
        self._vhost = f"bench-{os.getpid()}"
        self._number = 0
        if shutil.which("rabbitmqctl") is None:
            raise Unavailable("rabbitmqctl is not installed: it makes the vhost that a measurement has to itself")
        self.version = "RabbitMQ " + self._server_version()
        self._ctl("add_vhost", self._name())
        self._allow()

    def _name(self) -> str:
        return f"{self._vhost}-{self._number}"

    def _allow(self) -> None:
        self._ctl("set_permissions", "-p", self._name(), self._user, ".*", ".*", ".*")

    @property
    def url(self) -> str:
        return f"amqp://{self._user}:{self._password}@{self._address}/{self._name()}"

    def _server_version(self) -> str:
        try:
            with amqp.Connection(self._address, userid=self._user, password=self._password) as connection:
                return str(connection.server_properties["version"])
        except (OSError, amqp.AMQPError) as error:
            raise Unavailable(f"no RabbitMQ at {self._address}: {error}") from error

    def _ctl(self, *arguments: str) -> None:
        command = ["rabbitmqctl", "--quiet", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise Unavailable(f"rabbitmqctl {arguments[0]}: {(done.stderr or done.stdout).strip()[:200]}")

    def clear(self) -> None:
        self._ctl("delete_vhost", self._name())
        self._number += 1
        self._ctl("add_vhost", self._name())
        self._allow()

    def close(self) -> None:
        self._ctl("delete_vhost", self._name())


class Sqlite:
    """A file in a folder that is made anew before each measurement."""

    version = "SQLite"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bench-sqlite-"))

    @property
    def url(self) -> str:
        return f"sqlite:///{self._folder}/bench.sqlite3"

    def clear(self) -> None:
        self.close()
        self._folder.mkdir()

    def close(self) -> None:
        shutil.rmtree(self._folder)


Server = Redis | RabbitMQ | Sqlite
KINDS: dict[str, type[Redis | RabbitMQ | Sqlite]] = {
    "redis": Redis,
    "rabbitmq": RabbitMQ,
    "sqlite": Sqlite,
}


class Servers:
    """The brokers that a run has asked for so far; each is started once, and `close` ends them all."""

    def __init__(self) -> None:
        self._running: dict[str, Server] = {}
        self._refused: dict[str, str] = {}

    def get(self, kind: str) -> Server:
        """The server of this kind, empty.

        Raises:
            Unavailable: It cannot be had, with the reason; asked again, it is not tried again.
        """
        if kind in self._refused:
            raise Unavailable(self._refused[kind])
        if kind not in self._running:
            try:
                self._running[kind] = KINDS[kind]()
            except Unavailable as error:
                self._refused[kind] = str(error)
                raise
        self._running[kind].clear()
        return self._running[kind]

    def versions(self) -> list[str]:
        return [server.version for server in self._running.values()]

    def close(self) -> None:
        for server in self._running.values():
            server.close()
