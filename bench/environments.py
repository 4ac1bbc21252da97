"""A virtual environment for each peer, with the newest versions that the package index has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers import Peer

FOLDER = Path(__file__).parent / ".peers"
NEWER = ("python3.14", "python3.13", "python3.12")
INSTALLING = 600.0  # seconds
BENEATH = {"billiard", "gevent", "hiredis", "kombu", "redis"}
LISTING = """
import importlib.metadata, json, platform
found = {one.metadata["Name"].lower(): one.version for one in importlib.metadata.distributions()}
print(json.dumps({**found, "python": platform.python_version()}))
"""


class NotInstalled(Exception):
    """A peer that cannot be had here, and why."""


def prepared(peer: Peer, upgrade: bool) -> Path:
    """The folder of the programs of the peer's environment, made and filled where it is not.

    Args:
        peer: Whose environment.
        upgrade: Whether what is installed is brought to the newest versions.

    Raises:
        NotInstalled: There is no Python for it, or pip has failed; with the reason.
    """
    if not (peer.requires or peer.is_checkout):
        return Path(sys.executable).parent
    requires = (*peer.requires, *checkout()) if peer.is_checkout else peer.requires
    home = FOLDER / peer.name
    stamp = home / "requires"
    wanted = "\n".join(requires)
    fresh = stamp.exists() and stamp.read_text(encoding="utf-8") == wanted
    if fresh and not upgrade:
        return home / "bin"
    _run(python_for(peer.python), "-m", "venv", str(home))
    pre = ["--pre"] if peer.prereleases else []
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--upgrade")
    _run(str(home / "bin" / "python"), *pip, *pre, *requires)
    stamp.write_text(wanted, encoding="utf-8")
    return home / "bin"


def checkout() -> list[str]:
    """What pip is given to install the distributions of this checkout in place."""
    root = FOLDER.parents[1]
    projects = sorted(root.glob("core/pyproject.toml")) + sorted(root.glob("plugins/**/pyproject.toml"))
    return [argument for project in projects for argument in ("--editable", str(project.parent))]


def python_for(oldest: tuple[int, int]) -> str:
    """A Python that is at least that new: the one that runs the bench, or one on the PATH or of pyenv."""
    if sys.version_info >= oldest:
        return str(Path(sys.base_prefix) / "bin" / "python3")
    places = [shutil.which(name) for name in NEWER]
    places += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"), key=_release)][::-1]
    for place in places:
        if place is not None and _version(place) >= oldest:
            return place
    raise NotInstalled(f"needs Python {oldest[0]}.{oldest[1]} or newer, and none was found")


def _release(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parents[1].name)]


def _version(program: str) -> tuple[int, ...]:
    command = [program, "-c", "import sys; print(*sys.version_info[:2])"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return tuple(int(number) for number in done.stdout.split()) if not done.returncode else (0,)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALLING)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise NotInstalled(f"{' '.join(command[1:4])}: {errors[-1] if errors else done.returncode}")


def versions(peer: Peer, programs: Path) -> dict[str, str]:
    """Distribution -> version, of the Python and of what was asked for; in our own, of what is ours and below it."""
    done = subprocess.run(
        [str(programs / "python"), "-c", LISTING], capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, str] = json.loads(done.stdout)
    names = {re.split(r"[\[<>=]", name)[0].lower() for name in peer.requires} | (BENEATH if peer.is_checkout else set())
    return {name: found[name] for name in sorted(found) if name in names | {"python"} or _ours(peer, name)}


def _ours(peer: Peer, name: str) -> bool:
    return peer.is_checkout and name.startswith("worker-")
