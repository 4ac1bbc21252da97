"""``kernel demo``: on each installed pool a worker, a few tasks and a row of a table; needs no broker and no checkout.

What it runs is what a user would write and type: an app in a file, a worker process, calls from another process. All
of it lives in a temporary directory, on the embedded broker.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from ..errors import KernelError, PluginNotFound

if TYPE_CHECKING:
    from ..tasks.app import App

POLL = 0.02
"""Seconds between two looks at a result."""
STOP_WITHIN = 40.0
"""Seconds that a worker may take to end once it is told to."""


def primes(below: int) -> int:
    """Count the primes below a number, the slow way."""
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, below))


TASKS = f'''"""The app of the demonstration."""

from worker_kernel import App

app = App("tasks")


@app.task
{inspect.getsource(primes)}'''
"""The file that the worker is given."""


@attrs.frozen(kw_only=True)
class Run:
    """What one pool did."""

    pool: str
    """Its name."""
    tasks: int
    """How many tasks were sent, and succeeded."""
    seconds: float
    """From the first task sent to the last result read."""


@click.command("demo")
@click.option("--tasks", "count", type=click.IntRange(min=1), default=200, show_default=True, help="How many to send.")
@click.option("--pools", metavar="NAMES", help="Only these, separated by commas. By default every installed one.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds without any result after which to give up.",
)
def command(count: int, pools: str | None, patience: float) -> None:
    """Show the installed pools at work, on the embedded broker in a temporary directory."""
    from rich.console import Console
    from rich.table import Table

    names = pools.split(",") if pools else installed_pools()
    table = Table("pool", "tasks", "seconds", "tasks/s")
    for column in table.columns[1:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory(prefix="kernel-demo-") as scratch:
        folder = Path(scratch)
        (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
        for name in names:
            click.echo(f"kernel worker -A tasks -P {name}   ({count} tasks)")
            run = run_pool(name, count, folder, patience)
            table.add_row(run.pool, str(run.tasks), f"{run.seconds:.2f}", f"{run.tasks / max(run.seconds, POLL):.0f}")
    Console().print(table)


def installed_pools() -> list[str]:
    """Return the names of the installed pools that can be used, sorted; nothing is imported.

    Raises:
        PluginNotFound: there is none.
    """
    from ..plugins.discovery import discover
    from ..plugins.found import USABLE, Kind
    from ..plugins.selection import Selection

    names = [row.name for row in Selection().apply(discover()) if row.kind is Kind.POOL and row.status in USABLE]
    if not names:
        raise PluginNotFound("no pool is installed\nto get the usual ones: pip install 'worker-kernel[standard]'")
    return sorted(names)


def run_pool(pool: str, count: int, folder: Path, patience: float) -> Run:
    """Let a worker process on ``pool`` do ``count`` tasks.

    Args:
        pool: its name, as ``-P`` takes it.
        count: how many tasks (>= 1).
        folder: holds ``tasks.py``; what the worker leaves goes there.
        patience: seconds without any result after which to give up (> 0).

    Raises:
        KernelError: a result is wrong or missing, or the worker did not start, go on or end as it should.
    """
    database = folder / f"{pool.replace(':', '.')}.db"
    url = f"sqlite:///{database.as_posix()}"
    log = database.with_suffix(".log")
    with closing(sender(url, folder)) as app, running_worker(pool, url, log) as process:
        call(app, 1, process, log, patience)  # so that the time of the others is not the time a worker takes to start
        began = time.monotonic()
        call(app, count, process, log, patience)
        seconds = time.monotonic() - began
    return Run(pool=pool, tasks=count, seconds=seconds)


def sender(url: str, folder: Path) -> App:
    """Return the app of this process, which only sends: neither the environment nor a file here has a say in it."""
    from ..core_settings import CORE_SETTINGS
    from ..plugins.loading import Plugins
    from ..sources import read_settings
    from ..tasks.app import App

    app, plugins = App("tasks", broker_url=url), Plugins.load()
    declared = [*CORE_SETTINGS, *plugins.settings]
    settings, _ = read_settings(declared, app=app.declared_settings(), environ={}, directory=folder)
    app.configure(settings, plugins)
    return app


def call(app: App, count: int, process: subprocess.Popen[bytes], log: Path, patience: float) -> None:
    """Send ``count`` tasks and wait for their results.

    Raises:
        KernelError: see `run_pool`.
    """
    task = app.task(name="tasks.primes")(primes)
    expected = [100 + index % 7 for index in range(count)]
    results = [task.delay(below) for below in expected]
    for below, result in zip(expected, results, strict=True):
        deadline = time.monotonic() + patience
        while not result.ready():
            if time.monotonic() > deadline:
                raise KernelError(f"no result for {patience:g} s\n{tail(log)}")
            try:
                process.wait(POLL)
            except subprocess.TimeoutExpired:
                continue
            raise KernelError(f"the worker ended with exit code {process.returncode}\n{tail(log)}")
        if result.result != primes(below):
            raise KernelError(f"primes({below}) came back as {result.result!r}\n{tail(log)}")


@contextmanager
def running_worker(pool: str, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process; told to stop at the end.

    Raises:
        KernelError: it did not end within `STOP_WITHIN`, or not with 0.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KERNEL_")}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  (our own command)
            worker_command(pool, url), cwd=log.parent, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
        process.terminate()
        try:
            code = process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise KernelError(f"the worker did not end within {STOP_WITHIN:g} s\n{tail(log)}") from None
        if code != 0 and sys.platform != "win32":  # where terminate() is not a request but the end
            raise KernelError(f"the worker ended with exit code {code} instead of 0\n{tail(log)}")
    finally:
        process.kill()
        process.wait()


def worker_command(pool: str, url: str) -> Sequence[str]:
    """Return the command line of the worker."""
    return [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks", "-P", pool, "-b", url, "-l", "INFO"]


def tail(log: Path, lines: int = 3) -> str:
    """Return the end of a worker's log, for an error."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
