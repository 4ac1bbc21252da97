"""The tables of a run, as Markdown, which is also what a terminal shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.cases import ALL, Case
from bench.peers import Peer
from bench.results import Entry, Results
from bench.targets import FASTEST, TARGETS, compared, opponent

CELERY = "celery"
BUSY = 3.0  # load average for each core
EXTRAS = {
    "main_us": "CPU main, µs/task",
    "children_us": "CPU others, µs/task",
    "p95_ms": "p95, ms",
    "p99_ms": "p99, ms",
    "after_mb": "after the tasks, MB",
    "first_mb": "after a tenth, MB",
    "largest_mb": "largest, MB",
    "grown_mb": "grown by, MB",
    "ordinary_s": "an ordinary task then, s",
    "tasks": "tasks",
}


def number(value: float | None) -> str:
    """Three digits that count, and thousands apart."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, its first row the head: the first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(cells)} |")
    dashes = ["-" * width if not place else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return [lines[0], f"| {' | '.join(dashes)} |", *lines[1:]]


def reference(entries: dict[str, Entry], entry: Entry) -> float | None:
    """What Celery reaches in the same mode, or else in its prefork."""
    same = [one for one in entries.values() if one.peer == CELERY and one.variant == entry.variant]
    kin = [one for one in same if one.mode == entry.mode] or [one for one in same if one.mode == "prefork"] or same[:1]
    return kin[0].median() if kin else None


def ratio(value: float, other: float | None, case: Case) -> str:
    return "" if not other or not value else f"{compared(value, other, case.less_is_better):.2f}"


def measured(case: Case, entries: dict[str, Entry]) -> list[tuple[str, Entry]]:
    """Those with figures, the best first, then the floors."""
    known = [(name, one) for name, one in entries.items() if one.rounds]
    sign = 1 if case.less_is_better else -1
    return sorted(known, key=lambda pair: (pair[1].floor, sign * (pair[1].median() or 0)))


def case_table(case: Case, entries: dict[str, Entry]) -> list[str]:
    """One case: medians, spreads, and how many times as good as Celery and as the best peer."""
    known = measured(case, entries)
    extras = [name for name in EXTRAS if any(name in one.rounds[0] for _, one in known)]
    extras = [name for name in extras if name != "tasks"]
    best = opponent(entries, FASTEST, case.less_is_better)[1]
    rows = [["", case.unit, "least-most", "x Celery", "x best peer", *(EXTRAS[name] for name in extras)]]
    for name, one in known:
        value, (least, most) = one.median() or 0.0, one.spread()
        ratios = [ratio(value, reference(entries, one), case), ratio(value, best, case)]
        spread = f"{number(least)}-{number(most)}" if len(one.rounds) > 1 else ""
        rows.append([name, number(value), spread, *ratios, *(number(one.median(extra)) for extra in extras)])
    return table(rows) if known else []


def reasons(entries: dict[str, Entry]) -> list[str]:
    """Who has no figures, or not all, and why."""
    return [f"- {name}: {one.reason}" for name, one in entries.items() if one.reason]


def case_section(case: Case, entries: dict[str, Entry]) -> list[str]:
    lines = [f"## {case.title}", "", f"`--case {case.name}`", "", *case_table(case, entries)]
    if told := reasons(entries):
        lines += ["", *told]
    return [*lines, ""]


def targets_table(results: Results) -> list[str]:
    """Each target, and whether it was reached."""
    rows = [["target", "measured", ""]]
    for target in TARGETS:
        verdict = target.verdict(results)
        told = {True: "reached", False: "missed", None: "open"}[verdict.reached]
        rows.append([verdict.target, verdict.measured, told])
    return table(rows)


def about(results: Results) -> list[str]:
    """When, how and on what."""
    machine = results.machine
    rounds = {len(one.rounds) for entries in results.cases.values() for one in entries.values() if one.rounds}
    load = ", ".join(f"{one:g}" for one in results.load)
    where = f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, {', '.join(results.servers)}"
    lines = [
        f"Measured on {results.date} on {where}. Load average after each case: {load}.",
        "",
        *(f"- `{command}`" for command in results.command.splitlines()),
        "",
        *busy(results),
        f"Figures are medians over {span(rounds)}, in which all took turns. Versions:",
        "",
    ]
    lines += [
        f"- {name}: {', '.join(f'{what} {one}' for what, one in told.items())}"
        for name, told in results.versions.items()
    ]
    return [*lines, ""]


def busy(results: Results) -> list[str]:
    """A warning, where the machine had more to do than this bench gives it: some two processes for each core."""
    if max(results.load, default=0.0) <= BUSY * int(results.machine["cores"]):
        return []
    return ["**Others used this machine meanwhile:** single figures are far too low, and ratios mean little.", ""]


def span(numbers: Iterable[int]) -> str:
    known = sorted(numbers) or [0]
    told = str(known[0]) if known[0] == known[-1] else f"{known[0]} to {known[-1]}"
    return f"{told} round{'s' * (known[-1] != 1)}"


def settings(peers: Iterable[Peer]) -> list[str]:
    """What each contender was given, and why."""
    rows = [["contender", "settings"]]
    rows += [[f"{peer.name} {mode.name}", mode.why] for peer in peers for mode in peer.modes]
    return [line.rstrip() for line in table(rows)]


def report(results: Results) -> str:
    """The whole run."""
    lines = about(results)
    for name, entries in results.cases.items():
        lines += case_section(ALL[name], entries)
    lines += ["## Targets", "", *targets_table(results), ""]
    return "\n".join(lines)
