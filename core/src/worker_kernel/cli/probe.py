"""``kernel probe``: the help of it. The work is done by `worker_kernel.probe`, before this package is imported."""

from __future__ import annotations

import click

from .. import probe


@click.command("probe")
@click.argument("path", metavar="PATH")
@click.option("--live", is_flag=True, help="Ask whether its loop turns, whatever its broker does. The default.")
@click.option("--ready", is_flag=True, help="Ask whether it takes messages.")
def command(path: str, live: bool, ready: bool) -> int:
    """Judge a worker by the state file at PATH, which it writes with --state-file.

    Exit code 0: yes. 1: no, with the reason on stderr. A worker is live while its loop has turned within the last 15
    seconds, also while its broker is down. For probes of containers: nothing but the standard library is imported.
    """
    return probe.main([path, *(["--live"] if live else []), *(["--ready"] if ready else [])])
