"""Imports what plugins name, and tells what went wrong in words. The only place where plugins' code is imported."""

from __future__ import annotations

import importlib
import sys

from ..errors import PluginBroken
from .found import one_line


def import_value(value: str) -> object:
    """Return what ``package.module`` or ``package.module:attribute`` names.

    Raises:
        BaseException: whatever the import raises, SystemExit included.
    """
    module, _, attribute = value.partition(":")
    found: object = importlib.import_module(module)
    for name in attribute.split(".") if attribute else ():
        found = getattr(found, name)
    return found


def load_object(path: str, owner: str = "") -> object:
    """Import what ``package.module:attribute`` names.

    Args:
        path: what a plugin declared.
        owner: the distribution that did, for the message.

    Raises:
        PluginBroken: it cannot be imported; whatever was raised is chained.
    """
    try:
        return import_value(path)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        whose = f" of {owner}" if owner else ""
        raise PluginBroken(
            f"{path}{whose} cannot be imported: {describe(exc)}\nreinstall it, or report it to its authors", dist=owner
        ) from exc


def describe(exc: BaseException) -> str:
    """Return what an exception raised at import means, on one line; it never raises."""
    if isinstance(exc, SystemExit):
        return f"exits at import with status {exit_status(exc)}"
    try:
        text = str(exc)
    except Exception:  # noqa: BLE001  (an exception of others whose text raises as well)
        text = "its text cannot be had"
    notes = [note for note in getattr(exc, "__notes__", ()) if isinstance(note, str)]
    said = f"{type(exc).__name__}: {text}" if text else type(exc).__name__
    return one_line(" ".join([said, *(f"({note})" for note in notes)]))


def exit_status(exc: SystemExit) -> int:
    """Return the status with which the interpreter would have ended."""
    if exc.code is None:
        return 0
    return exc.code if isinstance(exc.code, int) else 1


def missing_module(exc: BaseException, value: str) -> bool:
    """Whether an import failed because ``value`` itself names no module, rather than within the module."""
    module = value.partition(":")[0]
    if not isinstance(exc, ModuleNotFoundError) or exc.name is None:
        return False
    return module not in sys.modules and (module == exc.name or module.startswith(f"{exc.name}."))
