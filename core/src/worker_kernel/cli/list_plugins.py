"""``kernel list-plugins``: what is installed, whether it can be used, and what to do where it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import click

from .. import configfile, patching
from ..plugins.discovery import discover, kernel_version
from ..plugins.found import FAULTY, Found, Kind, Status
from ..plugins.hints import ALIASES
from ..plugins.probe import LIMIT, Probe, after, probe
from ..plugins.selection import Selection, choice
from .invocation import Invocation
from .output import SCHEMA, columns

HEADINGS = ("NAME", "KIND", "VERSION", "FROM", "STATUS", "WHY")


@click.command("list-plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")
@click.option(
    "--load",
    is_flag=True,
    help="Import the plugins in this process and list what they declare. One that ends the process or hangs does so: "
    "with --probe, such are found out first and left alone.",
)
@click.option(
    "--probe", "probing", is_flag=True, help="Import each plugin in a process of its own and say how it went."
)
@click.option(
    "--probe-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=LIMIT,
    show_default=True,
    metavar="SECONDS",
    help="How long an import may take under --probe.",
)
@click.option("--check", is_flag=True, help="Exit with 1 if any is broken, in conflict, incompatible or missing.")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="List only plugins of this kind.")
@click.option("-P", "--pool", metavar="POOL", help="The pool that a worker would be given.")
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    as_json: bool,
    load: bool,
    probing: bool,
    probe_limit: float,
    check: bool,
    kind: str | None,
    pool: str | None,
) -> None:
    """List the plugins with their status, its reason and what to do about it.

    Reads metadata only: without --load and --probe, no plugin is imported.
    """
    selection, problems = choice(safe_mode=invocation.safe_mode)
    found = discover()
    for sentence in (*problems, *selection.idle(found)):
        click.echo(f"Warning: {sentence}", err=True)
    rows = [Listed(found=row) for row in _with_pool(selection, pool, found).apply(found)]
    if probing:
        rows = [_probed(row, probe_limit) for row in rows]
    if load:
        rows = _loaded(rows)
    shown = [row for row in rows if kind in (None, row.found.kind.value)]
    if as_json:
        click.echo(json.dumps(document(shown, kernel_version()), indent=2))
    else:
        _print(shown)
    if check and any(row.found.status in FAULTY for row in shown):
        raise SystemExit(1)


@attrs.frozen(kw_only=True)
class Listed:
    """One line of the list."""

    found: Found
    """The plugin."""
    probe: Probe | None = None
    """What importing it did; None: it was not probed."""


def document(rows: Iterable[Listed], kernel: str) -> dict[str, object]:
    """Return what ``--json`` prints. Keys are only ever added; ``schema`` is raised should one change its meaning."""
    return {"schema": SCHEMA, "kernel": kernel, "plugins": [_as_json(row) for row in rows]}


def _as_json(row: Listed) -> dict[str, object]:
    found = row.found
    return {
        "name": found.name,
        "kind": found.kind.value,
        "value": found.value,
        "dist": found.dist,
        "version": found.version,
        "summary": found.summary,
        "patch": found.patch,
        "origin": found.origin,
        "editable": found.editable,
        "status": found.status.value,
        "reason": found.reason,
        "remedy": found.remedy,
        "declares": None if found.declares is None else {key: list(names) for key, names in found.declares.items()},
        "probe": None if row.probe is None else attrs.asdict(row.probe),
    }


def _with_pool(selection: Selection, pool: str | None, found: Sequence[Found]) -> Selection:
    """Return the selection that also demands the pool which a worker would be given, if anybody names one."""
    given = f"-P {pool}"
    if pool is None:
        pool, given = os.environ.get(patching.VARIABLE), patching.VARIABLE
    if not pool:
        file = configfile.read(Path())
        value = file.values.get(patching.KEY)
        pool, given = (value, file.location(patching.KEY)) if isinstance(value, str) else (None, "")
    if not pool:
        return selection
    pool = ALIASES.get(pool, pool)
    demanding = selection.wanting([pool], kind=Kind.POOL, given=given)
    is_class = ":" in pool and not any(demanding.required(row) for row in found)
    return selection if is_class else demanding


def _probed(row: Listed, limit: float) -> Listed:
    found = row.found
    if not found.value or found.status is Status.DISABLED:
        return row
    result = probe(found.value, limit=limit)
    return Listed(found=after(found, result), probe=result)


def _loaded(rows: Sequence[Listed]) -> list[Listed]:
    from ..plugins.quarantine import load_all

    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints at import is no part of the list
        outcome = load_all([row.found for row in rows])
    probes = {(row.found.dist, row.found.kind, row.found.name, row.found.value): row.probe for row in rows}
    return [Listed(found=new, probe=probes.get((new.dist, new.kind, new.name, new.value))) for new in outcome.rows]


def _print(rows: Sequence[Listed]) -> None:
    table = [HEADINGS, *(_cells(row) for row in rows)]
    if sys.stdout.isatty():
        _print_rich(table)
        return
    encoding = sys.stdout.encoding or "utf-8"
    for line in columns(table):
        click.echo(line.encode(encoding, errors="replace").decode(encoding))


def _print_rich(table: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(*table[0], box=None, pad_edge=False)
    for line in table[1:]:
        colour = {Status.LOADED: "green", Status.SELECTED: "green", Status.DISABLED: "dim"}.get(Status(line[4]), "")
        style = "red" if Status(line[4]) in FAULTY | {Status.UNAVAILABLE} else colour
        shown.add_row(*(Text(cell, style=style if column == 4 else "") for column, cell in enumerate(line)))
    Console().print(shown)


def _cells(row: Listed) -> tuple[str, ...]:
    found = row.found
    notes = [note for note in ("editable" if found.editable else "", found.origin) if note]
    source = f"{found.dist} ({', '.join(notes)})" if notes else found.dist
    return (found.name, found.kind.value, found.version, source, found.status.value, _why(row))


def _why(row: Listed) -> str:
    found = row.found
    parts = [f"{found.reason} ({found.remedy})" if found.reason and found.remedy else found.reason or found.remedy]
    if found.patch:
        parts.append(f"patches: {found.patch}")
    if found.declares is not None:
        parts += [f"{key}: {', '.join(names)}" for key, names in found.declares.items() if names and key != "hooks"]
    if row.probe is not None:
        parts.append(_probe_words(row.probe, found))
    return "; ".join(part for part in parts if part)


def _probe_words(result: Probe, found: Found) -> str:
    if result.seconds is None:
        return "" if result.message == found.reason else f"probe: {result.message}"
    words = [f"imported in {result.seconds:.2f} s", _count(result.modules, "module")]
    if result.threads:
        words.append(_count(result.threads, "thread"))
    return ", ".join(words)


def _count(number: int | None, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
