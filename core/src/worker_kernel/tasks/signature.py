"""Signatures: single calls as plain data, as callbacks, errbacks and chains carry them in a message's ``embed``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import attrs

from ..errors import MessageInvalid, UnsupportedOption
from .message import SEND_OPTIONS, SendOptions

_RENAMED = {"routing_key": "queue"}
_IGNORABLE = frozenset({"add_to_parent", "replaced_task_nesting", "origin", "argsrepr", "kwargsrepr", "retries"})
"""What Celery's signatures may carry and what has no meaning when the task is sent for the first time."""
_DEFAULTS: Mapping[str, tuple[object, ...]] = {"exchange": ("", None), "delivery_mode": (None, 2)}
"""Options that are honoured only with the value that they have here anyway."""


@attrs.frozen(kw_only=True)
class Call:
    """A call to be sent: what `App.send_task` takes."""

    task: str
    """The task's name."""
    args: tuple[object, ...]
    """Positional arguments; what the call is given (a value, an id) comes first."""
    kwargs: Mapping[str, object]
    """Keyword arguments."""
    options: SendOptions
    """With ``task_id`` filled in."""
    immutable: bool
    """Whether it takes nothing from the task before it."""

    @property
    def id(self) -> str:
        """The id it will have."""
        return str(self.options.get("task_id"))

    def given(self, argument: object) -> Call:
        """Return the call with ``argument`` put first, unless it is immutable."""
        return self if self.immutable else attrs.evolve(self, args=(argument, *self.args))


def signature(
    task: str, args: Sequence[object], kwargs: Mapping[str, object], *, immutable: bool, **options: Any
) -> dict[str, Any]:
    """Return a call as plain data, in Celery's form."""
    return {
        "task": task,
        "args": list(args),
        "kwargs": dict(kwargs),
        "options": options,
        "subtask_type": None,
        "immutable": immutable,
    }


def read_call(item: object, family: Mapping[str, str]) -> Call:
    """Read one signature.

    Args:
        item: plain data from a message, or what `signature` returned.
        family: ``parent_id`` and ``root_id`` where the signature has none.

    Raises:
        UnsupportedOption: it has an option that is not supported.
        MessageInvalid: it is malformed.
    """
    if not isinstance(item, Mapping) or not isinstance(item.get("task"), str):
        raise MessageInvalid(f"the message asks to send {item!r:.200}, which is no signature")
    task, args, kwargs = item["task"], item.get("args") or (), item.get("kwargs") or {}
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping):
        raise MessageInvalid(f"the message asks to send {task} with arguments that are no list and no mapping")
    return Call(
        task=task,
        args=tuple(args),
        kwargs=dict(kwargs),
        options=_options(task, item.get("options") or {}, family),
        immutable=bool(item.get("immutable")),
    )


def _options(task: str, given: object, family: Mapping[str, str]) -> SendOptions:
    if not isinstance(given, Mapping):
        raise MessageInvalid(f"the message asks to send {task} with options that are no mapping")
    found: dict[str, Any] = {}
    stamped = [str(header) for header in given.get("stamped_headers") or ()]
    for name, value in given.items():
        key = _RENAMED.get(name, name)
        if key in SEND_OPTIONS:
            if value is not None:
                found.setdefault(key, value)
        elif name in _DEFAULTS:
            if value not in _DEFAULTS[name]:
                raise UnsupportedOption(f"the message asks to send {task} with {name}={value!r:.100}, not supported")
        elif name not in {*_IGNORABLE, *stamped, "stamped_headers"}:
            raise UnsupportedOption(f"the message asks to send {task} with the unknown option {name!r:.100}")
    if stamped:
        stamps = {"stamped_headers": stamped, "stamps": {name: given.get(name) for name in stamped}}
        found["headers"] = {**(found.get("headers") or {}), **stamps}
    for key in ("eta", "expires"):
        found.update({key: _moment(key, found[key])} if isinstance(found.get(key), str) else {})
    for key, value in family.items():
        found.setdefault(key, value)
    found.setdefault("task_id", str(uuid.uuid4()))
    return cast("SendOptions", found)


def _moment(key: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise MessageInvalid(f"{key} of a signature is {text!r:.100}, not a time in ISO 8601") from exc
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def listed(key: str, value: object) -> list[Any]:
    """Return a list of signatures; one alone stands for a list of one.

    Raises:
        MessageInvalid: it is neither.
    """
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise MessageInvalid(f"{key} in the body of the message is a {type(value).__name__}, not a list")
    return list(value)
