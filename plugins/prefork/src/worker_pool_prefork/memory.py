"""How large children are, as they are now; not as they once were."""

from __future__ import annotations

import os

LOOK_EVERY = 0.25
"""Seconds between two looks at children that may grow too large."""
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def resident(pid: int) -> int:
    """Return the resident size of a process in bytes, what it shares included; 0: it cannot be told."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123  (four times a second for each child)
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def in_words(size: int) -> str:
    """Return a size for people: ``123 MiB``."""
    return f"{size / (1 << 20):.0f} MiB"
