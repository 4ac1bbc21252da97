"""The configuration file of a directory: ``kernel.toml``, or ``[tool.kernel]`` in ``pyproject.toml``.

Imports nothing but the standard library: the patch phase reads it before anything else is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

OWN = "kernel.toml"
SHARED = "pyproject.toml"


class ConfigFile(NamedTuple):
    """What a directory's configuration file says."""

    name: str
    """``kernel.toml`` or ``pyproject.toml``; empty: there is none."""
    values: Mapping[str, object]
    """The keys of the kernel's table, as TOML gives them."""
    lines: Mapping[str, int]
    """The line, from 1, of each key that was found in the text."""
    problems: tuple[str, ...] = ()
    """What is wrong with the file, with its location; then there are no values."""
    warnings: tuple[str, ...] = ()
    """What is unclear about it."""

    def location(self, key: str) -> str:
        """Return where ``key`` stands, for people: ``kernel.toml:12``."""
        line = self.lines.get(key)
        return self.name if line is None else f"{self.name}:{line}"


def read(directory: Path) -> ConfigFile:
    """Read the configuration file of ``directory``. Never raises: what is wrong stands in ``problems``."""
    own, shared = _load(directory / OWN), _load(directory / SHARED)
    table = _table(shared.values) if shared is not None else None
    if own is not None:
        both = f"[tool.kernel] in {SHARED} is not read: {OWN} is there" if table is not None else ""
        return own._replace(warnings=(both,) if both else ())
    if shared is None or (table is None and not shared.problems):
        return ConfigFile("", {}, {})
    if shared.problems:
        # Somebody else's file, perhaps: it is the kernel's affair only if it has a table for it.
        mentions = "[tool.kernel" in _text(directory / SHARED)
        return shared if mentions else ConfigFile("", {}, {}, warnings=shared.problems)
    if not isinstance(table, Mapping):
        return ConfigFile(SHARED, {}, {}, problems=(f"tool.kernel is no table ({SHARED})",))
    return shared._replace(values=table)


def _load(path: Path) -> ConfigFile | None:
    try:
        if not path.is_file():
            return _no_file(path)
        import tomllib  # for the few directories that have such a file

        text = path.read_bytes().decode("utf-8")
        values = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as exc:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        return ConfigFile(path.name, {}, {}, problems=(f"{path.name} cannot be read: {exc}",))
    return ConfigFile(path.name, values, _lines(text, "" if path.name == OWN else "tool.kernel"))


def _no_file(path: Path) -> ConfigFile | None:
    """Return what is wrong where something else than a file has our name.

    Docker makes a directory of a bind mount that has no source. A device such as ``/dev/null`` says that there is none.
    """
    if path.name != OWN or path.is_char_device() or not (path.exists() or path.is_symlink()):
        return None
    return ConfigFile(path.name, {}, {}, problems=(f"{path.name} cannot be read: it is no file, nor a link to one",))


def _table(values: Mapping[str, object]) -> object:
    tool = values.get("tool")
    return tool.get("kernel") if isinstance(tool, Mapping) else None


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def _lines(text: str, table: str) -> dict[str, int]:
    """Return the lines of the keys of ``table``: a plain look that misses only unusual ways of writing TOML."""
    lines: dict[str, int] = {}
    here = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            here = header[1]
            parent, _, key = here.rpartition(".")
            if parent == table:
                lines.setdefault(key, number)
        elif (key_match := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*[.=]", line)) and here == table:
            lines.setdefault(key_match[1], number)
    return lines
