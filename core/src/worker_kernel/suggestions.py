"""What somebody may have meant who wrote a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like ``name``, or None where none is near. Their order does not matter."""
    import difflib  # costs milliseconds that only a mistake is to pay

    return next(iter(difflib.get_close_matches(name, sorted(set(known)), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` where a known name is near, else ``""``: the end of an error's first line."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""
