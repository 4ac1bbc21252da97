"""``python -m bench``: see the README beside this file."""

from __future__ import annotations

import datetime as dt
import importlib.util
import math
import shlex
import signal
import sys
from pathlib import Path

import click

from bench.cases import ALL, Case
from bench.document import document as written
from bench.peers import Peer, all_peers
from bench.plots import draw
from bench.report import report
from bench.results import Results
from bench.running import Run

RESULTS = Path(__file__).parent / "results"
BUDGET = 150.0  # seconds of measuring in the quick form; the rest of its three minutes is for setting up


@click.group()
def main() -> None:
    """Our worker beside others."""


def cases_of(names: tuple[str, ...], quick: bool) -> list[Case]:
    known = [case for case in ALL.values() if not quick or case.quick is not None]
    if unknown := set(names) - {case.name for case in known}:
        raise click.UsageError(
            f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in known)}"
        )
    return [case for case in known if not names or case.name in names]


def peers_of(names: tuple[str, ...]) -> dict[str, Peer]:
    known = all_peers()
    if unknown := set(names) - set(known):
        raise click.UsageError(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return {name: peer for name, peer in known.items() if not names or name in names}


@main.command()
@click.option("--case", "cases", multiple=True, metavar="NAME", help=f"Of {', '.join(ALL)}; may be repeated.")
@click.option("--peer", "peers", multiple=True, metavar="NAME", help="May be repeated.")
@click.option("--rounds", type=click.IntRange(min=1), help="Instead of what each case has.")
@click.option("--quick", is_flag=True, help="Three minutes: fewer tasks, one round, what takes long left out.")
@click.option("--budget", type=click.FloatRange(min=0), help="Seconds, set-up apart; with --quick 150, else no bound.")
@click.option("--upgrade", is_flag=True, help="Bring the peers to their newest versions.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for results.json, report.md and the plots.")
def run(
    cases: tuple[str, ...],
    peers: tuple[str, ...],
    rounds: int | None,
    quick: bool,
    budget: float | None,
    upgrade: bool,
    out: Path | None,
) -> None:
    """Measure, and write down what was measured."""
    folder = out or RESULTS / f"{dt.datetime.now():%Y%m%d-%H%M%S}"  # noqa: DTZ005
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # servers and workers are ended then, too
    running = Run(
        peers=peers_of(peers),
        quick=quick,
        rounds=rounds,
        budget=budget if budget is not None else BUDGET if quick else math.inf,
        upgrade=upgrade,
        say=click.echo,
        keep=lambda results: results.write(folder / "results.json"),
    )
    results = running.execute(cases_of(cases, quick), command(sys.argv[1:]))
    told = report(results)
    (folder / "report.md").write_text(told, encoding="utf-8")
    click.echo(f"\n{told}")
    plot(results, folder)
    click.echo(f"in {folder}")


def command(arguments: list[str]) -> str:
    """How to repeat the run: its arguments without the place that the results went to."""
    out = [place for place, argument in enumerate(arguments) if argument == "--out"]
    kept = [one for place, one in enumerate(arguments) if place not in out and place - 1 not in out]
    return shlex.join(["python", "-m", "bench", *(one for one in kept if not one.startswith("--out="))])


def plot(results: Results, folder: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        click.echo("no plots: matplotlib is not installed (pip install --group bench)")
        return
    draw(results, folder)


@main.command()
@click.argument(
    "files", metavar="RESULTS.json...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True)
)
@click.option("--page", type=click.Path(path_type=Path), default=Path("docs/performance.md"), show_default=True)
def document(files: tuple[Path, ...], page: Path) -> None:
    """Write the page on performance from a run, or from several that had different cases."""
    results, *others = map(Results.read, files)
    for other in others:
        results.join(other)
    page.write_text(written(results), encoding="utf-8")


if __name__ == "__main__":
    main()
