"""Writing messages: one call of a task, and what it looks like on the wire (Celery's protocol, version 2)."""

from __future__ import annotations

import math
import os
import reprlib
import socket
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypedDict, Unpack

import attrs
from kombu import serialization
from kombu.utils import json as kombu_json

from ..suggestions import did_you_mean
from .naming import NAME_LIMIT, is_name

REPR_LIMIT = 1024
"""Most characters of a ``repr`` that goes into a message or a log line."""
COMPRESSIONS = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
}
"""The compressions that can be undone with a bound on the size, by the names that callers give."""

Signature = Mapping[str, Any]
"""A call as plain data, Celery's: ``task``, ``args``, ``kwargs``, ``options``, ``subtask_type``, ``immutable``."""


class CallOptions(TypedDict, total=False):
    """What can be said about one call of a task, but for when it is to run; names are Celery's."""

    expires: float | datetime | None
    """Not to run after this, or after so many seconds from now."""
    queue: str | None
    """Where to send it."""
    priority: int | None
    """0 to 255; what is higher depends on the broker."""
    headers: Mapping[str, Any] | None
    """Headers of the caller's own."""
    time_limit: float | None
    """Hard limit in seconds (> 0)."""
    soft_time_limit: float | None
    """Soft limit in seconds (> 0)."""
    task_id: str | None
    """The id; None: a new one."""
    retry: bool | None
    """Whether to try again when the broker cannot be reached. Default: yes."""
    retry_policy: Mapping[str, float | None] | None
    """``max_retries``, ``interval_start``, ``interval_step``, ``interval_max`` (seconds) of sending."""
    serializer: str | None
    """``json``, or another that kombu knows."""
    compression: str | None
    """``gzip``, ``bzip2`` or ``lzma``."""
    ignore_result: bool | None
    """Whether the result is not stored; None: as the task says."""
    link: Signature | Sequence[Signature] | None
    """What to send when it has succeeded, with its value as the first argument."""
    link_error: Signature | Sequence[Signature] | None
    """What to send when it has failed, with its id as the first argument."""
    chain: Sequence[Signature] | None
    """The tasks that follow, the next one last."""
    chord: Signature | None
    """What is sent when the group that the task belongs to has succeeded; written by those who count its results."""
    shadow: str | None
    """Another name to show in logs."""
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    group_index: int | None
    reply_to: str | None


class SendOptions(CallOptions, total=False):
    """What can be said about one call of a task; names are Celery's."""

    countdown: float | None
    """Seconds from now before which it is not to run (>= 0)."""
    eta: datetime | None
    """Not to run before this; naive means in the zone of setting ``timezone``."""


SEND_OPTIONS = frozenset({*CallOptions.__annotations__, *SendOptions.__annotations__})
"""The names of all options of a call."""


@attrs.frozen(kw_only=True)
class Invocation:
    """One call of a task, checked, with every time absolute: everything the wire needs."""

    task: str
    id: str
    args: Sequence[object]
    kwargs: Mapping[str, object]
    queue: str
    retries: int = 0
    eta: datetime | None = None
    expires: datetime | None = None
    expires_in: float | None = None
    """Seconds until ``expires`` (>= 0)."""
    priority: int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    headers: Mapping[str, Any] = attrs.field(factory=dict)
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    group_index: int | None = None
    shadow: str | None = None
    reply_to: str = ""
    ignore_result: bool = False
    link: Sequence[Signature] = ()
    link_error: Sequence[Signature] = ()
    chain: Sequence[Signature] | None = None
    chord: Signature | None = None
    serializer: str = "json"
    compression: str | None = None
    retry: bool = True
    retry_policy: Mapping[str, float | None] = attrs.field(factory=dict)

    @classmethod
    def plan(
        cls,
        task: str,
        args: Sequence[object] | None,
        kwargs: Mapping[str, object] | None,
        *,
        now: float,
        default_queue: str,
        retries: int = 0,
        zone: tzinfo = UTC,
        written_in: tzinfo = UTC,
        **options: Unpack[SendOptions],
    ) -> Invocation:
        """Check the options of a call and make every time absolute.

        Args:
            task: the task's name.
            args: positional arguments, a list or tuple.
            kwargs: keyword arguments.
            now: seconds since the epoch, which ``countdown`` and ``expires`` count from.
            default_queue: where it goes if ``options`` names no queue.
            retries: how often the task has been retried.
            zone: what a naive datetime is in (setting ``timezone``).
            written_in: the zone that times are written in (UTC, or by ``enable_utc`` that of ``timezone``).
            **options: see `SendOptions`.

        Raises:
            TypeError: an option is unknown, or of the wrong type.
            ValueError: a value is out of range, or two options exclude each other.
        """
        check_names("option of a call", options, SEND_OPTIONS)
        if not isinstance(args, (list, tuple, type(None))):
            raise TypeError(f"args of {task} must be a list or tuple, not {type(args).__name__}")
        if not isinstance(kwargs, (Mapping, type(None))):
            raise TypeError(f"kwargs of {task} must be a mapping, not {type(kwargs).__name__}")
        times = _Times(now=datetime.fromtimestamp(now, UTC), zone=zone, written_in=written_in)
        expires = times.absolute("expires", options.get("expires"))
        soft, hard = seconds("soft_time_limit", options), seconds("time_limit", options)
        if soft is not None and hard is not None and soft > hard:
            raise ValueError(f"soft_time_limit ({soft} s) must not be above time_limit ({hard} s)")
        task_id = options.get("task_id") or str(uuid.uuid4())
        for what, name in (("name", task), ("id", task_id)):
            if not is_name(name):  # no worker would take it
                raise ValueError(f"a task's {what} is 1 to {NAME_LIMIT} printable characters, not {name!r:.100}")
        return cls(
            task=task,
            id=task_id,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            queue=options.get("queue") or default_queue,
            retries=retries,
            eta=_eta(options, times),
            expires=expires,
            expires_in=None if expires is None else max((expires - times.now).total_seconds(), 0.0),
            priority=_priority(options.get("priority")),
            time_limit=hard,
            soft_time_limit=soft,
            headers=dict(options.get("headers") or {}),
            root_id=options.get("root_id"),
            parent_id=options.get("parent_id"),
            group_id=options.get("group_id"),
            group_index=options.get("group_index"),
            shadow=options.get("shadow"),
            reply_to=options.get("reply_to") or "",
            ignore_result=bool(options.get("ignore_result")),
            link=_signatures("link", options.get("link")),
            link_error=_signatures("link_error", options.get("link_error")),
            chain=list(options["chain"]) if options.get("chain") else None,  # type: ignore[arg-type]  # not None here
            chord=options.get("chord"),
            serializer=options.get("serializer") or "json",
            compression=_compression(options.get("compression")),
            retry=options.get("retry") is not False,
            retry_policy=dict(options.get("retry_policy") or {}),
        )


@attrs.frozen(kw_only=True)
class WireMessage:
    """A message as it is handed to kombu."""

    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    """``correlation_id``, ``reply_to``, ``priority``, and ``expiration`` in seconds where it expires."""
    body: bytes
    """Encoded, not yet compressed."""
    content_type: str
    content_encoding: str
    compression: str | None = None
    """The content type of the compression to apply, or None."""


def compose(invocation: Invocation) -> WireMessage:
    """Return the message for a call: all headers of the protocol, and the caller's own beneath them.

    Raises:
        TypeError: the arguments cannot be serialised.
        ValueError: the serializer is unknown.
    """
    headers = {
        **invocation.headers,
        "lang": "py",
        "task": invocation.task,
        "id": invocation.id,
        "shadow": invocation.shadow,
        "eta": invocation.eta.isoformat() if invocation.eta else None,
        "expires": invocation.expires.isoformat() if invocation.expires else None,
        "group": invocation.group_id,
        "group_index": invocation.group_index,
        "retries": invocation.retries,
        "timelimit": [invocation.time_limit, invocation.soft_time_limit],
        "root_id": invocation.root_id or invocation.id,
        "parent_id": invocation.parent_id,
        "argsrepr": short_repr(invocation.args),
        "kwargsrepr": short_repr(invocation.kwargs),
        "origin": f"gen{os.getpid()}@{socket.gethostname()}",
        "ignore_result": invocation.ignore_result,
        "replaced_task_nesting": invocation.headers.get("replaced_task_nesting", 0),
        "stamped_headers": invocation.headers.get("stamped_headers"),
        "stamps": invocation.headers.get("stamps", {}),
    }
    embed = {
        "callbacks": list(invocation.link) or None,
        "errbacks": list(invocation.link_error) or None,
        "chain": invocation.chain,
        "chord": invocation.chord,
    }
    body, content_type, content_encoding = encode(
        [list(invocation.args), dict(invocation.kwargs), embed],
        invocation.serializer,
        f"arguments of {invocation.task}",
    )
    properties: dict[str, Any] = {
        "correlation_id": invocation.id,
        "reply_to": invocation.reply_to,
        "priority": invocation.priority or 0,
    }
    if invocation.expires_in is not None:
        properties["expiration"] = invocation.expires_in
    return WireMessage(
        headers=headers,
        properties=properties,
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        compression=invocation.compression,
    )


_encode_json = kombu_json.JSONEncoder().encode
"""As kombu does it, which makes an encoder anew for each value."""


def encode(value: object, serializer: str, what: str) -> tuple[bytes, str, str]:
    """Return ``value`` serialised, with its content type and encoding.

    Raises:
        TypeError: it cannot be serialised; the message begins with ``what``.
        ValueError: the serializer is unknown.
    """
    try:
        # Unless somebody has replaced it, which kombu does not tell.
        if serializer == "json" and serialization.registry._encoders["json"].encoder is kombu_json.dumps:  # noqa: SLF001
            return _encode_json(value).encode(), "application/json", "utf-8"
        content_type, content_encoding, data = serialization.dumps(value, serializer=serializer)
    except serialization.SerializerNotInstalled as exc:
        raise ValueError(
            f"serializer {serializer!r} is not known to kombu{_did_you_mean(serializer, _known())}"
        ) from exc
    except Exception as exc:
        raise TypeError(f"the {what} cannot be serialised as {serializer}: {exc}") from exc
    return data if isinstance(data, bytes) else str(data).encode("utf-8"), content_type, content_encoding


def _shortener() -> reprlib.Repr:
    shorten = reprlib.Repr()
    shorten.maxlevel = 4
    shorten.maxstring = shorten.maxother = shorten.maxlong = REPR_LIMIT
    shorten.maxlist = shorten.maxtuple = shorten.maxdict = shorten.maxset = shorten.maxfrozenset = 64
    return shorten


_SHORTEN = _shortener()  # it holds limits alone


_PLAIN = frozenset({type(None), bool, int, float})
_FEW = 8


def _is_plain(value: tuple[Any, ...] | list[Any] | dict[Any, Any]) -> bool:
    """Whether it is shown as `_SHORTEN` would show it, which takes a dozen calls: a few numbers, or nothing."""
    kind = type(value)
    return not value if kind is dict else kind in (tuple, list) and _PLAIN.issuperset(map(type, value))


def short_repr(value: object) -> str:
    """Return a ``repr`` of at most `REPR_LIMIT` characters. Never raises, and is quick also for large values."""
    kind = type(value)
    try:
        if kind in _PLAIN or (isinstance(value, (tuple, list, dict)) and len(value) <= _FEW and _is_plain(value)):
            text = repr(value)
            if len(text) <= REPR_LIMIT:
                return text
        text = _SHORTEN.repr(value)
    except Exception:  # noqa: BLE001  (user code: a hostile __repr__)
        text = f"<{type(value).__qualname__} whose repr failed>"
    return text if len(text) <= REPR_LIMIT else text[: REPR_LIMIT - 3] + "..."


def check_names(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse names that nobody knows.

    Raises:
        TypeError: names the first unknown one, and the closest known.
    """
    for name in given:
        if name not in known:
            raise TypeError(f"{name!r} is no {what}{_did_you_mean(name, sorted(known))}")


def seconds(name: str, options: Mapping[str, Any]) -> float | None:
    """Return a limit in seconds; None where it is unset.

    Raises:
        TypeError: it is no number.
        ValueError: it is not above 0 and finite.
    """
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} takes seconds, not {value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")
    return value


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    return did_you_mean(name, names) or f"; known are {', '.join(names)}"


def _known() -> list[str]:
    return sorted(name for name in serialization.registry.name_to_type if name)


@attrs.frozen(kw_only=True)
class _Times:
    """Makes times absolute."""

    now: datetime
    zone: tzinfo
    written_in: tzinfo

    def absolute(self, name: str, value: float | datetime | None) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, datetime):
            aware = value if value.tzinfo is not None else value.replace(tzinfo=self.zone)
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} takes seconds, not {value!r}")
        elif not math.isfinite(value) or (value < 0 and name == "countdown"):
            raise ValueError(f"{name} must be a finite number of seconds >= 0, not {value!r}")
        else:
            try:
                aware = self.now + timedelta(seconds=value)
            except OverflowError:
                raise ValueError(f"{name} of {value!r} s is beyond the calendar") from None
        return aware.astimezone(self.written_in)


def _eta(options: SendOptions, times: _Times) -> datetime | None:
    eta, countdown = options.get("eta"), options.get("countdown")
    if eta is not None and countdown is not None:
        raise ValueError("countdown and eta exclude each other: give one")
    if eta is not None and not isinstance(eta, datetime):
        raise TypeError(f"eta takes a datetime, not {eta!r}; countdown takes seconds")
    return times.absolute("countdown", countdown) if eta is None else times.absolute("eta", eta)


def _priority(value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise ValueError(f"priority must be a whole number from 0 to 255, not {value!r}")
    return value


def _compression(value: str | None) -> str | None:
    if value is None:
        return None
    if value in COMPRESSIONS.values():
        return value
    if value not in COMPRESSIONS:
        raise ValueError(f"compression {value!r} is not supported{_did_you_mean(str(value), COMPRESSIONS)}")
    return COMPRESSIONS[value]


def _signatures(name: str, value: Signature | Sequence[Signature] | None) -> list[Signature]:
    found = [] if value is None else [value] if isinstance(value, Mapping) else list(value)
    for signature in found:
        if not isinstance(signature, Mapping) or not isinstance(signature.get("task"), str):
            raise TypeError(f"{name} takes signatures, such as task.s(1), not {signature!r}")
    return found
