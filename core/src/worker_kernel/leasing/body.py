"""Bodies in messages of kombu's virtual transports, which are text: in base64, or as they are."""

from __future__ import annotations

import binascii
from typing import Any

BASE64 = "base64"


def body_bytes(body: Any, encoding: Any) -> Any:
    """Return a body as bytes; what is empty, as it is.

    Args:
        body: as it stands in the message.
        encoding: the property ``body_encoding``: ``base64``, ``utf-8`` or None.

    Raises:
        ValueError: the encoding is unknown, or the body is no text or bytes in it.
    """
    if not body and not isinstance(body, str):
        return body
    if not isinstance(body, (str, bytes, bytearray, memoryview)):
        raise ValueError(f"its body is a {type(body).__name__}, neither text nor bytes")  # noqa: TRY004  (damage)
    if encoding == BASE64:
        return binascii.a2b_base64(body)
    if encoding not in (None, "utf-8"):
        raise ValueError(f"its body is in {encoding!r:.100}, which is neither base64 nor utf-8")
    return body.encode() if isinstance(body, str) else body
