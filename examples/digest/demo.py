"""The demo: for each pool a worker process and a producer process, a report of the results, and a check of all reports.

python demo.py                       # solo, threads and prefork, the whole standard library
python demo.py --pools all --limit 200
python demo.py --pools solo,prefork --limit 100 --repeat 5 --rounds 3   # what a second core is worth
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TextIO

import click
from digesting import python_files, stdlib_root
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker_kernel import App, KernelError

HERE = Path(__file__).resolve().parent
FINISHED = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
POLL = 0.05  # seconds between two looks at the results
STOP_WITHIN = 30.0  # seconds a worker may take to end after SIGTERM


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a pool is given to do."""

    tasks: int
    repeat: int = 1  # how many times each task does its work


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one pool did with the tasks."""

    pool: str
    tasks: int
    failures: int
    seconds: float
    report: Path


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker process, the file its log goes to, and what its producer needs to reach it."""

    process: "subprocess.Popen[bytes]"
    log: Path
    url: str
    environment: dict[str, str]

    def failed(self, what: str) -> click.ClickException:
        """An error that says `what`, with the end of the worker's log."""
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return click.ClickException("\n".join([what, "the last lines of its log:", *(f"  | {line}" for line in tail)]))


class Sent:
    """The results of the tasks that a producer has sent so far, read from the file it writes as it goes.

    Results are asked for in the order in which the tasks were sent, and none beyond the first unfinished one: cheap,
    and never more than the worker's slots behind.
    """

    def __init__(self, app: App, ids: Path) -> None:
        self._app = app
        self._lines: TextIO = ids.open(encoding="utf-8")
        self._rest = ""
        self._waiting: deque[str] = deque()
        self.began: float | None = None
        self.done = 0
        self.failures = 0

    def look(self) -> bool:
        """Count what has finished since the last look; True if there was something."""
        *whole, self._rest = (self._rest + self._lines.read()).split("\n")
        self._waiting.extend(json.loads(line)["id"] for line in whole)
        if self.began is None and self._waiting:
            self.began = time.monotonic()
        before = self.done
        while self._waiting and (state := self._app.AsyncResult(self._waiting[0]).state) in FINISHED:
            self._waiting.popleft()
            self.done += 1
            self.failures += state != "SUCCESS"
        return self.done > before

    def close(self) -> None:
        self._lines.close()


@contextmanager
def progress(console: Console, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that shows how many are done: as a bar on a terminal, as a line for each fifth elsewhere."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    shown = 0

    def show(done: int) -> None:
        nonlocal shown
        if done * 5 // total > shown * 5 // total:
            console.print(f"{label}: {done}/{total}")
            shown = done

    yield show


@contextmanager
def running_worker(pool: str, folder: Path) -> Iterator[Worker]:
    """A worker process on `pool`; stopped with SIGTERM at the end, and an error unless it then exits with 0."""
    log = folder / "worker.log"
    url = f"sqlite:///{folder / 'broker.db'}"
    environment = {**os.environ, "KERNEL_BROKER_URL": url}
    command = [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks", "-P", pool, "-b", url, "-l", "INFO"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=output, stderr=subprocess.STDOUT)
    worker = Worker(process=process, log=log, url=url, environment=environment)
    try:
        yield worker
        process.terminate()
        try:
            status = process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise worker.failed(f"the {pool} worker did not end within {STOP_WITHIN:g} s of SIGTERM") from None
        if status != 0:
            raise worker.failed(f"the {pool} worker exited with {status} after SIGTERM instead of 0")
    finally:
        process.kill()  # does nothing if it has ended
        process.wait()


def follow(
    sent: Sent, total: int, worker: Worker, producer: "subprocess.Popen[bytes]", patience: float
) -> Iterator[int]:
    """Yield how many results there are, each time there are more, until there are `total`."""
    changed = time.monotonic()
    while sent.done < total:
        if sent.look():
            changed = time.monotonic()
            yield sent.done
            continue
        if producer.poll():
            raise click.ClickException(f"the producer exited with {producer.returncode}: see its words above")
        if time.monotonic() - changed > patience:
            raise worker.failed(f"{sent.done} of {total} tasks done, and no result for {patience:g} s")
        try:
            worker.process.wait(POLL)
        except subprocess.TimeoutExpired:
            continue
        sent.look()  # what it finished before
        raise worker.failed(f"the worker died (exit {worker.process.returncode}) with {sent.done} of {total} done")


def produce(
    worker: Worker, ids: Path, load: Load, patience: float, show: Callable[[int], None] = lambda _: None
) -> tuple[float, int]:
    """Have a producer process send the load; the seconds from the first task sent to the last result, and failures."""
    ids.touch()
    numbers = ["--limit", str(load.tasks), "--repeat", str(load.repeat)]
    command = [sys.executable, "produce.py", *numbers, "--ids", str(ids)]
    producer = subprocess.Popen(command, cwd=HERE, env=worker.environment, stdout=subprocess.DEVNULL)
    sent = Sent(App("demo", broker_url=worker.url), ids)
    try:
        for done in follow(sent, load.tasks, worker, producer, patience):
            show(done)
        ended = time.monotonic()
        producer.wait(patience)
    finally:
        sent.close()
        producer.kill()
        producer.wait()
    return ended - (sent.began or ended), sent.failures


def run_pool(console: Console, pool: str, load: Load, folder: Path, patience: float) -> Run:
    """Let a worker on `pool` do the load; everything it leaves is in `folder`."""
    folder.mkdir()
    ids, report = folder / "ids.jsonl", folder / f"{pool}.json"
    with running_worker(pool, folder) as worker:
        # One task first, so that the time of the others is not the time a worker takes to start.
        produce(worker, folder / "first.jsonl", Load(tasks=1), patience)
        with progress(console, pool, load.tasks) as show:
            seconds, failures = produce(worker, ids, load, patience, show)
    combine = [sys.executable, "combine.py", "--ids", str(ids), "--report", str(report)]
    subprocess.run(combine, cwd=HERE, env=worker.environment, stdout=subprocess.DEVNULL, check=False)
    if not report.exists():
        raise click.ClickException(f"no report over the results of {pool}: see the words of combine.py above")
    return Run(pool=pool, tasks=load.tasks, failures=failures, seconds=seconds, report=report)


def table(runs: list[Run], size: int) -> Table:
    """The pools side by side, medians of their runs; `size` is the bytes of all files."""
    pools = {run.pool: [one for one in runs if one.pool == run.pool] for run in runs}
    typical = {pool: max(POLL, statistics.median(run.seconds for run in own)) for pool, own in pools.items()}
    first = runs[0].pool
    shown = Table("pool", title="digests of the standard library")
    for heading in ("tasks", "seconds", "tasks/s", "MB/s", f"x {first}", "failures"):
        shown.add_column(heading, justify="right")
    for pool, own in pools.items():
        seconds, tasks = typical[pool], own[0].tasks
        speed, flow, ratio = f"{tasks / seconds:.0f}", f"{size / seconds / 1e6:.1f}", f"{typical[first] / seconds:.2f}"
        failures = str(sum(run.failures for run in own))
        shown.add_row(pool, str(tasks), f"{seconds:.1f}", speed, flow, ratio, failures)
    return shown


def chosen_pools(pools: str) -> list[str]:
    """The names in `pools`, separated by commas; `all` is every installed pool."""
    if pools == "all":
        return sorted(entry_points(group="worker_kernel.pools").names)
    return [name.strip() for name in pools.split(",") if name.strip()]


@click.command()
@click.option("--pools", default="solo,threads,prefork", show_default=True, help="Names separated by commas, or `all`.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N files (default: all).")
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Do each task N times over.")
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True, help="Let the pools take turns.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds without any result after which to give up.")
def main(pools: str, limit: int | None, repeat: int, rounds: int, patience: float) -> None:
    """Digest the standard library on each of the POOLS, and check the digests without any worker code."""
    for name in [name for name in os.environ if name.startswith("KERNEL_")]:
        del os.environ[name]  # the demonstration is not to meet the user's own broker, here or in what it starts
    console = Console(highlight=False)
    paths = python_files(stdlib_root(), limit)
    size = sum((stdlib_root() / path).stat().st_size for path in paths)
    console.print(f"{len(paths)} files ({size / 1e6:.1f} MB) of {stdlib_root()}, a task each", soft_wrap=True)
    load = Load(tasks=len(paths), repeat=repeat)
    with tempfile.TemporaryDirectory(prefix="kernel-demo-") as scratch:
        try:
            runs = [
                run_pool(console, pool, load, Path(scratch, f"{pool}-{turn}"), patience)
                for turn in range(rounds)
                for pool in chosen_pools(pools)
            ]
        except KernelError as error:  # the broker or its store, asked by this process
            raise click.ClickException(str(error)) from error
        console.print(table(runs, size))
        console.print("checking the reports against the files, without worker code ...")
        check = [sys.executable, "-I", str(HERE / "check.py"), "--limit", str(len(paths))]
        status = subprocess.run([*check, *(str(run.report) for run in runs)], check=False).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
