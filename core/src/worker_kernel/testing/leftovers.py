"""What a process has open: threads, children, file descriptors and signal handlers, before and after something."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Seen = Mapping[str, Mapping[object, str]]
"""By kind, each thing there is, with words for it."""

FOREIGN = ("/.hypothesis/", "/.coverage", "/dev/urandom", "anon_inode:inotify")
"""Descriptors of the tools that run the tests."""
_POLL = 0.01


def look() -> Seen:
    """Return what there is now. Children and descriptors are seen where the system has /proc."""
    return {kind: seen() for kind, seen in _LOOKS.items()}


def left_since(before: Seen, patience: float) -> list[str]:
    """Return in words what is there and was not ``before``, once it is plain that it will not go by itself.

    What only a cycle of garbage keeps is collected first.

    Args:
        before: what `look` has returned.
        patience: seconds (>= 0) that whatever has been ended may take to be gone.
    """
    deadline = time.monotonic() + patience
    while remains := _left(before):
        if time.monotonic() > deadline:
            return remains
        gc.collect()
        time.sleep(_POLL)
    return []


def _left(before: Seen) -> list[str]:
    return [words for kind, seen in look().items() for thing, words in seen.items() if thing not in before[kind]]


def _threads() -> dict[object, str]:
    return {thread: f"thread {thread.name}" for thread in threading.enumerate() if not thread.name.startswith("kit-")}


def _children() -> dict[object, str]:
    found: dict[object, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = stat.read_text(errors="replace").rsplit(")", 1)
        except OSError:  # it has ended since
            continue
        if int(fields.split()[1]) == os.getpid():
            found[stat.parent.name] = f"process {stat.parent.name} {name.partition('(')[2]}"
    return found


def _descriptors() -> dict[object, str]:
    found: dict[object, str] = {}
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = str(entry.readlink())
        except OSError:  # the one that lists the folder
            continue
        if not any(part in target for part in FOREIGN):
            found[entry.name, target] = f"file descriptor {entry.name} ({target})"
    return found


def _handlers() -> dict[object, str]:
    numbers = sorted(set(signal.Signals) - {getattr(signal, "SIGALRM", None)})  # that one is pytest-timeout's
    return {(number, signal.getsignal(number)): f"a handler of {number.name}" for number in numbers}


_LOOKS: Mapping[str, Callable[[], Mapping[object, str]]] = {
    "threads": _threads,
    "children": _children,
    "descriptors": _descriptors,
    "handlers": _handlers,
}
