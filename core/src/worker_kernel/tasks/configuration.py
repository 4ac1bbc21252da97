"""What an application's settings come to: its broker, its result store, its connections."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Any, cast

from ..errors import PluginBroken, SettingsError, StoreUnknown, UsageError
from ..masking import masked
from ..plugins.loading import Plugins
from ..settings import Settings
from ..suggestions import nearest
from .broker import Address, locate, store_location
from .publishing import Publisher, default_queue
from .replies import ReplyStore
from .results import ResultStore

STORELESS = "disabled"
"""The scheme of ``result_backend`` that says: keep no results."""
REPLIES = "rpc"
"""The scheme of ``result_backend`` that says: send results to who sent the task."""
_AMQP = frozenset({"amqp", "amqps", "pyamqp"})
"""Brokers that tell whether they have taken a message, if they are asked to, and that have types of queues."""
UNANSWERED = 30.0
"""Seconds for which a broker may leave an AMQP connection waiting for an answer, or with what it does not read."""


class Configuration:
    """Settings and plugins of one application, and what follows from them, made when it is first needed.

    Thread-safe.
    """

    def __init__(self, settings: Settings, plugins: Plugins) -> None:
        """Take the settings over. Nothing is looked up, connected or opened."""
        self.settings = settings
        self.plugins = plugins
        self.publisher = Publisher(lambda: self.connection(heartbeat=False), lambda: self.address.info.url, self.queue)
        """What sends messages."""
        self._lock = threading.RLock()
        self._store: ResultStore | None = None
        self._store_known = False

    @functools.cached_property
    def address(self) -> Address:
        """The broker.

        Raises:
            UsageError: the URL names no known transport.
        """
        return locate(self.settings.get_str("broker_url"), self.plugins.transports)

    @functools.cached_property
    def zone(self) -> tzinfo:
        """The zone of times without one.

        Raises:
            SettingsError: it is not known on this machine.
        """
        name = self.settings.get_str("timezone")
        if name is None or name.upper() == "UTC":
            return UTC
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            source = self.settings.source("timezone")
            raise SettingsError([f"timezone ({source}) is {name!r}, which is no zone known here"]) from None

    @functools.cached_property
    def node_name(self) -> str:
        """``worker_hostname`` with ``%h`` replaced."""
        return (self.settings.get_str("worker_hostname") or "kernel@%h").replace("%h", socket.gethostname())

    @functools.cached_property
    def accepted_types(self) -> frozenset[str]:
        """The content types that bodies may have.

        Raises:
            SettingsError: ``accept_content`` names a serializer that kombu does not know.
        """
        from kombu.serialization import prepare_accept_content

        names = cast("tuple[str, ...]", self.settings["accept_content"])
        try:
            return frozenset(prepare_accept_content(names))
        except Exception as exc:
            source = self.settings.source("accept_content")
            raise SettingsError([f"accept_content ({source}) is {', '.join(names)}: {exc}"]) from exc

    @functools.cached_property
    def tracks_started(self) -> bool:
        """Whether STARTED is stored."""
        return self.settings.get_bool("task_track_started")

    @functools.cached_property
    def ignores_results(self) -> bool:
        """Whether results are not stored, where neither the message nor its task says."""
        return self.settings.get_bool("task_ignore_result")

    def queue(self, name: str) -> Any:
        """Return the ``kombu.Queue`` of that name, of the type that the settings say where the broker has types."""
        if self.address.info.driver not in _AMQP:
            return default_queue(name)
        types = cast("Mapping[str, str]", self.settings["task_queue_types"])
        return default_queue(name, types.get(name, self.settings.get_str("task_default_queue_type")))

    def connection(self, *, heartbeat: bool = True) -> Any:
        """Return a new, unconnected ``kombu.Connection``.

        Raises:
            UsageError: the URL, or an option in it, cannot be understood.
            PluginBroken: the transport's plugin cannot be imported.
        """
        import kombu

        address, settings = self.address, self.settings
        options = dict(cast("Mapping[str, Any]", settings["broker_transport_options"]))
        if address.info.driver in _AMQP:
            options.setdefault("confirm_publish", True)  # else a message can be lost without anybody knowing
            options.setdefault("read_timeout", UNANSWERED)  # else a dead peer holds whoever waits for an answer
            options.setdefault("write_timeout", UNANSWERED)
        urls: Any = address.urls[0] if len(address.urls) == 1 else list(address.urls)
        try:
            return kombu.Connection(
                urls,
                connect_timeout=settings.get_float("broker_connection_timeout"),
                heartbeat=(settings.get_float("broker_heartbeat") or 0) if heartbeat else 0,
                transport_options=options,
            )
        except (ImportError, AttributeError) as exc:
            raise PluginBroken(f"the transport of {address.info.url} cannot be imported: {exc}") from exc
        except (ValueError, TypeError) as exc:
            raise UsageError(f"the broker URL {address.info.url} cannot be understood: {exc}") from exc

    def result_store(self) -> ResultStore | None:
        """Return the result store; see `App.result_store`."""
        if not self._store_known:
            with self._lock:
                if not self._store_known:
                    self._store = self._make_store()
                    self._store_known = True
        return self._store

    def close(self) -> None:
        """Close what is open. Idempotent."""
        self.publisher.close()
        if self._store is not None:
            self._store.close()

    def _make_store(self) -> ResultStore | None:
        url = self.settings.get_str("result_backend")
        if url is None:
            url = self.address.store_url
        if url is None:
            return None
        if ";" in url:
            raise StoreUnknown(f"result_backend takes one URL, not several: {masked(url)}")
        scheme, url = store_location(url)
        if scheme == STORELESS:
            return None
        expires = self.settings.get_float("result_expires") or None
        if scheme == REPLIES and REPLIES not in self.plugins.result_stores:
            return ReplyStore(url, expires, publisher=self.publisher, connect=lambda: self.connection(heartbeat=False))
        spec = self.plugins.result_stores.get(scheme)
        if spec is None:
            raise StoreUnknown(_no_store(scheme, [REPLIES, *self.plugins.result_stores]))
        factory = cast("type[ResultStore]", self.plugins.load_object(spec.factory))
        return factory(url, expires=expires)


def _no_store(scheme: str, known: list[str]) -> str:
    close = nearest(scheme, known)
    hint = f"did you mean {close}://?" if close else f"installed: {', '.join(known) or 'none'}"
    return (
        f"there is no result store for {scheme}:// ({hint})\n"
        f"set result_backend (--result-backend) to another, or to {STORELESS}:// to keep no results"
    )
