"""Installed distributions as their metadata files tell them; nothing is imported, and nothing here raises.

`importlib.metadata` finds the distributions; their files are read here, because its accessors raise on metadata
without a name or a version, hide files that cannot be read, and stop at the first malformed line.
"""

from __future__ import annotations

import email.message
import functools
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from .found import one_line
from .plainversions import normalized

if TYPE_CHECKING:
    from packaging.version import Version

GROUP_PREFIX = "worker_kernel."
_NAME = re.compile(r"^Name:[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_VERSION = re.compile(r"^Version:[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_FOLDER = re.compile(r"([\w.]+)-([\w.!+]+)\.dist-info")
_VALUE = re.compile(r"[\w.]+\s*(:\s*[\w.]+)?\s*(\[.*\])?")


@attrs.frozen(kw_only=True)
class EntryPoint:
    """One line of an entry_points.txt."""

    group: str
    """The section it stands in."""
    name: str
    """Left of the equals sign."""
    value: str
    """``module`` or ``module:attribute``, without extras."""


@attrs.frozen(kw_only=True)
class Distribution:
    """An installed distribution that has, or may have, entry points of ours."""

    name: str
    """As its metadata writes it; without metadata, as its folder is called."""
    version: str = ""
    """Empty where its metadata has none."""
    summary: str = ""
    """One line."""
    requires: tuple[str, ...] = ()
    """The ``Requires-Dist`` lines as they are."""
    requires_python: str = ""
    """The ``Requires-Python`` line; empty: none."""
    origin: str = ""
    """Where it was installed from (PEP 610), without passwords; empty: not known."""
    editable: bool = False
    """Whether it is installed in place (PEP 610)."""
    entry_points: tuple[EntryPoint, ...] = ()
    """Those of groups that begin with ``worker_kernel.``, in the file's order."""
    problems: tuple[str, ...] = ()
    """What could not be read or understood, a phrase each."""


@attrs.frozen(kw_only=True)
class Environment:
    """What is installed, as far as it matters here."""

    distributions: tuple[Distribution, ...]
    """Those with entry points of ours, sorted by normalised name."""
    versions: Mapping[str, str]
    """The version of every distribution by normalised name; ``""`` where its metadata has none."""


def scan(path: Sequence[str] | None = None) -> Environment:
    """Read the metadata of every installed distribution.

    The first on ``path`` wins, as with imports; within one folder the one in order with the highest version does, so
    that the result does not depend on the order of a directory.

    Args:
        path: where to look; None: ``sys.path``.
    """
    winners: dict[str, Distribution | None] = {}
    versions: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path if path is None else path):
        here: dict[str, Distribution | None] = {}
        known: dict[str, str] = {}
        for raw in _installed(folder):
            files = _Files(raw)
            found = _read(files)
            label, version = files.label if found is None else (files.name, files.version)
            name = normalized(label)
            known[name] = max(known[name], version, key=_version_key) if name in known else version
            other = here.get(name)
            here[name] = found if other is None or (found is not None and _rank(found) > _rank(other)) else other
        winners = {**here, **winners}
        versions = {**known, **versions}
    ours = tuple(found for _, found in sorted(winners.items()) if found is not None)
    return Environment(distributions=ours, versions=versions)


def parse_entry_points(text: str) -> tuple[tuple[EntryPoint, ...], tuple[str, ...]]:
    """Return the entry points of ours in an entry_points.txt, and a phrase for each line that is none.

    Lines of other groups are not judged, but one outside any group is, and a group's header that does not close.
    """
    entries: list[EntryPoint] = []
    problems: list[str] = []
    group: str | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            group = line[1:-1].strip() if line[-1] == "]" else None
            if group is None:
                problems.append(f"line {number} of entry_points.txt is no group: {line}")
            continue
        if group is not None and not group.startswith(GROUP_PREFIX):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if group is None or not equals or not name or not _VALUE.fullmatch(value):
            problems.append(f"line {number} of entry_points.txt is no entry point: {line}")
        else:
            value = value.partition("[")[0]
            entries.append(EntryPoint(group=group, name=one_line(name, 100), value="".join(value.split())))
    return tuple(entries), tuple(one_line(problem, 200) for problem in problems)


class _Files:
    """The metadata files of one distribution, each read once, with what went wrong in ``problems``."""

    def __init__(self, raw: importlib.metadata.Distribution) -> None:
        self._raw = raw
        # Not public, but the only way to the folder's name, and to files without errors being hidden.
        self._path = getattr(raw, "_path", None)
        self.problems: list[str] = []

    @functools.cached_property
    def _head(self) -> str:
        text = self.read("METADATA")
        if text is None:
            text = self.read("PKG-INFO")
        return (text or "").partition("\n\n")[0]

    @property
    def label(self) -> tuple[str, str]:
        """Name and version as the folder's name has them, where that is as it should be; else as the metadata do.

        Enough for those that have nothing of ours: reading the metadata of all that is installed takes its time.
        """
        found = _FOLDER.fullmatch(str(getattr(self._path, "name", "")))
        if found is None or self._path is None or not self._path.joinpath("METADATA").is_file():
            return self.name, self.version
        return found[1], found[2]

    @functools.cached_property
    def headers(self) -> email.message.Message:
        """All headers: of few distributions more than `name` and `version` is asked for."""
        import email.parser  # takes its time, and is not needed where nothing of ours is installed

        return email.parser.HeaderParser().parsestr(self._head)

    @property
    def name(self) -> str:
        """The distribution's name."""
        stem = str(getattr(self._path, "name", "")).removesuffix(".dist-info").removesuffix(".egg-info")
        return one_line(_first(_NAME, self._head) or stem.partition("-")[0] or "unknown", 100)

    @property
    def version(self) -> str:
        """The distribution's version; empty where it has none."""
        return _first(_VERSION, self._head)

    def read(self, name: str) -> str | None:
        """Return the text of a file, None where there is none; what is wrong with it is noted as a problem."""
        try:
            if self._path is None:
                return self._raw.read_text(name)
            content: bytes = self._path.joinpath(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, KeyError):
            return None
        except Exception as exc:  # noqa: BLE001  (finders of others may raise anything; it is shown to the user)
            self.problems.append(f"its {name} cannot be read: {type(exc).__name__}: {exc}")
            return None
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            self.problems.append(f"its {name} is not UTF-8")
            text = content.decode("utf-8", errors="replace")
        return text.replace("\r\n", "\n")


def _first(header: re.Pattern[str], head: str) -> str:
    found = header.search(head)
    return "" if found is None else found[1]


def _installed(folder: str) -> Iterator[importlib.metadata.Distribution]:
    """Yield the distributions in one folder of the path; what a finder raises ends its share."""
    try:
        yield from importlib.metadata.distributions(path=[folder])
    except Exception:  # noqa: BLE001  (a finder of others: what it cannot list cannot be shown)
        return


def _read(files: _Files) -> Distribution | None:
    """Return the distribution, or None where it has nothing to do with us."""
    blind = len(files.problems)
    text = files.read("entry_points.txt")
    unreadable = text is None and len(files.problems) > blind
    if not unreadable and (text is None or GROUP_PREFIX not in text):
        return None
    requires = tuple(files.headers.get_all("Requires-Dist") or ())
    # Whether an unreadable file matters to us, its neighbour may tell; if that is unreadable too, better a row.
    if unreadable and not blind and not any(normalized(line).startswith("worker-kernel") for line in requires):
        return None
    entries, problems = parse_entry_points(text or "")
    version = files.version
    if not version:
        problems = (*problems, "its METADATA has no version")
    origin, editable = _origin(files.read("direct_url.json"))
    return Distribution(
        name=files.name,
        version=one_line(version, 50),
        summary=one_line(files.headers.get("Summary") or ""),
        requires=requires,
        requires_python=files.headers.get("Requires-Python") or "",
        origin=origin,
        editable=editable,
        entry_points=entries,
        problems=(*(one_line(problem, 200) for problem in files.problems), *problems),
    )


def _origin(text: str | None) -> tuple[str, bool]:
    """Return where a distribution came from, and whether it is editable, of the text of its direct_url.json."""
    try:
        record = json.loads(text or "{}")
        address = urlsplit(record["url"])
        directory, vcs = record.get("dir_info") or {}, record.get("vcs_info") or {}
        if address.scheme == "file":
            return one_line(address.path), bool(directory.get("editable"))
        shown = address._replace(netloc=address.netloc.rpartition("@")[2], query="", fragment="").geturl()
        if vcs:
            shown = f"{vcs.get('vcs', 'vcs')}+{shown}@{vcs.get('commit_id', '')}"
        return one_line(shown), False
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", False  # only shown: a malformed record takes nothing from the plugin


def _rank(found: Distribution) -> tuple[bool, tuple[bool, Version, str], str]:
    return (not found.problems, _version_key(found.version), repr(found))


def _version_key(text: str) -> tuple[bool, Version, str]:
    from packaging.version import InvalidVersion, Version  # takes its time, and hardly ever there are two of a name

    try:
        return (True, Version(text), text)
    except InvalidVersion:
        return (False, Version("0"), text)
