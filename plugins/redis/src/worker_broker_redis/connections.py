"""Connections to the server, as redis-py makes them."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import redis
from hiredis import Reader, pack_command
from redis import sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .address import Address

LOST = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)
"""What says that a connection is gone."""
_CHUNK = 1 << 16
_NOTHING = object()
_IDLE = 1.0
"""Seconds without a call after which a connection may have been closed by the server, as far as is known."""


def pool(address: Address, *, retry: Any = None, client_name: str | None = None) -> Any:
    """Make a pool of connections; nothing is connected yet. Thread-safe; a forked child gets connections of its own.

    Args:
        address: Where to.
        retry: redis-py's policy; None: an error is raised at once, because a script must not run twice unnoticed.
        client_name: What ``CLIENT LIST`` shows.
    """
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "socket_timeout": address.socket_timeout,
        "client_name": client_name,
        "protocol": 2,  # invalidations come to a subscriber, see `Link`
        "retry": retry or Retry(NoBackoff(), 0),
        **_introduction(),
    }
    if address.path:
        return redis.ConnectionPool(connection_class=redis.UnixDomainSocketConnection, path=address.path, **options)
    options |= {"socket_connect_timeout": address.socket_connect_timeout, "socket_keepalive": True}
    if address.master_name:
        sentinels = sentinel.Sentinel(
            list(address.hosts),
            sentinel_kwargs={
                "password": address.sentinel_password,
                "socket_timeout": address.socket_timeout,
                "socket_connect_timeout": address.socket_connect_timeout,
            },
            **options,
        )
        return sentinels.master_for(address.master_name).connection_pool
    (host, port) = address.hosts[0]
    if address.tls:
        options |= {"connection_class": redis.SSLConnection, **address.tls_options}
    return redis.ConnectionPool(host=host, port=port, health_check_interval=25, **options)


def disconnect(source: Any) -> None:
    """Close the connections of a pool that `pool` made, those to Sentinels among them; the next use connects again."""
    source.disconnect()
    for client in getattr(getattr(source, "sentinel_manager", None), "sentinels", ()):
        client.connection_pool.disconnect()


def _introduction() -> dict[str, Any]:
    """What a connection says of its library; else redis-py looks its own version up for each, in files."""
    introducing = getattr(redis, "DriverInfo", None)  # since 7.1
    return {} if introducing is None else {"driver_info": introducing(lib_version=redis.__version__)}


class Exclusive:
    """One connection of a pool that is used by one owner alone, and is never connected again behind its back."""

    def __init__(self, source: Any) -> None:
        """Take a connection from the pool `source`, and connect it.

        Raises:
            redis.ConnectionError: the server cannot be reached.
        """
        self._pool = source
        self._connection = source.get_connection()
        self._pid = os.getpid()
        self._called = time.monotonic()
        self._reader = Reader(
            protocolError=redis.exceptions.InvalidResponse,
            replyError=self._connection._parser.parse_error,  # noqa: SLF001  # redis-py offers no other way
            notEnoughData=_NOTHING,
        )

    def call(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands in one go and return their replies, errors of the server among them, unraised.

        Raises:
            redis.ConnectionError: the connection is lost, now or before.
        """
        self.send(*commands)
        return self.receive(len(commands))

    def send(self, *commands: tuple[Any, ...]) -> None:
        """Send commands in one go, and wait for nothing: `receive` has to come next. Raises as `call` does."""
        self._check()
        self._called = time.monotonic()
        self._connection.send_packed_command((_packed(commands),), check_health=False)

    def receive(self, number: int) -> list[Any]:
        """Wait for the replies to so many commands that were sent. Raises as `call` does.

        Read here: redis-py makes some thirty calls for two replies.
        """
        self._check()
        replies: list[Any] = []
        try:
            while len(replies) < number:
                reply = self._reader.gets()
                if reply is _NOTHING:
                    self._reader.feed(self._receive())
                else:
                    replies.append(reply)
        except BaseException:  # what is still to come would be taken for the reply to another command
            self._connection.disconnect()
            raise
        for reply in replies:
            if isinstance(reply, redis.exceptions.ConnectionError):
                self._connection.disconnect()
                raise reply
        return replies

    def _receive(self) -> bytes:
        try:
            data: bytes = self._connection._sock.recv(_CHUNK)  # noqa: SLF001  # redis-py offers no other way
        except TimeoutError as error:
            raise redis.exceptions.TimeoutError("the server does not reply") from error
        except OSError as error:
            raise redis.exceptions.ConnectionError(f"the connection to Redis is lost: {error}") from error
        if not data:
            raise redis.exceptions.ConnectionError("the server has closed the connection to Redis")
        return data

    def is_lost(self) -> bool:
        """Whether it is known to be lost; after a while without a call it is looked at for that."""
        if self._pid != os.getpid() or self._connection._sock is None:  # noqa: SLF001  # redis-py offers no other way
            return True
        if time.monotonic() - self._called < _IDLE:
            return False
        try:
            return bool(self._connection.can_read(timeout=0))  # nothing is to come: what does is the end
        except LOST:
            return True

    def tell(self, *command: Any) -> None:
        """Send a command and wait for nothing: its reply is for `drain`.

        Raises:
            redis.ConnectionError: the connection is lost.
        """
        self._check()
        self._connection.send_command(*command, check_health=False)

    def drain(self) -> bool:
        """Read away what has come unasked, without waiting; whether anything had. Nothing can be called afterwards.

        Raises:
            redis.ConnectionError: the connection is lost.
        """
        self._check()
        came = False
        plain: Any = self._connection._sock  # noqa: SLF001  # redis-py offers no other way
        # Read directly, without waiting, unless it is encrypted, patched or blocking: one call of the system's where
        # redis-py makes seven.
        if type(plain) is socket.socket and plain.gettimeout() is not None:
            while (size := self._skip(plain.fileno())) > 0:
                came = True
                if size < _CHUNK:
                    break
            return came
        while self._connection.can_read(timeout=0):
            self._connection.read_response()
            came = True
        return came

    def _skip(self, descriptor: int) -> int:
        """Throw away what has come, and return how much."""
        try:
            size = len(os.read(descriptor, _CHUNK))
        except BlockingIOError:
            return 0
        except OSError as error:
            self._connection.disconnect()
            raise redis.exceptions.ConnectionError(f"the connection to Redis is lost: {error}") from error
        if not size:
            self._connection.disconnect()
            raise redis.exceptions.ConnectionError("the server has closed the connection to Redis")
        return size

    def fileno(self) -> int:
        """The descriptor, to wait for what comes unasked.

        Raises:
            redis.ConnectionError: the connection is lost.
        """
        self._check()
        return int(self._connection._sock.fileno())  # noqa: SLF001  # redis-py offers no other way

    def close(self) -> None:
        """Disconnect. Idempotent; in a forked child the parent's connection stays."""
        self._connection.disconnect()

    def give_back(self) -> None:
        """Disconnect, and let the pool have it for other uses."""
        self._connection.disconnect()
        self._pool.release(self._connection)

    def _check(self) -> None:
        if self._pid != os.getpid() or self._connection._sock is None:  # noqa: SLF001  # redis-py offers no other way
            raise redis.exceptions.ConnectionError("the connection to Redis is lost")


def _packed(commands: Iterable[tuple[Any, ...]]) -> bytes:
    """Return commands as the server reads them. redis-py looks at each argument of each first, in Python.

    Raises:
        redis.DataError: an argument is none that can be sent.
    """
    try:
        return b"".join([pack_command(command) for command in commands])
    except TypeError as error:
        raise redis.exceptions.DataError(str(error)) from error
