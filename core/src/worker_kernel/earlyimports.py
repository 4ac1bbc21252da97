"""What was imported too early: modules that keep parts of the standard library as they were before a patch.

Imports nothing but the standard library, and of that as little as it can.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

PATCHABLE = ("_thread", "os", "queue", "select", "selectors", "socket", "ssl", "subprocess", "threading", "time")
"""The modules that green libraries patch in place."""
BASELINE = frozenset(
    {
        "_socket",
        "_thread",
        "functools",
        "importlib._bootstrap",
        "logging",
        "multiprocessing.context",  # what measures or debugs a process imports it; it switches nowhere while it uses it
        "posix",
        "reprlib",
        "tempfile",
        "threading",
    }
)
"""Modules of the standard library that keep such parts by their nature; recorded on CPython 3.11 to 3.13."""
MEASURING = frozenset({"coverage"})
"""Packages that are imported before all else on purpose, because they watch the process."""


class Snapshot:
    """The standard library before a patch."""

    def __init__(self) -> None:
        self._modules = frozenset(sys.modules)
        self._parts = {name: dict(vars(sys.modules[name])) for name in PATCHABLE if name in sys.modules}

    def too_early(self) -> list[str]:
        """Return, once the patch is done, each module that keeps something unpatched, and what: ``x (socket.socket)``.

        A module is named for an original that it imported by name, and for a lock or a thread-local made of one.
        """
        replaced = dict(self._replaced())
        found = []
        for name in sorted(self._modules - BASELINE):
            module = sys.modules.get(name)
            if not isinstance(module, ModuleType) or name.partition(".")[0] in MEASURING:
                continue
            values = [value for key, value in list(vars(module).items()) if not key.startswith("__")]
            kept = {replaced[id(part)] for value in values for part in (value, type(value)) if id(part) in replaced}
            if kept:
                found.append(f"{name} ({', '.join(sorted(kept))})")
        return found

    def _replaced(self) -> Iterator[tuple[int, str]]:
        """Yield the identity and the name of each class and function that is another by now."""
        for name, parts in self._parts.items():
            now = vars(sys.modules[name])
            for key, value in parts.items():
                if callable(value) and not key.startswith("__") and now.get(key) is not value:
                    yield id(value), f"{name}.{key}"
