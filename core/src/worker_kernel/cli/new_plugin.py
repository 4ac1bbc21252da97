"""``kernel new-plugin``: writes a distribution with a plugin, which installs and keeps its contract as it stands."""

from __future__ import annotations

import importlib.metadata
import keyword
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ..errors import UsageError
from ..hookspecs import CONTRACT
from ..plugins.discovery import discover, kernel_version
from ..plugins.hints import ALIASES

TEMPLATES = Path(__file__).parents[1] / "templates"
"""A folder for each kind, and ``common``; a file's path there is its path in the distribution."""
SUFFIX = ".tmpl"
"""What keeps tools from taking templates for code."""
_ARTICLES = {"pool": "a pool", "step": "a step", "autoscaler": "an autoscaling policy"}
KINDS = tuple(_ARTICLES)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_OURS = re.compile(r"worker-(kernel|hub|loops|autoscale|pool-.*|broker-.*)")


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What the plugin is to bring.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write it; must not exist, or be empty. By default a folder NAME here.",
)
def command(name: str, *, kind: str, directory: Path | None) -> None:
    """Write a new plugin: a distribution called NAME, with its contract test, README and CI file.

    As it is written it installs, works, and keeps every promise that is tested. What it does is then yours to change.
    """
    dist = checked_name(name)
    target = directory or Path(dist)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists already, and nothing there is overwritten\nname another place: --directory")
    written = write(dist, kind, target)
    click.echo(f"{target}: {_ARTICLES[kind]} for worker-kernel")
    for path in written:
        click.echo(f"  {path}")
    click.echo(f"install and test it:\n  cd {target}\n  pip install --editable '.[test]'\n  pytest")


def checked_name(name: str) -> str:
    """Return the name of the distribution, normalised.

    Raises:
        UsageError: it can be no distribution's name, or is taken: as a package, a plugin, or one of ours.
    """
    rule = "letters and digits, with single hyphens between them, beginning with a letter: acme-pool"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a distribution\nwrite {rule}")
    dist = str(canonicalize_name(name))
    package = package_of(dist)
    if keyword.iskeyword(package) or package in sys.stdlib_module_names:
        raise UsageError(f"{name!r} would be imported as {package!r}, which Python keeps for itself\nadd a word to it")
    if _OURS.fullmatch(dist):
        raise UsageError(f"{dist!r} is a name of worker-kernel's own distributions\nbegin with a word of yours: acme-")
    taken = next((row for row in discover() if dist in (row.name, canonicalize_name(row.dist))), None)
    if taken is not None:
        raise UsageError(f"{dist!r} is taken by {taken.kind} {taken.label}\nchoose another name")
    if dist in ALIASES or package in importlib.metadata.packages_distributions():
        raise UsageError(f"{dist!r} is taken by something that is installed\nchoose another name")
    return dist


def package_of(dist: str) -> str:
    """Return the name under which a distribution's package is imported."""
    return dist.replace("-", "_")


def write(dist: str, kind: str, target: Path) -> list[Path]:
    """Write a distribution and return the paths of its files below ``target``, sorted.

    Args:
        dist: its name, normalised.
        kind: one of `KINDS`.
        target: the folder, which is made where it does not exist.
    """
    words = placed(dist)
    written = []
    for path, text in sorted(templates(kind)):
        relative = Path(*(words["package"] if part == "package" else part for part in path.parts))
        file = target / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_PLACE.sub(lambda match: words[match[1]], text), encoding="utf-8")
        written.append(relative)
    return written


def placed(dist: str) -> dict[str, str]:
    """Return what stands for each ``{{word}}`` of a template."""
    package = package_of(dist)
    return {
        "dist": dist,
        "name": dist,
        "package": package,
        "class": "".join(word.capitalize() for word in package.split("_")),
        "contract": str(CONTRACT),
        "kernel": _kernel_range(),
    }


def templates(kind: str) -> Iterator[tuple[Path, str]]:
    """Yield the relative path of each file of a kind, and its text with the places still open."""
    for folder in (TEMPLATES / "common", TEMPLATES / kind):
        for path in folder.rglob(f"*{SUFFIX}"):
            yield path.relative_to(folder).with_suffix(""), path.read_text(encoding="utf-8")


def _kernel_range() -> str:
    """Return the oldest kernel that the plugin may be used with: this one's minor release."""
    try:
        version = Version(kernel_version())
    except InvalidVersion:  # run from a bare checkout
        return "0.1"
    return f"{version.major}.{version.minor}"
