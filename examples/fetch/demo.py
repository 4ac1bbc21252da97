"""The demo of I/O: a thousand requests to a server that answers late, on each pool that is installed.

python demo.py                      # 1,000 requests, half a second each
python demo.py --requests 200 --pools gevent,threads

Each pool has as many slots as suit it. Every answer is checked, and the server is asked how many requests it had.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import click
from rich.console import Console
from rich.table import Table

from worker_kernel import App

HERE = Path(__file__).resolve().parent
SLOTS = {"gevent": 500, "eventlet": 500, "threads": 50, "prefork": 20}
"""Slots by pool, in the order in which they are shown."""
PATIENCE = 300.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one pool did."""

    pool: str
    seconds: float
    memory: int | None


def installed() -> list[str]:
    """Return the pools that can be had here."""
    names = {entry.name for entry in entry_points(group="worker_kernel.pools")}
    absent = {name for name in ("gevent", "eventlet") if find_spec(name) is None}
    return [name for name in SLOTS if name in names - absent]


@contextmanager
def server(delay: float) -> Iterator[str]:
    """Run the server, and yield its address."""
    command = [sys.executable, str(HERE / "server.py"), str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def peak(process: int) -> int | None:
    """Return the bytes that a process and its children have had at their peak; None where there is no /proc."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    own = int(found[1]) * 1024 if found else 0
    return own + sum(peak(int(child)) or 0 for child in children)


@contextmanager
def worker(pool: str, log: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker that is ready, and end it warmly."""
    command = [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks", "-P", pool, "-c", str(SLOTS[pool])]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-l", "INFO"], cwd=HERE, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while " ready" not in (said := log.read_text(errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"the worker on {pool} did not start:\n{said}")
            time.sleep(0.01)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def run(pool: str, requests: int, address: str, folder: Path) -> Run:
    """Have a pool fetch every page, check each, and say what it took.

    Raises:
        click.ClickException: a page is wrong, or the server had another number of requests.
    """
    url = f"sqlite:///{folder / pool}.sqlite3"
    environment = {**os.environ, "FETCH_BROKER": url, "FETCH_SERVER": address}
    app = App("fetch", broker_url=url)
    before = count(address)
    sent = [app.send_task("tasks.fetch", (number,)) for number in range(requests)]
    with worker(pool, folder / f"{pool}.log", environment) as process:
        began = time.monotonic()
        pages = [result.get(timeout=PATIENCE) for result in sent]
        seconds = time.monotonic() - began
        memory = peak(process.pid)
    app.close()
    wrong = [number for number, page in enumerate(pages) if page != f"page /{number}"]
    if wrong or count(address) - before != requests:
        raise click.ClickException(f"{pool}: wrong pages {wrong[:5]}, {count(address) - before} requests")
    return Run(pool=pool, seconds=seconds, memory=memory)


def count(address: str) -> int:
    """Ask the server how many requests it has answered."""
    with urlopen(f"{address}/count", timeout=60) as answer:
        return int(answer.read())


@click.command()
@click.option("--requests", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--delay", default=0.5, show_default=True, help="Seconds that the server takes.")
@click.option("--pools", default="", help="Names, with commas between them. Default: those that are installed.")
def main(requests: int, delay: float, pools: str) -> None:
    """Fetch pages on one pool after the other, and print a table."""
    console = Console()
    table = Table(title=f"{requests} requests, each answered after {delay:g} s")
    for head in ("pool", "slots", "seconds", "tasks/s", "peak memory"):
        table.add_column(head, justify="left" if head == "pool" else "right")
    with tempfile.TemporaryDirectory(prefix="fetch-") as folder, server(delay) as address:
        for pool in [name for name in pools.split(",") if name] or installed():
            done = run(pool, requests, address, Path(folder))
            memory = "?" if done.memory is None else f"{done.memory / 2**20:.0f} MiB"
            table.add_row(pool, str(SLOTS[pool]), f"{done.seconds:.2f}", f"{requests / done.seconds:.0f}", memory)
    console.print(table)
    console.print("every page was right, and the server counted as many requests")


if __name__ == "__main__":
    main()
