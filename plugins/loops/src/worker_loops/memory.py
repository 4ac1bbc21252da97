"""A memory of a bounded size: who remembers one thing more forgets the oldest."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 10_000
"""How many things are remembered unless said otherwise."""


class Memory(Generic[K, V]):
    """Values by key, at most ``size`` of them. Belongs to one thread."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def keep(self, key: K, value: V) -> None:
        """Remember a value, and forget the oldest where there are too many."""
        self._values[key] = value
        if len(self._values) > self._size:
            self._values.popitem(last=False)

    def take(self, key: K) -> V | None:
        """Return what is remembered under ``key``, or None, and forget it."""
        return self._values.pop(key, None)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)
