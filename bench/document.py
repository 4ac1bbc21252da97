"""Writes ``docs/performance.md`` from the JSON of a run."""

from __future__ import annotations

from bench.cases import ALL
from bench.peers import all_peers
from bench.report import about, case_section, settings, targets_table
from bench.results import Results

HEAD = """# Performance

<!-- Written by python -m bench document from the JSON of a run: do not change it by hand. -->

What a worker costs, ours beside others, on one machine in one run. Compare the figures of one table with each other; on
another machine all of them are different. `make bench` repeats this ([how it measures](../bench/README.md)).
"""


def document(results: Results) -> str:
    """The page."""
    lines = [HEAD, *about(results), "## Targets", "", *targets_table(results), ""]
    for name, case in ALL.items():
        if entries := results.cases.get(name):
            lines += case_section(case, entries)
        else:
            lines += [f"## {case.title}", "", f"`--case {name}`: not part of this run.", ""]
    lines += ["## Settings", "", *settings(all_peers().values())]
    return "\n".join(lines) + "\n"
