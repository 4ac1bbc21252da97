"""``kernel check-plugin``: the conformance kit over plugins that are installed, for people who do not know pytest."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs
import click

from ..errors import KernelError, PluginNotFound, UsageError
from ..plugins.discovery import discover
from ..plugins.found import USABLE, Found, Kind
from ..plugins.loading import Plugins
from ..plugins.selection import choice
from ..suggestions import did_you_mean
from .invocation import Invocation
from .output import columns, echo_json

NEEDED = ("pytest", "hypothesis")
"""What the kit is written with."""
_TAIL = 3
"""How many lines of a check that did not come to its end are shown."""


@click.command("check-plugin")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--pools", is_flag=True, help="Check every installed pool.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@click.pass_obj
def command(invocation: Invocation, names: tuple[str, ...], *, pools: bool, as_json: bool) -> int:
    """Hold installed plugins to the contracts of the kernel, and list the promises kept and broken.

    NAME is a plugin as list-plugins shows it, or distribution:name. What it brings is run, every plugin in a process
    of its own, with time limits, dying processes and all; that takes up to some minutes. Exit code 0: all is kept; 1:
    a promise is broken. Settings that a step needs are given in the environment, as KERNEL_NAME.
    """
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(
            f"the conformance kit needs {' and '.join(missing)}, not installed here\n"
            "install what it is written with: pip install 'worker-kernel[testing]'"
        )
    rows = _rows(invocation, names, pools=pools)
    checks = []
    for row in rows:
        checks.append(_check(row, invocation))
        if not as_json:
            _print(checks[-1])
    broken = sum(check.count(kept=False) for check in checks)
    if as_json:
        kept = sum(check.count(kept=True) for check in checks)
        echo_json(plugins=[_record(check) for check in checks], kept=kept, broken=broken)
    return 1 if broken else 0


@attrs.frozen(kw_only=True)
class Subject:
    """One thing of a plugin, and what came out about it."""

    kind: str
    """``plugin``, ``pool``, ``step``, ``hub``, ``loop`` or ``policy``."""
    name: str
    """Its name."""
    unchecked: str
    """Why nothing was checked; empty: it was."""
    promises: list[dict[str, Any]] = attrs.field(factory=list)
    """By promise: ``test``, ``promise``, ``kept``, ``cases`` and ``why``."""


@attrs.frozen(kw_only=True)
class Check:
    """What came out about one plugin."""

    row: Found
    """The plugin."""
    subjects: list[Subject] = attrs.field(factory=list)
    """What it brings."""

    def count(self, *, kept: bool) -> int:
        """Return how many promises are kept, or broken."""
        return sum(promise["kept"] is kept for subject in self.subjects for promise in subject.promises)


def _rows(invocation: Invocation, names: Sequence[str], *, pools: bool) -> list[Found]:
    """Return the plugins to check.

    Raises:
        PluginNotFound: one of them is not installed, or switched off.
        PluginError: one of them is broken, incompatible or in conflict.
        UsageError: none was named.
    """
    selection, _ = choice(safe_mode=invocation.safe_mode)
    found = selection.apply(discover())
    wanted = list(names)
    if pools:
        wanted += [row.name for row in found if row.kind is Kind.POOL and row.status in USABLE]
    if not wanted:
        known = ", ".join(dict.fromkeys(row.name for row in found if row.value))
        raise UsageError(f"no plugin was named\nname some of: {known}; or check all pools: --pools")
    chosen = []
    for name in dict.fromkeys(wanted):
        dist, _, short = name.rpartition(":")
        rows = [row for row in found if row.name == short and dist in ("", row.dist) and row.value]
        if not rows:
            known_names = {row.name for row in found if row.value}
            raise PluginNotFound(
                f"no plugin named {name!r} is installed{did_you_mean(name, known_names)}\n"
                "kernel list-plugins shows what is installed"
            )
        rows.sort(key=lambda row: (row.status in USABLE, row.kind is Kind.COMMAND))
        if rows[0].status not in USABLE:
            raise Plugins().unusable(rows[0])
        chosen.append(attrs.evolve(rows[0], name=name))
    return chosen


def _check(row: Found, invocation: Invocation) -> Check:
    """Check one plugin in a process of its own.

    Raises:
        KernelError: the check did not come to its end.
    """
    check = Check(row=row)
    with tempfile.TemporaryDirectory(prefix="kernel-check-") as folder, _child(row, Path(folder)) as child:
        assert child.stdout is not None  # noqa: S101  (a pipe)
        over, cases = False, 0
        for line in child.stdout:
            event = json.loads(line)
            what = event.pop("event")
            if what == "subject":
                check.subjects.append(Subject(**event))
            elif what == "verdict":
                check.subjects[-1].promises.append(event)
            elif what == "case":
                cases += 1
                _progress(f"{row.name}: {cases} cases")
            over = over or what == "over"
        _progress("")
        child.wait()
        if not over:
            said = (Path(folder) / "stderr").read_text(errors="replace").strip().splitlines()[-_TAIL:]
            raise KernelError(f"the check of {row.label} ended early, with code {child.returncode}\n" + "\n".join(said))
    return check


@contextmanager
def _child(row: Found, folder: Path) -> Iterator[subprocess.Popen[str]]:
    from ..testing.patched import python_for

    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    patch = row.name.rpartition(":")[2] if row.patch else ""
    with (folder / "stderr").open("wb") as errors:
        child = subprocess.Popen(  # noqa: S603  (our own module)
            [*python_for(patch), "worker_kernel.testing.checking", row.name],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with child:
            try:
                yield child
            except BaseException:
                child.terminate()
                raise


def _progress(text: str, stream: IO[str] | None = None) -> None:
    """Say on a terminal how far it is, on one line that is written over."""
    stream = stream or sys.stderr
    if stream.isatty():
        stream.write(f"\r\033[K{text}")
        stream.flush()


def _print(check: Check) -> None:
    rows = [("VERDICT", "OF", "PROMISE")]
    for subject in check.subjects:
        of = f"{subject.kind} {subject.name}"
        if subject.unchecked:
            rows.append(("unchecked", of, subject.unchecked))
        rows += [("kept" if promise["kept"] else "BROKEN", of, promise["promise"]) for promise in subject.promises]
    for line in columns(rows):
        click.echo(line)
    for subject in check.subjects:
        for promise in (promise for promise in subject.promises if not promise["kept"]):
            click.echo(f"\nBROKEN: {subject.kind} {subject.name}: {promise['promise']}")
            for line in promise["why"].splitlines():
                click.echo(f"  {line}")
    kept, broken = check.count(kept=True), check.count(kept=False)
    click.echo(f"\n{check.row.label}: {kept} promises kept, {broken or 'none'} broken\n")


def _record(check: Check) -> dict[str, object]:
    return {
        "name": check.row.name,
        "dist": check.row.dist,
        "version": check.row.version,
        "kept": check.count(kept=True),
        "broken": check.count(kept=False),
        "subjects": [attrs.asdict(subject) for subject in check.subjects],
    }
