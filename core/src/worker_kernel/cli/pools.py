"""``kernel pools``: the installed pools side by side, from what each declares."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import click

from ..capabilities import OPTIONS, Capabilities, Support
from ..choosing import hosted as hosted_spec
from ..options import can
from ..plugins.loading import Plugins
from ..pool import PoolSpec
from .invocation import Invocation
from .output import columns, echo_json, writable

FEATURES = (
    "True Parallelism",
    "CPU-Bound Tasks",
    "I/O-Bound Tasks",
    "Memory Efficiency",
    "Concurrency Scale",
    "Time Limits",
    "Process Isolation",
    "Autoscaling",
    "Windows Support",
    "Debugging",
)
"""The rows of the feature comparison."""


@click.command("pools")
@click.option("--hosted", is_flag=True, help="Compare the pools as they run with --processes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone.")
@click.pass_obj
def command(invocation: Invocation, as_json: bool, hosted: bool) -> None:
    """Compare the installed pools: what each is good at, and how it deals with each option.

    native: the pool does it itself; emulated: the worker reaches the same effect by other means; refused: asking for
    it is an error at boot.
    """
    plugins = Plugins.load(safe_mode=invocation.safe_mode)
    for warning in plugins.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        echo_json(pools=[_record(spec, plugins) for spec in plugins.pools.values()])
        return
    specs = {name: spec for name, spec in _shown(plugins, hosted=hosted).items() if spec is not None}
    if not specs:
        install = "prefork" if plugins.pools else "threads"
        what = "no pool is installed that could host others" if plugins.pools else "no pool is installed"
        click.echo(f"{what}; install one: pip install worker-pool-{install}")
        return
    for line in _table("FEATURE", {name: features(spec.capabilities) for name, spec in specs.items()}):
        click.echo(line)
    click.echo()
    for line in _table("OPTION", {name: answers(spec, plugins) for name, spec in specs.items()}):
        click.echo(line)
    click.echo()
    for line in columns([("POOL", "SUMMARY"), *((name, spec.summary) for name, spec in specs.items())]):
        click.echo(line)


def _shown(plugins: Plugins, *, hosted: bool) -> dict[str, PoolSpec | None]:
    return {name: hosted_spec(spec, plugins) if hosted else spec for name, spec in plugins.pools.items()}


def answers(spec: PoolSpec, plugins: Plugins) -> dict[str, str]:
    """Return how a pool deals with each option; ``processes`` is emulated where another pool can host it."""
    found = {option: str(spec.capabilities.supports(option)) for option in OPTIONS}
    if not can(spec.capabilities, "processes") and hosted_spec(spec, plugins) is not None:
        found["processes"] = str(Support.EMULATED)
    return found


def features(capabilities: Capabilities) -> dict[str, str]:
    """Return the rows of the feature comparison for one pool, in its words."""
    return {
        "True Parallelism": _parallelism(capabilities),
        "CPU-Bound Tasks": capabilities.cpu_bound,
        "I/O-Bound Tasks": capabilities.io_bound,
        "Memory Efficiency": capabilities.memory_efficiency,
        "Concurrency Scale": capabilities.concurrency_scale,
        "Time Limits": _limits(capabilities),
        "Process Isolation": _mark(capabilities.process_isolation),
        "Autoscaling": _mark(capabilities.resize is not Support.REFUSED),
        "Windows Support": _mark(capabilities.windows),
        "Debugging": capabilities.debugging,
    }


def _parallelism(capabilities: Capabilities) -> str:
    """A pool of real threads has the lock to thank for running one at a time; the others run one at a time anyway."""
    mark = _mark(capabilities.true_parallelism)
    threads = capabilities.concurrency is not Support.REFUSED and not capabilities.is_green
    return mark if capabilities.true_parallelism or not threads else f"{mark} (GIL)"


def _limits(capabilities: Capabilities) -> str:
    hard, soft = (limit is not Support.REFUSED for limit in (capabilities.time_limit, capabilities.soft_time_limit))
    return "Hard+Soft" if hard and soft else "Hard only" if hard else "Soft only" if soft else "None"


def _mark(yes: bool) -> str:
    return writable("✓", "yes") if yes else writable("✗", "no")


def _table(head: str, cells: Mapping[str, Mapping[str, str]]) -> list[str]:
    rows = list(next(iter(cells.values())))
    return columns([(head, *cells), *((row, *(column[row] for column in cells.values())) for row in rows)])


def _record(spec: PoolSpec, plugins: Plugins) -> dict[str, object]:
    inside = hosted_spec(spec, plugins)
    return {
        "name": spec.name,
        "class": spec.cls,
        "summary": spec.summary,
        **_declared(spec, plugins),
        "hosted": None if inside is None else _declared(inside, plugins),
    }


def _declared(spec: PoolSpec, plugins: Plugins) -> dict[str, object]:
    return {
        "features": features(spec.capabilities),
        "options": answers(spec, plugins),
        "capabilities": attrs.asdict(spec.capabilities, recurse=False),
    }
