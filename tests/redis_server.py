"""A redis-server of a test's own."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import redis

HOST = "127.0.0.1"
STARTUP = 30.0
"""Seconds that a server may take to answer, on a loaded machine."""


class RedisServer:
    """A redis-server of a test's own, which can be killed and started again, and loses nothing that it confirmed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.other_port = folder, free_port(), free_port()
        self.socket = folder / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self, *options: str) -> None:
        command = ["redis-server", "--bind", HOST, "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--unixsocket", str(self.socket), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTUP
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            while not answers(client):
                assert time.monotonic() < deadline, "redis-server does not start"
                time.sleep(0.01)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(client: redis.Redis) -> bool:
    """Whether the server speaks, be it only to refuse the login."""
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        return True
    except redis.ConnectionError:
        return False
