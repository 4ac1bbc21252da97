"""Whether a contract was made easier by whoever subclasses it."""

from __future__ import annotations


def overridden(cls: type, contract: type) -> str:
    """Return in words which tests of ``contract`` its subclass ``cls`` overrides or deletes; empty: none.

    An override that is marked ``xfail(reason=...)`` is a known deviation, and fine.
    """
    changed = []
    for name in (name for name in dir(contract) if name.startswith("test_")):
        own = getattr(cls, name, None)
        if own is getattr(contract, name):
            continue
        marks = getattr(own, "pytestmark", [])
        if not any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks):
            changed.append(name)
    return f"{cls.__name__} overrides or deletes {changed}; mark a deviation with xfail(reason=...)" if changed else ""
