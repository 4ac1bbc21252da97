"""The patch phase: what must run before anything else is imported.

Green pools replace parts of the standard library, which works only before others have imported them. So the command
line looks for the pool with nothing but the standard library, runs the entry point of that name in the group
``worker_kernel.patches``, and imports the rest afterwards. This module imports nothing else either.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from . import configfile
from .earlyimports import Snapshot

GROUP = "worker_kernel.patches"
VARIABLE = "KERNEL_WORKER_POOL"
PROCESSES_VARIABLE = "KERNEL_WORKER_PROCESSES"
PROCESSES_KEY = "worker_processes"
KEY = "worker_pool"
EXECUTED_AGAIN = "_WORKER_KERNEL_EXECUTED_AGAIN"
"""Marks, in the environment, a process that took the place of one that could not be patched any more."""
_GLOBAL_VALUES = frozenset({"-A", "--app", "-b", "--broker", "--result-backend"})
"""Options that take a value and may stand before the command."""


def patch(name: str) -> bool:
    """Run the patch of pool ``name``, for a worker that is embedded in another program. Call it first of all.

    What was imported before, and goes on with what is not patched, is named in a `RuntimeWarning`.

    Returns:
        Whether there is one: most pools need none.

    Raises:
        PluginBroken: the patch cannot be imported, or raised; the cause is chained.
    """
    found = list(_claims(name))
    if len({entry.value for entry in found}) != 1:
        return False  # none; or several, which is a conflict: who loads the pool says so, with both claimants
    entry = found[0]
    before = Snapshot()
    try:
        entry.load()()
    except (Exception, SystemExit) as exc:
        from .errors import PluginBroken

        dist = entry.dist
        owner = f" of {dist.name} {dist.version}" if dist is not None else ""
        raise PluginBroken(
            f"the patch {entry.value}{owner} for pool {name!r} raised {type(exc).__name__}: {exc}\n"
            "mend or reinstall it, or choose another pool with -P"
        ) from exc
    early = before.too_early()
    if early:
        warnings.warn(
            f"imported before the patch of pool {name}, and not patched for that reason: {', '.join(early)}. "
            "See to it that the patch comes first.",
            RuntimeWarning,
            stacklevel=2,
        )
    return True


def patch_for(argv: Sequence[str], environ: Mapping[str, str], directory: Path, *, again: str = "") -> str:
    """Run the patch that a command line calls for, and return the pool that it was run for; ``""`` if none was.

    Only ``kernel worker`` calls for one. Of a wrong command line or file nothing is said here: it is read again later.

    Args:
        argv: the arguments, without the program's name.
        environ: the environment.
        directory: where the configuration file is.
        again: the pool that was chosen in the process whose place this one has taken; ``""``: it took none's.
    """
    if not calls_worker(argv):
        return ""
    name = again or effective_pool(argv, environ, directory)
    if hosted(argv, environ, directory):
        return ""  # the tasks run in other processes, each of which is patched; this one must not be
    if name is None or "--safe-mode" in argv or _left_out(name, environ, directory):
        return ""
    return name if patch(name) else ""


def calls_worker(argv: Sequence[str]) -> bool:
    """Whether the command is ``worker``, and not merely asks for help."""
    words = iter(argv)
    for word in words:
        if word in _GLOBAL_VALUES:
            next(words, None)
        elif not word.startswith("-"):
            return word == "worker" and "--help" not in argv
    return False


def effective_pool(argv: Sequence[str], environ: Mapping[str, str], directory: Path | None = None) -> str | None:
    """Return the pool as the command line, the environment or the configuration file names it; None: none does.

    What an application's code says cannot be known yet.
    """
    named = list(_values(argv, "--pool", "-P"))
    if named:
        return named[-1]
    if environ.get(VARIABLE):
        return environ[VARIABLE]
    value = configfile.read(directory or Path()).values.get(KEY)
    return value if isinstance(value, str) else None


def hosted(argv: Sequence[str], environ: Mapping[str, str], directory: Path | None = None) -> bool:
    """Whether the slots are spread over processes (``--processes``), as far as can be known before the code is."""
    if any(_values(argv, "--processes")) or environ.get(PROCESSES_VARIABLE):
        return True
    return configfile.read(directory or Path()).values.get(PROCESSES_KEY) is not None


def with_pool(argv: Sequence[str], pool: str) -> list[str]:
    """Return the arguments of a ``kernel worker`` with ``-P pool`` added, where nothing said before overrides it."""
    words = list(argv)
    place = 0
    while words[place] != "worker":
        place += 2 if words[place] in _GLOBAL_VALUES else 1
    return [*words[: place + 1], "-P", pool, *words[place + 1 :]]


def _left_out(name: str, environ: Mapping[str, str], directory: Path) -> bool:
    """Whether the choice of plugins leaves the pool out; wrong words are told of when the plugins are loaded."""
    configured = configfile.read(directory).values.get("plugins", ())
    words = re.split(r"[,\s]+", configured) if isinstance(configured, str) else configured
    listed = [word for word in words if isinstance(word, str)] if isinstance(words, (list, tuple)) else []
    plain = name.rpartition(":")[2]
    last = ""
    for word in [*listed, *re.split(r"[,\s]+", environ.get("KERNEL_PLUGINS", ""))]:
        if word[1:] in (plain, name):
            last = word
    return last.startswith("-")


def _values(argv: Sequence[str], long: str, short: str = "") -> Iterator[str]:
    """Yield what an option is given, in each way in which it can be written."""
    words = iter(argv)
    for word in words:
        if word == "--":
            return
        if word in (long, short):
            following = next(words, None)
            if following is not None:
                yield following
        elif word.startswith(f"{long}="):
            yield word.removeprefix(f"{long}=")
        elif short and word.startswith(short):
            yield word.removeprefix(short).removeprefix("=")


def _claims(name: str) -> Iterator[EntryPoint]:
    """Yield the entry points for ``name``, or for ``dist:name``, which picks one distribution's."""
    owner, _, plain = name.rpartition(":")
    try:
        entries = entry_points(group=GROUP, name=plain)
    except Exception:  # noqa: BLE001  (somebody's metadata cannot be read: list-plugins names it)
        return
    for entry in entries:
        dist = entry.dist.name if entry.dist is not None else ""
        if not owner or _normal(owner) == _normal(dist):
            yield entry


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
