"""Names and versions as nearly all are, compared without `packaging`, which takes long to import."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

_SEPARATORS = re.compile(r"[-_.]+")
_RELEASE = re.compile(r"[0-9]+(\.[0-9]+)*")
_CLAUSE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([0-9]+(?:\.[0-9]+)*)\s*")
_LINE = re.compile(r"([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[[\w\s,.-]*\])?\s*\(?([^\s;@()\[\]][^;@()\[\]]*)?\)?")
_OF_EXTRA = re.compile(r"[^;]*;\s*extra\s*==\s*(\"[^\"]+\"|'[^']+')\s*")
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}
)


def normalized(name: str) -> str:
    """Return the name of a distribution as all its spellings have it in common (PEP 503)."""
    return _SEPARATORS.sub("-", name).lower()


def plain(line: str) -> tuple[str, str] | None:
    """Return name and specifiers of a ``Requires-Dist`` line without marker or URL; None: it is not so plain."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    name, specifiers = found[1], (found[2] or "").strip()
    return (name, specifiers) if not specifiers or _clauses(specifiers) else None


def of_extra(line: str) -> bool:
    """Whether a ``Requires-Dist`` line holds for an extra alone, and for nothing else."""
    return _OF_EXTRA.fullmatch(line) is not None


def holds(specifiers: str, version: str) -> bool | None:
    """Whether a version is as the specifiers want it; None: one of them is not plain numbers, and PEP 440 is to judge.

    Args:
        specifiers: for example ``>=5.7,<5.8``.
        version: for example ``5.7.0``.
    """
    clauses = _clauses(specifiers)
    if not clauses or not _RELEASE.fullmatch(version):
        return None
    return all(_COMPARISONS[how](*_padded(version, wanted)) for how, wanted in clauses)


def _clauses(specifiers: str) -> list[tuple[str, str]]:
    """Return the comparisons; none where one of them is of another form."""
    found = [_CLAUSE.fullmatch(clause) for clause in specifiers.split(",")]
    return [(one[1], one[2]) for one in found if one is not None] if all(found) else []


def _padded(one: str, other: str) -> tuple[list[int], list[int]]:
    """Return two releases as numbers, the shorter one filled up with zeros, as PEP 440 compares them."""
    pairs = list(zip_longest(map(int, one.split(".")), map(int, other.split(".")), fillvalue=0))
    return [left for left, _ in pairs], [right for _, right in pairs]
