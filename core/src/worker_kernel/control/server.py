"""The socket: takes requests from local clients and answers each with one line."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ControlError
from . import protocol

log = logging.getLogger("worker_kernel.control")

Answer = Callable[[str, Mapping[str, Any]], object]
"""Carries out a command, given its name and arguments; raises `ControlError`."""

MOST_CLIENTS = 32
"""Clients that are served at a time; further ones wait to be accepted."""
IDLE = 30.0
"""Seconds after which a client that sends nothing, or takes nothing, is left."""


class ControlServer:
    """Listens in a thread of its own, and serves each client in another: a slow command keeps no other one waiting."""

    def __init__(self, path: Path, node: str, answer: Answer) -> None:
        self.path = path
        self._node = node
        self._answer = answer
        self._listener: socket.socket | None = None
        self._stop, self._stopped = socket.socketpair()
        self._lock = threading.Lock()
        self._clients: dict[threading.Thread, socket.socket] = {}
        self._room = threading.BoundedSemaphore(MOST_CLIENTS)
        self._thread = threading.Thread(target=self._serve, name="worker-control", daemon=True)

    def start(self) -> None:
        """Begin to listen. A socket that a dead worker has left at the same place is replaced.

        Raises:
            OSError: the socket cannot be made; ``EADDRINUSE`` where another worker listens there.
            RuntimeError: the system has no thread left.
        """
        try:
            self._listener = self._listen()
            self._thread.start()
        except (OSError, RuntimeError):
            if self._listener is not None:  # there is no thread to be had
                self.path.unlink(missing_ok=True)
                self._listener.close()
                self._listener = None
            self._stop.close()
            self._stopped.close()
            raise

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_dead(self.path)
            listener.bind(str(self.path))
            self.path.chmod(0o600)  # before anybody can connect: that takes `listen`
            listener.listen(MOST_CLIENTS)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    def stop(self) -> None:
        """Remove the socket, leave the clients, and wait for the threads to end. Idempotent."""
        if self._listener is None:
            return
        self._listener = None
        self.path.unlink(missing_ok=True)
        self._stop.close()  # which makes the other end readable
        self._thread.join()
        with self._lock:
            clients = dict(self._clients)
        for thread, client in clients.items():
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)  # a reply that is under way may still go out
            thread.join(IDLE)

    def _serve(self) -> None:
        listener, stopped = self._listener, self._stopped
        assert listener is not None  # noqa: S101  (the thread is started after it is there)
        with listener, stopped, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(stopped, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if stopped in ready:
                    return
                with contextlib.suppress(OSError):  # the client has left again
                    self._welcome(listener.accept()[0])

    def _welcome(self, client: socket.socket) -> None:
        if not self._room.acquire(blocking=False):
            client.close()
            log.warning("a control client was turned away: %d are being served", MOST_CLIENTS)
            return
        client.settimeout(IDLE)
        thread = threading.Thread(target=self._attend, args=(client,), name="worker-control-client", daemon=True)
        with self._lock:
            self._clients[thread] = client
        thread.start()

    def _attend(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as lines:
                while line := lines.readline(protocol.LONGEST_REQUEST):
                    client.sendall(self._reply(line))
                    if not line.endswith(b"\n"):  # what follows is the rest of a line, if anything
                        client.shutdown(socket.SHUT_WR)
                        _discard(lines)
                        return
        except OSError:  # the client has left, or was idle for too long
            pass
        finally:
            with self._lock:
                self._clients.pop(threading.current_thread(), None)
            self._room.release()

    def _reply(self, line: bytes) -> bytes:
        try:
            return protocol.encode(node=self._node, ok=self._answer(*_read(line)))
        except ControlError as exc:
            return protocol.encode(node=self._node, error={"kind": exc.kind, "message": str(exc)})
        except Exception as exc:
            log.exception("a control request could not be answered")
            return protocol.encode(node=self._node, error={"kind": "failed", "message": f"{type(exc).__name__}: {exc}"})


def _read(line: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        request = protocol.decode(line)
    except ValueError as exc:
        raise ControlError("bad request", f"the request cannot be read: {exc}") from None
    name, arguments = request.get("command"), request.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ControlError("bad request", "a command (text) and arguments (an object) are expected")
    return name, arguments


def _discard(lines: BinaryIO) -> None:
    """Read what a client still sends, within limits: closing a socket with unread bytes would take the reply back."""
    deadline = time.monotonic() + IDLE
    while lines.read(protocol.LONGEST_REQUEST) and time.monotonic() < deadline:
        pass


def _remove_dead(path: Path) -> None:
    """Remove a socket that nobody listens at."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.settimeout(1.0)
        try:
            attempt.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            pass  # `bind` says what is wrong
