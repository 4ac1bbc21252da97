"""Whether what a distribution requires is there, evaluated from metadata (PEP 508 and PEP 440)."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import attrs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .found import Status

KERNEL = "worker-kernel"


@attrs.frozen(kw_only=True)
class Lack:
    """Why a distribution cannot be used."""

    status: Status
    """Incompatible (kernel, Python), unavailable (anything else), or broken (a line that cannot be understood)."""
    reason: str
    """For example ``gevent: not installed``."""
    remedy: str
    """For example ``pip install 'gevent>=24'``."""


def lack(
    dist: str, requires: tuple[str, ...], requires_python: str, installed: Mapping[str, str], kernel: str
) -> Lack | None:
    """Return the gravest lack of a distribution, or None where everything that it requires is there.

    Extras are left out: they are what the user may want, not what the plugin needs.

    Args:
        dist: the distribution's name, for the remedy.
        requires: its ``Requires-Dist`` lines.
        requires_python: its ``Requires-Python`` line, or empty.
        installed: version by normalised name of what is installed.
        kernel: the version of the running kernel; empty where it is not known and cannot be judged.
    """
    lacks = [_python(dist, requires_python)] if requires_python else []
    for line in requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            lacks.append(
                Lack(status=Status.BROKEN, reason=f"its METADATA has no valid requirement: {line}", remedy=_again(dist))
            )
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            lacks.append(_unmet(dist, requirement, installed, kernel))
    order = (Status.BROKEN, Status.INCOMPATIBLE, Status.UNAVAILABLE)
    found = sorted((entry for entry in lacks if entry), key=lambda entry: order.index(entry.status))
    return found[0] if found else None


def _unmet(dist: str, requirement: Requirement, installed: Mapping[str, str], kernel: str) -> Lack | None:
    name = canonicalize_name(requirement.name)
    if name == KERNEL:
        if not kernel or _holds(requirement.specifier, kernel):
            return None
        return Lack(
            status=Status.INCOMPATIBLE,
            reason=f"{KERNEL} {kernel} installed, needs {requirement.specifier}",
            remedy=f"pip install --upgrade {dist}, or a {KERNEL} that it names",
        )
    wanted = f"{requirement.name}{requirement.specifier}"
    remedy = f"pip install '{wanted}'" if requirement.specifier else f"pip install {wanted}"
    if name not in installed:
        return Lack(status=Status.UNAVAILABLE, reason=f"{requirement.name}: not installed", remedy=remedy)
    version = installed[name]
    if requirement.specifier and not _holds(requirement.specifier, version):
        reason = f"{requirement.name} {version or 'of unknown version'} installed, needs {requirement.specifier}"
        return Lack(status=Status.UNAVAILABLE, reason=reason, remedy=remedy)
    return None


def _python(dist: str, wanted: str) -> Lack | None:
    running = platform.python_version()
    try:
        if _holds(SpecifierSet(wanted), running):
            return None
    except InvalidSpecifier:
        return Lack(
            status=Status.BROKEN, reason=f"its METADATA requires no valid Python: {wanted}", remedy=_again(dist)
        )
    reason = f"Python {running} is running, needs {wanted}"
    return Lack(status=Status.INCOMPATIBLE, reason=reason, remedy=f"pip install --upgrade {dist}, or another Python")


def _holds(specifier: SpecifierSet, version: str) -> bool:
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _again(dist: str) -> str:
    return f"pip install --force-reinstall {dist}"
