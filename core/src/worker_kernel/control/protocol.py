"""What goes over the control socket: one JSON document per line, requests one way, replies the other.

::

    {"schema": 1, "command": "grow", "arguments": {"n": 2}}
    {"schema": 1, "node": "kernel@host", "ok": {"limit": 4}}
    {"schema": 1, "node": "kernel@host", "error": {"kind": "bad arguments", "message": "n must be ..."}}

Keys are only ever added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SCHEMA = 1
"""Version of the documents."""
LONGEST_REQUEST = 1 << 20
"""Bytes that a request may have, its end of line included."""


def encode(**content: object) -> bytes:
    """Return one line: ``content`` with the schema. What JSON does not have is written as text."""
    return json.dumps({"schema": SCHEMA, **content}, default=str).encode() + b"\n"


def decode(line: bytes) -> Mapping[str, Any]:
    """Read one line.

    Raises:
        ValueError: it is no document of this schema.
    """
    try:
        document = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"a JSON object with schema {SCHEMA} is expected")
    return document
