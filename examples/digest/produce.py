"""The producer: sends one task per file of the standard library, and writes down what it sent as it goes."""

import json
from pathlib import Path

import click
from digesting import python_files, stdlib_root
from tasks import digest


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N files (default: all).")
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Do each task N times over.")
@click.option("--ids", type=click.Path(path_type=Path), default="ids.jsonl", show_default=True, help="Where ids go.")
def main(limit: int | None, repeat: int, ids: Path) -> None:
    """Send a task per file; write {"id": ..., "path": ...} to IDS, a line as soon as its task is sent."""
    paths = python_files(stdlib_root(), limit)
    with ids.open("w", encoding="utf-8") as lines:
        for path in paths:
            result = digest.delay(path, repeat)
            lines.write(json.dumps({"id": result.id, "path": path}) + "\n")
            lines.flush()
    click.echo(f"sent {len(paths)} tasks, ids in {ids}")


if __name__ == "__main__":
    main()
