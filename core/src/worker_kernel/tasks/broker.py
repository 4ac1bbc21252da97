"""Broker URLs: which transport serves them, under which private alias kombu knows it, and how they may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

import attrs

from ..application import BrokerInfo
from ..errors import PluginConflict, UsageError
from ..hookspecs import TransportSpec
from ..masking import masked
from ..suggestions import nearest

DEFAULT_URL = "sqlite:///worker-kernel.sqlite3"
"""The embedded broker: a file in the directory of now."""
ALIAS_PREFIX = "wk-"
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9.+-]*)://(.*)$", re.DOTALL)
_NO = frozenset({"0", "false", "no", "off"})
_YES = frozenset({"1", "true", "yes", "on"})


@attrs.frozen(kw_only=True)
class Address:
    """A broker, possibly with alternates, as kombu is to see it."""

    urls: tuple[str, ...]
    """In order of preference; schemes that a plugin serves are replaced by its private alias."""
    info: BrokerInfo
    """For loop choice and the banner."""
    store_url: str | None
    """The URL of the result store that the (first) broker has itself; None where it has none."""


def locate(url: str | None, transports: Mapping[str, TransportSpec]) -> Address:
    """Find the transport of each URL, and make plugins' transports known to kombu.

    Nothing is connected; kombu itself is imported, a plugin's transport is not. kombu's table of aliases only gains
    the private ones: what another library in this process uses stays as it is.

    Args:
        url: one URL, or several with semicolons between them; None: the embedded broker.
        transports: the plugins' transports by scheme.

    Raises:
        UsageError: a URL has no scheme, or one that nobody serves.
        PluginConflict: a private alias is taken by another transport.
    """
    given = [part.strip() for part in (url or DEFAULT_URL).split(";")]
    served = [_serve(part, transports) for part in given]
    first = served[0]
    return Address(
        urls=tuple(one.url for one in served),
        info=BrokerInfo(
            url=";".join(str(masked(part)) for part in given),
            driver=first.scheme,
            asynchronous=all(one.asynchronous for one in served),
        ),
        store_url=first.store_url,
    )


def store_location(url: str) -> tuple[str, str]:
    """Return the scheme of a result store's URL, and the URL without what only a broker's connection needs.

    Raises:
        UsageError: it has no scheme.
    """
    written, rest = _split(url)
    return written.partition("+")[0], f"{written}://{_without_hub(url, rest)[0]}"


@attrs.frozen(kw_only=True)
class _Served:
    url: str
    scheme: str
    asynchronous: bool
    store_url: str | None


def _serve(url: str, transports: Mapping[str, TransportSpec]) -> _Served:
    written, rest = _split(url)
    scheme = written.partition("+")[0]
    rest, hub = _without_hub(url, rest)
    spec = transports.get(scheme)
    if spec is None:
        return _Served(
            url=f"{written}://{rest}",
            scheme=scheme,
            asynchronous=_kombu_asynchronous(scheme, transports) and hub,
            store_url=None,
        )
    _register(spec)
    if spec.local_file:
        rest = _absolute(url, rest)
    return _Served(
        url=f"{spec.alias}://{rest}",
        scheme=scheme,
        asynchronous=spec.asynchronous and hub,
        store_url=f"{scheme}://{rest}" if spec.result_backend else None,
    )


def _split(url: str) -> tuple[str, str]:
    match = _SCHEME.match(url)
    if match is None:
        raise UsageError(f"the URL {masked(url)!r} has no scheme: write for example {DEFAULT_URL} or amqp://host")
    return match[1], match[2]


def _without_hub(url: str, rest: str) -> tuple[str, bool]:
    """Return the URL's rest without its option ``hub``, and whether the hub may be used."""
    place, question, query = rest.partition("?")
    options = [option for option in query.split("&") if option]
    kept = [option for option in options if option.partition("=")[0] != "hub"]
    allowed = True
    for option in options:
        name, _, value = option.partition("=")
        if name == "hub":
            if value.lower() not in _NO | _YES:
                raise UsageError(f"the URL {masked(url)!r} has hub={value!r}: it takes 1 or 0")
            allowed = value.lower() in _YES
    return place + (question if kept else "") + "&".join(kept), allowed


def _absolute(url: str, rest: str) -> str:
    """Return the URL's rest with a relative path made absolute: connections are made again wherever a task has gone."""
    place, question, query = rest.partition("?")
    path = unquote(place[1:])
    if not place.startswith("/") or not path or path.startswith(":memory:") or Path(path).is_absolute():
        return rest
    try:
        here = quote(Path.cwd().as_posix())
    except OSError as exc:
        raise UsageError(
            f"the URL {masked(url)!r} is relative to the working directory, and there is none: {exc}\n"
            "change to a directory that exists, or write an absolute path"
        ) from exc
    return f"/{here.rstrip('/')}/{place[1:]}{question}{query}"


def _register(spec: TransportSpec) -> None:
    from kombu.transport import TRANSPORT_ALIASES

    known = TRANSPORT_ALIASES.setdefault(spec.alias, spec.transport)
    if known != spec.transport or not spec.alias.startswith(ALIAS_PREFIX):
        raise PluginConflict(
            f"the transport {spec.transport} wants the kombu alias {spec.alias!r}, which is not its own ({known})\n"
            f"private aliases begin with {ALIAS_PREFIX!r}; disable one of the plugins with KERNEL_PLUGINS=-NAME"
        )


def _kombu_asynchronous(scheme: str, transports: Mapping[str, TransportSpec]) -> bool:
    from kombu.transport import TRANSPORT_ALIASES, get_transport_cls

    if scheme not in TRANSPORT_ALIASES or scheme.startswith(ALIAS_PREFIX):
        raise UsageError(_unknown(scheme, [*transports, *TRANSPORT_ALIASES]))
    try:
        transport = get_transport_cls(scheme)
    except (ImportError, AttributeError) as exc:  # kombu's Redis module, for one, trips over the None it put there
        raise UsageError(
            f"the broker scheme {scheme!r} needs a library that is not installed: {exc}\n"
            f"install it: pip install 'kombu[{scheme}]'"
        ) from exc
    return bool(transport.implements.asynchronous)


def _unknown(scheme: str, known: Sequence[str]) -> str:
    names = sorted({name for name in known if not name.startswith(ALIAS_PREFIX)})
    close = nearest(scheme, names)
    hint = f"did you mean {close}://?" if close else "kombu and the installed plugins do not know it"
    return f"no transport serves the broker scheme {scheme!r}: {hint}\nsee kernel list-plugins for what is installed"
