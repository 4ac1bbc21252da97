"""Names: what a task is, and may be, called in messages, and by which name another process finds an application."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from .. import suggestions

NAME_LIMIT = 512
"""Characters of an id or a task's name."""


def task_name(module: str, function: str, app_name: str | None) -> str:
    """Return the name of a task that was given none: ``module.function``.

    In a script the module is called ``__main__``, which is another one in every process. There the name that a worker
    would import it by is taken: what ``python -m`` was given, or the app's own name where it ends like the file's, or
    the file's; in a shell the app's name.
    """
    return f"{_main_name(app_name) if module == '__main__' else module}.{function}"


def is_name(value: object) -> TypeGuard[str]:
    """Whether it is text that can be a name: what is not printable (half a surrogate pair) breaks logs and stores."""
    return isinstance(value, str) and 0 < len(value) <= NAME_LIMIT and value.isprintable()


def find_origin(app: object, first: str) -> str | None:
    """Return ``module:attr`` by which another process can import ``app``; None where it has no such name.

    Args:
        app: what to find.
        first: the module that is looked at first; the others follow by name.
    """
    for name in (first, *sorted(sys.modules)):
        module = sys.modules.get(name)
        if module is sys.modules.get("__main__") or not isinstance(module, ModuleType):  # also as __mp_main__
            continue
        for attribute, value in list(vars(module).items()):
            if value is app:
                return f"{name}:{attribute}"
    return None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the task that ``name`` may have been meant to be: one that ends like it, or the most similar."""
    names = sorted(known)
    endings = [one for one in names if one.endswith(f".{name}")]
    return endings[0] if endings else suggestions.nearest(name, names)


def _main_name(app_name: str | None) -> str:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    stem = Path(file).stem if file else ""
    if app_name and (not stem or app_name.rpartition(".")[2] == stem):
        return app_name
    return stem or "__main__"
