"""``kernel graph``: the steps of a worker in the order in which they start, and why."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping

import attrs
import click

from ..blueprint import Blueprint
from ..bootsteps import BlueprintName
from ..errors import UsageError
from ..graph import Edge, EdgeKind, Order
from ..plugins.discovery import kernel_version
from ..plugins.loading import Plugins
from ..suggestions import did_you_mean
from ..worker import Worker
from .invocation import Invocation
from .output import SCHEMA


@attrs.frozen(kw_only=True)
class Drawing:
    """One blueprint, ready to be drawn."""

    name: BlueprintName
    """Which one."""
    order: Order
    """The steps that take part."""
    owners: Mapping[str, str]
    """The distribution that declares each of them."""

    def arrows(self) -> list[Edge]:
        """Return one edge, the weightiest, for each two steps of which one waits for the other, in start order."""
        weight = list(EdgeKind)
        kept: dict[tuple[str, str], Edge] = {}
        for edge in sorted(self.order.edges, key=lambda edge: weight.index(edge.kind)):
            kept.setdefault((edge.first, edge.then), edge)
        place = {name: number for number, name in enumerate(self.order.names)}
        return sorted(kept.values(), key=lambda edge: (place[edge.first], place[edge.then]))


@click.command("graph")
@click.option(
    "--blueprint",
    type=click.Choice(["worker", "consumer", "all"]),
    default="all",
    show_default=True,
    help="Which steps: the worker's, built once, or the consumer's, built anew for each connection.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "dot", "mermaid", "json"]),
    default="text",
    show_default=True,
    help="How to draw.",
)
@click.option("--why", metavar="STEP", help="Explain one step: what it waits for, what waits for it, who asked.")
@click.option("-P", "--pool", metavar="POOL", help="The pool.")
@click.pass_obj
def command(invocation: Invocation, *, blueprint: str, form: str, why: str | None, pool: str | None) -> None:
    """Draw the steps that a worker would start, in their order. Nothing is connected or started.

    What takes part may depend on the pool, on the broker and on settings; without -A, a bare application is assumed.
    """
    given = dict(invocation.settings)
    if pool is not None:
        given["worker_pool"] = ("-P", pool)
    worker = _worker(invocation.app, given, safe_mode=invocation.safe_mode)
    names = list(BlueprintName) if blueprint == "all" else [BlueprintName(blueprint)]
    drawings = [_drawing(name, worker) for name in names]
    if why is not None:
        click.echo(explain(why, drawings))
    else:
        click.echo(_DRAWERS[form](drawings))


def _worker(app_name: str | None, command_line: Mapping[str, tuple[str, object]], *, safe_mode: bool) -> Worker:
    """Put a worker together as `kernel worker` does, as far as its steps depend on it."""
    from ..boot import prepare
    from ..choosing import choose_pool
    from ..core_settings import CORE_SETTINGS
    from ..platforms import current
    from ..sources import read_settings
    from ..tasks.app import App

    plugins = Plugins.load(safe_mode=safe_mode)
    if app_name:
        with contextlib.redirect_stdout(sys.stderr):  # what the application prints is no part of the picture
            boot = prepare(app_name, plugins=plugins, command_line=command_line)
        return Worker(boot.app, boot.settings, plugins, pool=boot.pool, platform=boot.platform)
    settings, _ = read_settings([*CORE_SETTINGS, *plugins.settings], command_line=command_line)
    platform = current()
    spec, _ = choose_pool(settings, plugins, platform)
    return Worker(App("graph"), settings, plugins, pool=spec, platform=platform)


def _drawing(name: BlueprintName, worker: Worker) -> Drawing:
    steps = worker.plugins.steps
    blueprint = worker.blueprint if name is BlueprintName.WORKER else Blueprint(name, steps, worker)
    owners = {step.name: step.owner for step in steps if step.blueprint is name and step.name in blueprint.order}
    return Drawing(name=name, order=blueprint.resolved, owners=owners)


def explain(step: str, drawings: Iterable[Drawing]) -> str:
    """Return in words what ``step`` waits for, what waits for it, and who asked.

    Raises:
        UsageError: no blueprint has such a step.
    """
    drawings = tuple(drawings)
    for drawing in drawings:
        if step not in drawing.order.names:
            continue
        place = drawing.order.names.index(step) + 1
        of = f"{place} of {len(drawing.order.names)} in the {drawing.name} blueprint"
        lines = [f"{step} of {drawing.owners[step]} starts as number {of}"]
        lines += [f"  {edge}" for edge in drawing.order.edges if edge.then == step]
        lines += [f"  {edge}" for edge in drawing.order.edges if edge.first == step and edge.kind is not EdgeKind.LAST]
        if len(lines) == 1:
            lines.append("  nothing is said about its place: it starts by name")
        return "\n".join(lines)
    known = [name for drawing in drawings for name in drawing.order.names]
    raise UsageError(f"no step {step!r} takes part{did_you_mean(step, known)}\nsteps: {', '.join(known)}")


def _text(drawings: Iterable[Drawing]) -> str:
    blocks = []
    for drawing in drawings:
        width = max((len(name) for name in drawing.order.names), default=0)
        lines = [f"{drawing.name}:"]
        for number, name in enumerate(drawing.order.names, start=1):
            waits = [edge for edge in drawing.order.edges if edge.then == name and edge.kind is not EdgeKind.LAST]
            words = [f"{edge.kind} {edge.first}" for edge in waits if edge.kind is not EdgeKind.BEFORE]
            words += [f"{edge.first} asked to be before it" for edge in waits if edge.kind is EdgeKind.BEFORE]
            if any(edge.then == name and edge.kind is EdgeKind.LAST for edge in drawing.order.edges):
                words.append("last")
            lines.append(f"  {number}. {name.ljust(width)}  {drawing.owners[name]}  {', '.join(words)}".rstrip())
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _dot(drawings: Iterable[Drawing]) -> str:
    lines = ["digraph kernel {", "  rankdir=LR;"]
    for drawing in drawings:
        lines.append(f"  subgraph {_quoted(f'cluster_{drawing.name}')} {{")
        lines.append(f"    label={_quoted(drawing.name)};")
        lines += [
            f"    {_quoted(f'{drawing.name}.{name}')} [label={_quoted(name)}, tooltip={_quoted(drawing.owners[name])}];"
            for name in drawing.order.names
        ]
        lines += [
            f"    {_quoted(f'{drawing.name}.{edge.first}')} -> {_quoted(f'{drawing.name}.{edge.then}')} "
            f"[label={_quoted(edge.kind)}{'' if edge.kind is EdgeKind.REQUIRES else ', style=dashed'}];"
            for edge in drawing.arrows()
        ]
        lines.append("  }")
    return "\n".join([*lines, "}"])


def _mermaid(drawings: Iterable[Drawing]) -> str:
    lines = ["flowchart LR"]
    for drawing in drawings:
        # Mermaid's own words, such as "end", are no identifiers: steps go by number.
        ids = {name: f"{drawing.name}{number}" for number, name in enumerate(drawing.order.names, start=1)}
        lines.append(f"  subgraph {drawing.name}_blueprint [{drawing.name}]")
        lines += [f"    {ids[name]}[{_quoted(name)}]" for name in drawing.order.names]
        lines += [
            f"    {ids[edge.first]} {'-->' if edge.kind is EdgeKind.REQUIRES else '-.->'}|{edge.kind}| {ids[edge.then]}"
            for edge in drawing.arrows()
        ]
        lines.append("  end")
    return "\n".join(lines)


def _json(drawings: Iterable[Drawing]) -> str:
    return json.dumps(document(drawings, kernel_version()), indent=2)


def document(drawings: Iterable[Drawing], kernel: str) -> dict[str, object]:
    """Return what ``--format json`` prints. Keys are only ever added."""
    return {
        "schema": SCHEMA,
        "kernel": kernel,
        "blueprints": [
            {
                "name": drawing.name.value,
                "steps": [{"name": name, "owner": drawing.owners[name]} for name in drawing.order.names],
                "waves": [list(wave) for wave in drawing.order.waves],
                "edges": [_edge(edge) for edge in drawing.order.edges],
            }
            for drawing in drawings
        ],
    }


def _edge(edge: Edge) -> dict[str, str]:
    return {"first": edge.first, "then": edge.then, "kind": edge.kind.value, "owner": edge.owner}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_DRAWERS: Mapping[str, Callable[[Iterable[Drawing]], str]] = {
    "text": _text,
    "dot": _dot,
    "mermaid": _mermaid,
    "json": _json,
}
