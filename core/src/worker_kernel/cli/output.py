"""What commands print: JSON for machines, aligned columns for people."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

SCHEMA = 1
"""Version of every JSON document of the command line. Keys are only ever added."""


def echo_json(**content: object) -> None:
    """Print one JSON document, alone on stdout: ``{"schema": 1, "kernel": VERSION, ...}``."""
    from ..plugins.discovery import kernel_version

    document = {"schema": SCHEMA, "kernel": kernel_version(), **content}
    click.echo(json.dumps(plain(document), indent=2, allow_nan=False))


def plain(value: object) -> object:
    """Return ``value`` made of what JSON has: tuples become lists, infinity the text ``inf``, the rest text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value)


def columns(rows: Iterable[Sequence[str]], *, gap: int = 2) -> list[str]:
    """Return one line per row, each column as wide as its widest cell."""
    table = [list(row) for row in rows]
    widths = [max((len(row[place]) for row in table), default=0) for place in range(max(map(len, table), default=0))]
    return [
        (" " * gap).join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in table
    ]


def writable(text: str, otherwise: str) -> str:
    """Return ``text`` if stdout can show it, else ``otherwise``."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return otherwise
    return text
