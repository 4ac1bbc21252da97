"""Where the database lies and how it is used: what a ``sqlite:///`` URL says."""

from __future__ import annotations

import difflib
import math
import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import attrs

from worker_kernel import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_LEASE = 30.0
DEFAULT_BUSY_TIMEOUT = 30.0
OPTIONS = ("busy_timeout", "lease")
FOREIGN = ("hub",)
"""Options in the URL that the kernel reads, not this transport."""


class InvalidUrl(UsageError, ValueError):
    """A URL or an option of this transport cannot be understood.

    Not a connection error: trying again cannot help.
    """


@attrs.frozen(kw_only=True)
class Address:
    """What a URL says: which file, and with which options. A plain value, safe to share and to pickle."""

    path: str
    """Canonical absolute path of the database file (symbolic links resolved)."""
    lease: float = DEFAULT_LEASE
    """Seconds that a fetched message stays with its holder without a renewal; above 0, finite."""
    busy_timeout: float = DEFAULT_BUSY_TIMEOUT
    """Seconds to wait for another process's write before the operation fails; 0 or more, finite."""

    @classmethod
    def from_url(cls, url: str, options: Mapping[str, object] | None = None) -> Address:
        """Read a URL, or the part of one behind the third slash.

        ``sqlite:///jobs.db`` is relative to the working directory of now, ``sqlite:////var/jobs.db`` is absolute.
        The query may carry ``lease`` and ``busy_timeout`` in seconds.  A question mark written as ``%3F`` separates
        the query as well: kombu's failover takes no query, so an alternate URL has to be written that way.

        Args:
            url: The URL; the scheme is not looked at.
            options: Defaults for the options, as in ``broker_transport_options``; other keys in it are ignored.

        Raises:
            InvalidUrl: no file is named, an option is unknown, or its value is not a fitting number.
        """
        scheme, separator, rest = url.partition("://")
        if separator:
            if rest and not rest.startswith("/"):
                raise InvalidUrl(
                    f"{url!r} names a host, and an SQLite file has none: "
                    f"write {scheme}:///relative.db or {scheme}:////absolute/path.db"
                )
            rest = rest[1:]
        else:
            rest = url
        path, _, query = rest.partition("?")
        path, _, quoted = unquote(path).partition("?")
        if path in ("", "/") or path.startswith(":memory:"):
            raise InvalidUrl(f"{url!r} names no file, and processes can share only a file: write sqlite:///jobs.db")
        values = {key: value for key, value in (options or {}).items() if key in OPTIONS}
        for key, value in parse_qsl(query or quoted, keep_blank_values=True):
            if key in FOREIGN:
                continue
            if key not in OPTIONS:
                close = difflib.get_close_matches(key, OPTIONS, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(OPTIONS)}"
                raise InvalidUrl(f"{url!r} has the unknown option {key!r}: {hint}")
            values[key] = value
        return cls(
            path=os.path.realpath(path),
            lease=_seconds("lease", values.get("lease", DEFAULT_LEASE), above_zero=True),
            busy_timeout=_seconds("busy_timeout", values.get("busy_timeout", DEFAULT_BUSY_TIMEOUT), above_zero=False),
        )


def _seconds(name: str, value: object, *, above_zero: bool) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # anything else is the TypeError below
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0 or (above_zero and seconds == 0):
        bound = "above 0" if above_zero else "of 0 or more"
        raise InvalidUrl(f"option {name} is {value!r}: it takes a number of seconds {bound}, such as {name}=30")
    return seconds
