"""What is stored of a task: Celery's states and layout, so that Celery's ``AsyncResult`` reads ours and we its."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kombu.utils import json as kombu_json

from .. import errors
from ..outcome import Failure

PENDING = "PENDING"
"""Nothing is known of the task; also the state of an id that never existed."""
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
RETRY = "RETRY"
REVOKED = "REVOKED"
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
"""The task has ended for good."""
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
"""The result is an exception."""

TAGGED = '"__type__"'
"""Is in JSON that holds one of kombu's tagged objects (a date, a UUID, ...): what is without it need not be revived."""

Meta = dict[str, Any]
"""Celery's record of one task: ``task_id``, ``status``, ``result``, ``traceback``, ``children``, ``date_done``, and
``group_id`` and ``parent_id`` where the task has them."""

# Ours on the left, how Celery's clients know them on the right: a client may name either in an ``except``.
_CELERY_NAMES: Mapping[str, tuple[str, str]] = {
    "SoftTimeLimitExceeded": ("billiard.exceptions", "SoftTimeLimitExceeded"),
    "TimeLimitExceeded": ("billiard.exceptions", "TimeLimitExceeded"),
    "WorkerLostError": ("billiard.exceptions", "WorkerLostError"),
    "TaskRevoked": ("celery.exceptions", "TaskRevokedError"),
    "TaskNotRegistered": ("celery.exceptions", "NotRegistered"),
    "ChordFailed": ("celery.exceptions", "ChordError"),
    "MaxRetriesExceeded": ("celery.exceptions", "MaxRetriesExceededError"),
    "Retry": ("celery.exceptions", "Retry"),
    "Reject": ("celery.exceptions", "Reject"),
    "Ignore": ("celery.exceptions", "Ignore"),
}
_OUR_NAMES = {theirs: ours for ours, (_, theirs) in _CELERY_NAMES.items()}
_CELERY_MODULES = frozenset({"billiard.exceptions", "celery.exceptions"})


def record(
    task_id: str,
    status: str,
    result: object,
    *,
    now: float,
    traceback: str | None = None,
    children: Sequence[tuple[str, str | None]] = (),
    headers: Mapping[str, Any] | None = None,
) -> Meta:
    """Return the record to store.

    Args:
        task_id: the task.
        status: one of the states of this module.
        result: JSON-safe; see `plain` and `exception_record`.
        now: seconds since the epoch; becomes ``date_done`` where ``status`` is final.
        traceback: formatted, or None.
        children: id and parent's id of each task that this one sent.
        headers: the message's, for ``group_id`` and ``parent_id``.
    """
    meta: Meta = {
        "status": status,
        "result": result,
        "traceback": traceback,
        "children": [[[child, [[parent, None], None] if parent else None], None] for child, parent in children],
        "date_done": datetime.fromtimestamp(now, UTC).isoformat() if status in READY_STATES else None,
        "task_id": task_id,
    }
    for header, key in (("group", "group_id"), ("parent_id", "parent_id")):
        text = header_text(headers or {}, header)
        if text:
            meta[key] = text
    return meta


def header_text(headers: Mapping[str, Any], name: str) -> str | None:
    """Return a header that has to be text; None where it is absent or something else, which no store could keep."""
    value = headers.get(name)
    return value if isinstance(value, str) else None


def plain(value: object) -> object:
    """Return ``value`` as plain JSON data; dates, UUIDs, decimals and bytes become Celery's tagged objects.

    Raises:
        TypeError: JSON cannot carry it; the message names the type.
    """
    if value is None or isinstance(value, (bool, float, str)) or (isinstance(value, int) and _is_short(value)):
        return value
    try:
        return json.loads(kombu_json.dumps(value))
    except RecursionError:
        raise TypeError(f"the value of type {type(value).__qualname__} is nested too deeply for JSON") from None
    except (TypeError, ValueError) as exc:
        raise TypeError(f"the value of type {type(value).__qualname__} is not JSON-serialisable: {exc}") from exc


def revived(value: object) -> object:
    """Return what `plain` was given, up to what JSON forgets (tuples are lists). Never raises for JSON data."""
    if isinstance(value, list):
        return [revived(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: revived(item) for key, item in value.items()}
    try:
        return kombu_json.object_hook(inner)
    except (ValueError, TypeError, AttributeError, ArithmeticError):  # tagged by somebody else: show it as it is
        return inner


def exception_record(failure: Failure) -> dict[str, Any]:
    """Return a failure as Celery stores it: ``exc_type``, ``exc_message`` (the arguments), ``exc_module``.

    Exceptions that Celery has too stand under Celery's names.
    """
    kind, module = failure.type, failure.module
    if module == errors.__name__ and kind in _CELERY_NAMES:
        module, kind = _CELERY_NAMES[kind]
    arguments = [hex(arg) if isinstance(arg, int) and not _is_short(arg) else arg for arg in failure.args]
    return {"exc_type": kind, "exc_message": arguments, "exc_module": module}


def exception_from(stored: object) -> Exception:
    """Return the exception that `exception_record`, or Celery, stored. Never raises, unpickles or imports.

    It has its own class where this process has imported that class and it is an `Exception`; else a class of the same
    name is made, a `TaskError`.
    """
    if not isinstance(stored, Mapping) or not isinstance(stored.get("exc_type"), str):
        return errors.TaskError(stored)
    kind, module, message = stored["exc_type"], stored.get("exc_module"), stored.get("exc_message")
    arguments = list(message) if isinstance(message, (list, tuple)) else [message]
    known = _known_class(str(module), kind)
    if known is not None:
        try:
            exc = known(*arguments)
        except Exception:  # noqa: BLE001  (user code: a constructor of another shape)
            exc = None
        if isinstance(exc, Exception):
            return exc
    name = kind.rpartition(".")[2] or kind
    made = type(name, (errors.TaskError,), {"__module__": str(module), "__doc__": f"``{module}.{kind}``, by name."})
    return made(*arguments)  # type: ignore[no-any-return]  # type() with three arguments is untyped


def _is_short(number: int) -> bool:
    """Whether JSON can carry it: Python writes no more than some thousand digits."""
    return number.bit_length() <= 2048


def _known_class(module: str, kind: str) -> type[Exception] | None:
    if module in _CELERY_MODULES and kind in _OUR_NAMES:
        module, kind = errors.__name__, _OUR_NAMES[kind]
    # Only modules that are loaded already: what is stored must not decide what this process imports.
    found: Any = sys.modules.get(module)
    for name in kind.split("."):
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    return found if isinstance(found, type) and issubclass(found, Exception) else None
