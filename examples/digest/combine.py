"""Collects the results of the tasks that `produce.py` sent, and writes one report over all of them."""

import json
import sys
from pathlib import Path

import click
from digesting import report_text
from tasks import app


@click.command()
@click.option("--ids", type=click.Path(path_type=Path, exists=True), default="ids.jsonl", show_default=True)
@click.option("--report", type=click.Path(path_type=Path), default="report.json", show_default=True)
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for each result.")
def main(ids: Path, report: Path, timeout: float) -> None:
    """Write a REPORT over the results of IDS. A task without a result is named on stderr, left out, and exits 1."""
    results, missing = [], 0
    for line in ids.read_text(encoding="utf-8").splitlines():
        sent = json.loads(line)
        try:
            results.append(app.AsyncResult(sent["id"]).get(timeout=timeout))
        except Exception as error:  # noqa: BLE001 - a task may fail with anything: say which and go on
            missing += 1
            click.echo(f"{sent['path']}: {type(error).__name__}: {error}", err=True)
    report.write_text(report_text(results), encoding="utf-8")
    click.echo(f"{len(results)} results in {report}, {missing} missing")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
