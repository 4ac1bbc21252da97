"""A connection that misbehaves, for tests of workers that lose theirs."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


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
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # what is behind us is down, so this is what the one before us is to see
                _end(near)
                continue
            self._pairs.append((near, far))
            # What is swallowed once stays lost: a connection that lived through a black hole is of no more use.
            dead = threading.Event()
            self._start(self._pass_on, near, far, dead, bytes)
            self._start(self._pass_on, far, near, dead, self.sieve())

    def sieve(self) -> Callable[[bytes], bytes]:
        """What lets through, of all that the server sends on a new connection, what the client is to see: all of it."""
        return bytes

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        dead: threading.Event,
        sieve: Callable[[bytes], bytes],
    ) -> None:
        try:
            while data := source.recv(65536):
                if self.silent.is_set():
                    dead.set()
                if not dead.is_set():
                    target.sendall(sieve(data))
        except OSError:
            pass
        if not dead.is_set():
            _end(target)
        _end(source)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
