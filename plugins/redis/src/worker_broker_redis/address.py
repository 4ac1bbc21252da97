"""Where Redis is and how it is used: what a URL says."""

from __future__ import annotations

import difflib
import logging
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

import attrs

from worker_kernel import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger("worker_broker_redis")

DEFAULT_LEASE = 30.0
DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
DEFAULT_TIMEOUT = 10.0
TLS_OPTIONS = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
NUMBERS = {"lease": DEFAULT_LEASE, "socket_timeout": DEFAULT_TIMEOUT, "socket_connect_timeout": DEFAULT_TIMEOUT}
OPTIONS = (*NUMBERS, "master_name", "sentinel_password", "virtual_host", *TLS_OPTIONS)
CHANNEL_OPTIONS = (
    *("ack_emulation", "body_encoding", "client_name", "deadletter_queue", "fanout_patterns", "fanout_prefix"),
    *("global_keyprefix", "priority_steps", "queue_order_strategy", "sep", "unacked_index_key", "unacked_key"),
    "visibility_timeout",
)
"""What else ``broker_transport_options`` may name: kombu's, with kombu's meaning."""
CONNECTION_OPTIONS = (
    *("callback", "connect_retries_timeout", "errback", "interval_max", "interval_start", "interval_step"),
    "max_retries",
)
"""What ``kombu.Connection`` itself reads from there."""
FOREIGN = ("hub",)
"""Options in the URL that the kernel reads, not this transport."""
_URL = re.compile(
    r"^(?P<scheme>[A-Za-z0-9.+-]+)://(?:(?P<login>[^/]*)@)?(?P<place>[^/?]*)/?(?P<path>[^?]*)\??(?P<query>.*)$"
)


class InvalidUrl(UsageError, ValueError):
    """A URL or an option of this transport cannot be understood.

    Not a connection error: trying again cannot help.
    """


@attrs.frozen(kw_only=True)
class Address:
    """What a URL says: which server, which database, and with which options. A plain value, safe to share."""

    hosts: tuple[tuple[str, int], ...]
    """Host and port; several where they are Sentinels, none where it is a unix socket."""
    path: str = ""
    """Of the unix socket; empty: there is none."""
    db: int = 0
    """Number of the database."""
    username: str | None = None
    """None: Redis' default user."""
    password: str | None = attrs.field(default=None, repr=False)
    """None: without authentication."""
    tls: bool = False
    """Whether to speak TLS; the server's certificate is checked unless ``ssl_cert_reqs`` says otherwise."""
    tls_options: Mapping[str, object] = attrs.field(factory=dict)
    """Named as in redis-py: ``ssl_cert_reqs``, ``ssl_ca_certs``, ..."""
    master_name: str = ""
    """What the Sentinels call the server; empty: the hosts are no Sentinels."""
    sentinel_password: str | None = attrs.field(default=None, repr=False)
    """For the Sentinels themselves."""
    lease: float = DEFAULT_LEASE
    """Seconds that a fetched message stays with its holder without a renewal; above 0, finite."""
    socket_timeout: float = DEFAULT_TIMEOUT
    """Seconds that a reply may take before the connection counts as lost; above 0, finite."""
    socket_connect_timeout: float = DEFAULT_TIMEOUT
    """Seconds that connecting may take; above 0, finite."""

    authority: str = attrs.field(init=False)
    """The database by a name without secrets: equal for broker and result store in one database."""

    @authority.default
    def _without_secrets(self) -> str:
        place = self.path or ",".join(f"{host}:{port}" for host, port in self.hosts[:1])
        return f"redis://{self.master_name or place}/{self.db}"

    @classmethod
    def of(cls, client: Any) -> Address:
        """Read the URL and the options of a ``kombu.Connection``; see `from_url`.

        Options that mean nothing here are logged.

        Raises:
            InvalidUrl: see `from_url`; or an option asks for what is not offered.
        """
        options = client.transport_options
        if not options.get("ack_emulation", True):
            raise InvalidUrl("ack_emulation=False is not offered: every message that is taken is recorded as held")
        unused = sorted(options.keys() - {*CHANNEL_OPTIONS, *CONNECTION_OPTIONS, *OPTIONS})
        if unused:
            log.warning("broker_transport_options that have no meaning here: %s", ", ".join(unused))
        return cls.from_url(_url(client), options, others=client.alt or ())

    @classmethod
    def from_url(cls, url: str, options: Mapping[str, object] | None = None, *, others: Sequence[str] = ()) -> Address:
        """Read a URL.

        ``redis://[user:password@]host[:port][/db]``, ``rediss://`` for TLS, ``redis+socket:///path[?virtual_host=db]``
        for a unix socket, ``sentinel://host[:port][,host[:port]...][/db]?master_name=name`` for Sentinels.  The query
        may carry the options by their names.

        Args:
            url: The URL; a prefix ``wk-`` of the scheme is not looked at.
            options: Defaults for the options, as in ``broker_transport_options``; other keys in it are ignored.
            others: Further URLs; the hosts of those that name Sentinels count as Sentinels as well.

        Raises:
            InvalidUrl: the URL cannot be read, an option is unknown, or its value does not fit.
        """
        match = _URL.match(url)
        if match is None:
            raise InvalidUrl(
                f"this is not the URL of a Redis server ({len(url)} characters): write redis://host:6379/0"
            )
        scheme = match["scheme"].removeprefix("wk-")
        given = {name: value for name, value in (options or {}).items() if name in OPTIONS}
        for name, value in parse_qsl(match["query"], keep_blank_values=True):
            if name in FOREIGN:
                continue
            if name not in OPTIONS:
                close = difflib.get_close_matches(name, OPTIONS, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(OPTIONS)}"
                raise InvalidUrl(f"the {scheme} URL has the unknown option {name!r}: {hint}")
            given[name] = value
        socket = scheme.partition("+")[2] == "socket" or scheme == "socket"
        sentinel = scheme.partition("+")[0] == "sentinel"
        user, _, password = (match["login"] or "").partition(":")
        master = str(given.get("master_name", ""))
        if sentinel and not master:
            raise InvalidUrl("a sentinel URL needs the name of the master: add ?master_name=mymaster")
        places = [match["place"], *(_place(other) for other in others if "sentinel://" in other)]
        port = DEFAULT_SENTINEL_PORT if sentinel else DEFAULT_PORT
        hosts = dict.fromkeys(
            _host(one, port) for place in places for one in (place.split(",") if sentinel else [place])
        )
        return cls(
            hosts=() if socket else tuple(hosts),
            path="/" + unquote(match["path"]) if socket else "",
            db=_database(given.get("virtual_host", "") if socket else unquote(match["path"])),
            username=unquote(user) or None,
            password=unquote(password) or None,
            tls=scheme == "rediss",
            tls_options=_tls(given),
            master_name=master if sentinel else "",
            sentinel_password=_text(given.get("sentinel_password")),
            **{name: _seconds(name, given.get(name) or default) for name, default in NUMBERS.items()},
        )


def _url(client: Any) -> str:
    """The URL of a connection; kombu has taken it apart where it switched to an alternate."""
    if client.hostname and "://" in client.hostname:
        return str(client.hostname)
    login = ""
    if client.userid or client.password:
        login = f"{quote(client.userid or '', safe='')}:{quote(client.password or '', safe='')}@"
    port = f":{client.port}" if client.port else ""
    return f"{client.transport_cls}://{login}{client.hostname or ''}{port}/{client.virtual_host or ''}"


def _place(url: str) -> str:
    match = _URL.match(url)
    return match["place"] if match else ""


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):  # the colons of an IPv6 address without a port
        host, port = text, ""
    host = unquote(host).strip("[]") or "127.0.0.1"
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise InvalidUrl(f"the Redis URL has the port {port!r}: it takes a number from 1 to 65535")
    return host, int(port) if port else default_port


def _database(value: object) -> int:
    text = str(value).strip("/")
    if not text:
        return 0
    if not text.isdecimal():
        raise InvalidUrl(f"the Redis URL names the database {text!r}: it takes a number such as redis://host/0")
    return int(text)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _tls(given: Mapping[str, object]) -> dict[str, object]:
    found = {name: given[name] for name in TLS_OPTIONS if name in given}
    if "ssl_cert_reqs" in found:
        level = str(found["ssl_cert_reqs"]).lower().removeprefix("cert_")
        if level not in ("none", "optional", "required"):
            raise InvalidUrl(f"option ssl_cert_reqs is {level!r}: it takes required, optional or none")
        found["ssl_cert_reqs"] = level
        if level == "none":
            found["ssl_check_hostname"] = False  # without a certificate there is no name to check
    if "ssl_check_hostname" in found:
        found["ssl_check_hostname"] = str(found["ssl_check_hostname"]).lower() not in ("false", "0", "no")
    return found


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # anything else is the TypeError below
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds <= 0:
        raise InvalidUrl(f"option {name} is {value!r}: it takes a number of seconds above 0, such as {name}=30")
    return seconds
