"""Reading JSON that others wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kombu.utils import json as kombu_json

_in_c: Callable[[bytes | str], Any] | None
try:
    from msgspec.json import decode as _in_c
except ImportError:  # the extra "fast" is not installed
    _in_c = None

_TAG = "__type__"
"""In JSON with one of kombu's tagged objects: a date, a UUID, a decimal, bytes."""
_TAG_BYTES = _TAG.encode()


def read_json(text: bytes | str) -> Any:
    """Return what JSON says, as kombu reads it: tagged objects become what they stand for.

    Most JSON has none, and is read several times as fast for that, in C where msgspec is installed (the extra
    ``fast``). What msgspec refuses and Python takes (``NaN``, half a surrogate pair) is read by Python.

    Args:
        text: bytes in UTF-8, or text.

    Raises:
        ValueError: it is no JSON, or no UTF-8.
        RecursionError: it is nested too deeply.
        LookupError, TypeError, AttributeError: what kombu raises for a tagged object that it cannot make.
    """
    if _TAG_BYTES in text if isinstance(text, bytes) else _TAG in text:
        return kombu_json.loads(text)
    if _in_c is not None:
        try:
            return _in_c(text)
        except (ValueError, RecursionError):
            pass  # Python says what is wrong with it, if anything is
    return json.loads(text if isinstance(text, str) else text.decode("utf-8"))
