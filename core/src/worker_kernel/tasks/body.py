"""Bodies, opened where the task runs: bounded decompression, allowed content types, and the three parts."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from kombu import serialization

from ..application import Envelope
from ..errors import MessageInvalid
from ..records import record
from .jsontext import read_json
from .message import COMPRESSIONS

JSON = "application/json"
INFLATED_LIMIT = 256 * 1024 * 1024
"""Bytes that a compressed body may come to."""


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...


_DECOMPRESSORS: Mapping[str, Callable[[], _Decompressor]] = {
    "application/x-gzip": zlib.decompressobj,  # kombu calls it gzip, and writes zlib's format
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}


@record(kw_only=True)
class Body:
    """The three parts of a version 2 body."""

    args: tuple[object, ...]
    """Positional arguments."""
    kwargs: Mapping[str, object]
    """Keyword arguments."""
    embed: Mapping[str, Any]
    """``callbacks``, ``errbacks``, ``chain``, ``chord``."""


def decode(envelope: Envelope, accept: Collection[str]) -> Body:
    """Decompress and decode a body.

    Args:
        envelope: the message.
        accept: content types that may be decoded, such as ``application/json``.

    Raises:
        MessageInvalid: it is too large, of another content type, damaged, or not ``[args, kwargs, embed]``.
    """
    body, compression = envelope.body, envelope.headers.get("compression")
    try:
        if compression:
            raw = body.encode(envelope.content_encoding) if isinstance(body, str) else bytes(body)
            body = inflate(raw, str(compression))
        value = _loaded(body, envelope, accept)
    except Exception as exc:
        raise MessageInvalid(f"the body of the message cannot be decoded: {exc}"[:1000]) from exc
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        raise MessageInvalid(f"the body of the message is not [args, kwargs, embed] but {_shape(value)}")
    args, kwargs, embed = value
    if not isinstance(args, (list, tuple)):
        raise MessageInvalid(f"args in the body of the message is {_shape(args)}, not a list")
    if not isinstance(kwargs, dict) or (kwargs and not all(isinstance(key, str) for key in kwargs)):
        raise MessageInvalid(f"kwargs in the body of the message is {_shape(kwargs)}, not a mapping of names")
    if not isinstance(embed, (dict, type(None))):
        raise MessageInvalid(f"embed in the body of the message is {_shape(embed)}, not a mapping")
    return Body(args=tuple(args), kwargs=kwargs, embed=embed or {})


def _loaded(body: bytes | str | memoryview, envelope: Envelope, accept: Collection[str]) -> object:
    """Deserialise a body as kombu does, JSON without the detours."""
    if envelope.content_type == JSON and envelope.content_encoding == "utf-8" and JSON in accept and len(body):
        return read_json(body if isinstance(body, (bytes, str)) else bytes(body))
    return serialization.loads(body, envelope.content_type, envelope.content_encoding, accept=set(accept))


def inflate(data: bytes, compression: str, *, limit: int = INFLATED_LIMIT) -> bytes:
    """Decompress ``data``, never holding more than ``limit`` bytes of the outcome.

    Raises:
        ValueError: the compression is unknown, the data is damaged, or there is more than ``limit``.
    """
    make = _DECOMPRESSORS.get(COMPRESSIONS.get(compression, compression))
    if make is None:
        raise ValueError(f"compression {compression!r:.100} is not supported; known are {', '.join(_DECOMPRESSORS)}")
    decompressor = make()
    try:
        inflated = decompressor.decompress(data, limit + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as exc:
        raise ValueError(f"the data is damaged: {exc}") from exc
    if len(inflated) > limit:
        raise ValueError(f"it inflates to more than {limit} bytes")
    if not decompressor.eof:
        raise ValueError("the data ends too early")
    return inflated


def _shape(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, (list, tuple, dict, str)) else ""
    return f"a {type(value).__name__}{size}"
