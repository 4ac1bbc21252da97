"""Connections to the server, as redis-py makes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import redis
from redis import sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from .address import Address

LOST = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)
"""What says that a connection is gone."""


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

    def call(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands in one go and return their replies, errors of the server among them, unraised.

        Raises:
            redis.ConnectionError: the connection is lost, now or before.
        """
        self._check()
        self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
        replies = []
        for _ in commands:
            try:
                replies.append(self._connection.read_response())
            except redis.exceptions.ResponseError as error:
                replies.append(error)
        return replies

    def tell(self, *command: Any) -> None:
        """Send a command and wait for nothing: its reply is for `drain`.

        Raises:
            redis.ConnectionError: the connection is lost.
        """
        self._check()
        self._connection.send_command(*command, check_health=False)

    def drain(self) -> bool:
        """Read away what has come unasked, without waiting; whether anything had.

        Raises:
            redis.ConnectionError: the connection is lost.
        """
        self._check()
        came = False
        while self._connection.can_read(timeout=0):
            self._connection.read_response()
            came = True
        return came

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

    def _check(self) -> None:
        if self._pid != os.getpid() or self._connection._sock is None:  # noqa: SLF001  # redis-py offers no other way
            raise redis.exceptions.ConnectionError("the connection to Redis is lost")
