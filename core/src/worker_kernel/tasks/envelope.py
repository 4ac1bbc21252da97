"""Reading messages: a ``kombu.Message`` by its headers only, into an `Envelope`.

The body of a version 2 message is neither decoded nor decompressed here. Everything in a message is somebody else's:
whatever it holds, the answer is an envelope or `MessageInvalid`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from kombu.utils import json as kombu_json

from ..application import Envelope, Fence
from ..errors import MessageInvalid
from ..markings import ATTEMPTS_HEADER
from .body import inflate
from .naming import NAME_LIMIT, is_name

V1_LIMIT = 1024 * 1024
"""Bytes that the body of a version 1 message may have, because it is decoded on the loop's thread."""
_NO_LIMITS = [None, None]
UNKNOWN = "unknown"
"""How the task is called of a message that has an id, but no task that could be one."""
_SALVAGEABLE = ("task", "id", "group", "parent_id", "root_id", "ignore_result", "compression")


def parse(message: Any, zone: tzinfo = UTC) -> Envelope:
    """Read a ``kombu.Message``.

    Args:
        message: with ``raw_body`` where the transport leaves a compressed body alone, and with ``attempts``,
            ``fence`` and ``queue`` where it knows them.
        zone: what a time without a zone is in.

    Raises:
        MessageInvalid: it cannot be understood; with what could be `salvaged` of it. No other exception escapes.
    """
    try:
        try:
            return _parse(message, zone)
        except MessageInvalid:
            raise
        except Exception as exc:
            raise MessageInvalid(f"its parts are not those of a message: {type(exc).__name__}: {exc}"[:500]) from exc
    except MessageInvalid as invalid:
        invalid.salvaged = salvaged(message)
        raise


def salvaged(message: Any) -> Envelope | None:
    """Return the envelope of a message that cannot be understood, as far as it can be read; None without a usable id.

    It serves to store what was wrong under the id that the sender waits for, and holds what that needs. Never raises.
    """
    try:
        raw = getattr(message, "raw_body", None)
        body = message.body if raw is None else raw
        headers = message.headers if isinstance(message.headers, Mapping) else {}
        if "id" not in headers and "task" not in headers:
            content_type = message.content_type or "application/data"
            payload = _decoded(headers, body, content_type, message.content_encoding or "utf-8")
            headers = payload if isinstance(payload, dict) else {}
        delivery, properties = message.delivery_info, message.properties
        return Envelope(
            id=_name("id", headers),
            task=headers["task"] if is_name(headers.get("task")) else UNKNOWN,
            queue=_queue(message, delivery if isinstance(delivery, Mapping) else {}),
            headers={key: headers[key] for key in _SALVAGEABLE if isinstance(headers.get(key), (str, bool))},
            body=body if isinstance(body, (bytes, str, memoryview)) else b"",
            content_type=message.content_type if isinstance(message.content_type, str) else "application/data",
            content_encoding=message.content_encoding if isinstance(message.content_encoding, str) else "binary",
            properties=dict(properties) if isinstance(properties, Mapping) else {},
            delivery_info={},
            fence=_fence(message),
        )
    except Exception:  # noqa: BLE001  (it is known to be broken: the reason is told by whoever found that out)
        return None


def _parse(message: Any, zone: tzinfo) -> Envelope:
    # For each message, on the loop's thread: what is as it should be is seen here, only the rest costs a call.
    headers, properties, delivery = message.headers, message.properties, message.delivery_info
    if type(headers) is not dict:
        headers = _mapping("headers", headers)
    if type(delivery) is not dict:
        delivery = _mapping("delivery info", delivery)
    if type(properties) is not dict:
        properties = _mapping("properties", properties)
    body = getattr(message, "raw_body", None)
    if body is None:
        body = message.body
        if headers.get("compression") and not getattr(message, "errors", None):
            # kombu's own message classes have decompressed it on arrival.
            headers = {key: value for key, value in headers.items() if key != "compression"}
    if type(body) is not bytes:
        body = _body(body)
    content_type, content_encoding = message.content_type or "application/data", message.content_encoding or "utf-8"
    if not (type(content_type) is str and type(content_encoding) is str):
        content_type, content_encoding = (
            _text("content type", content_type),
            _text("content encoding", content_encoding),
        )
    wire = getattr(message, "wire", None)
    if "task" not in headers:
        headers, body = _from_version_1(headers, body, content_type, content_encoding)
        content_type, content_encoding, wire = "application/json", "utf-8", None
    lang, limits = headers.get("lang"), headers.get("timelimit")
    if lang != "py":
        _python_only(lang)
    hard, soft = (None, None) if limits is None or limits == _NO_LIMITS else _time_limits(limits)
    retries, eta, expires = headers.get("retries", 0), headers.get("eta"), headers.get("expires")
    redelivered = bool(delivery.get("redelivered") or headers.get("redelivered"))
    fence = getattr(message, "fence", None)
    task_id, task = headers.get("id"), headers["task"]
    if not (is_name(task_id) and is_name(task)):
        task_id, task = _name("id", headers), _name("task", headers)
    queue = getattr(message, "queue", None) or delivery.get("routing_key") or ""
    return Envelope(
        id=task_id,
        task=task,
        queue=queue if type(queue) is str else _text("queue", queue),
        headers=headers,
        body=body,
        content_type=content_type,
        content_encoding=content_encoding,
        properties=properties,
        delivery_info={
            "exchange": delivery.get("exchange"),
            "routing_key": delivery.get("routing_key"),
            "priority": properties.get("priority"),
            "redelivered": redelivered,
        },
        retries=0 if type(retries) is int and not retries else _count("retries", retries),
        eta=None if eta is None else _moment("eta", eta, zone),
        expires=None if expires is None else _moment("expires", expires, zone),
        soft_time_limit=soft,
        time_limit=hard,
        redelivered=redelivered,
        attempts=_attempts(message, headers),
        fence=fence if isinstance(fence, Fence) else None,
        wire=wire,
    )


def _body(value: object) -> bytes | str | memoryview:
    if value is None:
        return b""
    if isinstance(value, bytearray):
        return bytes(value)
    if not isinstance(value, (bytes, str, memoryview)):
        raise MessageInvalid(f"its body is a {type(value).__name__}, neither bytes nor text")
    return value


def _mapping(what: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MessageInvalid(f"its {what} are a {type(value).__name__}, not a mapping")
    return dict(value)


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise MessageInvalid(f"its {what} is {value!r:.100}, not text")
    return value


def _name(key: str, headers: Mapping[str, Any]) -> str:
    value = headers.get(key)
    if is_name(value):
        return str(value)
    if value is None:
        raise MessageInvalid(f"it has no {key}")
    raise MessageInvalid(f"its {key} is not 1 to {NAME_LIMIT} printable characters: {value!r:.100}")


def _python_only(lang: object) -> None:
    """Refuse a task that is written in another language: Celery's protocol lets a message say so."""
    if lang not in (None, "py"):
        raise MessageInvalid(f"its lang is {lang!r:.100}: only tasks in Python (py) run here")


def _count(key: str, value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise MessageInvalid(f"its {key} is {value!r:.100}, not a count")
    return value


def _moment(key: str, value: object, zone: tzinfo) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(_text(key, value))
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise MessageInvalid(f"its {key} is {value!r:.100}, not a time in ISO 8601") from exc


def _time_limits(value: object) -> tuple[float | None, float | None]:
    """Return hard and soft limit; Celery writes them in this order."""
    if value is None:
        return None, None
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise MessageInvalid(f"its timelimit is {value!r:.100}, not [hard, soft]")
    return _limit(value[0]), _limit(value[1])


def _limit(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise MessageInvalid(f"its timelimit holds {value!r:.100}, not seconds")
    return float(value) or None  # as with Celery, 0 is no limit


def _queue(message: Any, delivery: Mapping[str, Any]) -> str:
    queue = getattr(message, "queue", None) or delivery.get("routing_key") or ""
    return _text("queue", queue)


def _attempts(message: Any, headers: Mapping[str, Any]) -> int:
    counted = getattr(message, "attempts", None)
    if type(counted) is int and counted >= 0:
        return counted
    if counted is None:
        # Not x-delivery-count: a quorum queue raises it also for what it was about to send to a consumer that left.
        counted = headers.get(ATTEMPTS_HEADER)
    return _count("number of attempts", counted)


def _fence(message: Any) -> Fence | None:
    fence = getattr(message, "fence", None)
    return fence if isinstance(fence, Fence) else None


def _from_version_1(
    headers: dict[str, Any], body: bytes | str | memoryview, content_type: str, encoding: str
) -> tuple[dict[str, Any], bytes]:
    """Return headers and body of the version 2 message that says the same.

    Raises:
        MessageInvalid: the body is not JSON, too large, or no version 1 message.
    """
    payload = _decoded(headers, body, content_type, encoding)
    if not isinstance(payload, dict) or "task" not in payload:
        raise MessageInvalid("it names no task, neither in its headers nor in its body: wrong destination?")
    args, kwargs = payload.get("args") or [], payload.get("kwargs") or {}
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise MessageInvalid("its args are no list, or its kwargs no mapping")
    local = payload.get("utc") is False
    embed = {key: payload.get(key) for key in ("callbacks", "errbacks", "chain", "chord")}
    return {
        **{key: value for key, value in headers.items() if key != "compression"},
        "lang": "py",
        "task": payload["task"],
        "id": payload.get("id"),
        "eta": _localised(payload.get("eta"), local),
        "expires": _localised(payload.get("expires"), local),
        "group": payload.get("group") or payload.get("taskset"),
        "group_index": payload.get("group_index"),
        "retries": payload.get("retries"),
        "timelimit": payload.get("timelimit"),
        "root_id": payload.get("id"),
        "parent_id": None,
    }, kombu_json.dumps([args, kwargs, embed]).encode("utf-8")


def _localised(value: object, local: bool) -> object:
    """A time without a zone is the sender's local one where the message says so; we can only take ours."""
    if not local or not isinstance(value, str):
        return value
    moment = datetime.fromisoformat(value)
    return value if moment.tzinfo is not None else moment.astimezone().isoformat()


def _decoded(headers: Mapping[str, Any], body: bytes | str | memoryview, content_type: str, encoding: str) -> object:
    if content_type not in ("application/json", "application/data", "text/json"):
        raise MessageInvalid(f"it has no task header, and its body is {content_type:.100}: only JSON is read here")
    raw = body.encode(encoding) if isinstance(body, str) else bytes(body)
    if headers.get("compression"):
        try:
            raw = inflate(raw, str(headers["compression"]), limit=V1_LIMIT)
        except ValueError as exc:
            raise MessageInvalid(f"its body cannot be decompressed: {exc}") from exc
    if len(raw) > V1_LIMIT:
        raise MessageInvalid(f"it is of version 1 and has {len(raw)} bytes, above the limit of {V1_LIMIT}")
    try:
        return json.loads(raw, object_hook=kombu_json.object_hook)
    except (ValueError, RecursionError) as exc:
        raise MessageInvalid(f"it has no task header, and its body is no JSON: {exc}"[:300]) from exc
