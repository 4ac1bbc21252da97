"""Whether what a distribution requires is there, evaluated from metadata (PEP 508 and PEP 440).

`packaging` judges; it is imported where a line, or a version, is not as plain as nearly all are.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

import attrs

from .found import Status
from .plainversions import holds, normalized, of_extra, plain

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
        if of_extra(line):
            continue
        simple = plain(line)
        if simple is not None:
            lacks.append(_unmet(dist, *simple, installed, kernel))
            continue
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            lacks.append(
                Lack(status=Status.BROKEN, reason=f"its METADATA has no valid requirement: {line}", remedy=_again(dist))
            )
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            lacks.append(_unmet(dist, requirement.name, str(requirement.specifier), installed, kernel))
    order = (Status.BROKEN, Status.INCOMPATIBLE, Status.UNAVAILABLE)
    found = sorted((entry for entry in lacks if entry), key=lambda entry: order.index(entry.status))
    return found[0] if found else None


def _unmet(dist: str, required: str, specifiers: str, installed: Mapping[str, str], kernel: str) -> Lack | None:
    name = normalized(required)
    version = kernel if name == KERNEL else installed.get(name)
    if (version is not None and (not specifiers or _holds(specifiers, version))) or (name == KERNEL and not kernel):
        return None
    from packaging.specifiers import SpecifierSet

    needed = str(SpecifierSet(specifiers))
    if name == KERNEL:
        return Lack(
            status=Status.INCOMPATIBLE,
            reason=f"{KERNEL} {kernel} installed, needs {needed}",
            remedy=f"pip install --upgrade {dist}, or a {KERNEL} that it names",
        )
    remedy = f"pip install '{required}{needed}'" if needed else f"pip install {required}"
    if version is None:
        return Lack(status=Status.UNAVAILABLE, reason=f"{required}: not installed", remedy=remedy)
    reason = f"{required} {version or 'of unknown version'} installed, needs {needed}"
    return Lack(status=Status.UNAVAILABLE, reason=reason, remedy=remedy)


def _python(dist: str, wanted: str) -> Lack | None:
    running = platform.python_version()
    judged = holds(wanted, running)
    if judged is None:
        from packaging.specifiers import InvalidSpecifier

        try:
            judged = _holds(wanted, running)
        except InvalidSpecifier:
            return Lack(
                status=Status.BROKEN, reason=f"its METADATA requires no valid Python: {wanted}", remedy=_again(dist)
            )
    if judged:
        return None
    reason = f"Python {running} is running, needs {wanted}"
    return Lack(status=Status.INCOMPATIBLE, reason=reason, remedy=f"pip install --upgrade {dist}, or another Python")


def _holds(specifiers: str, version: str) -> bool:
    """Whether a version is as they want it. Raises `InvalidSpecifier`."""
    judged = holds(specifiers, version) if specifiers else None
    if judged is not None:
        return judged
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        return SpecifierSet(specifiers).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _again(dist: str) -> str:
    return f"pip install --force-reinstall {dist}"
