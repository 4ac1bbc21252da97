"""Jobs that do nothing, a second, through this pool and through others: what it costs to have a job run elsewhere.

python bench/pool.py                        # 2 processes each, interleaved rounds, medians
python bench/pool.py --only ours-fast,billiard --jobs 20000 --json pool.json

A contender is started, warmed up, given all jobs at once, and measured until the last of them is known to have ended.
loky and pebble take part where they are installed (pip install --group bench).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import click
from noop import NoopJob, app, noop

from worker_kernel import BootRecord, Job, Outcome, OutcomeKind, PoolConfig, Slot

Run = Callable[[int], None]
"""Has so many jobs run, and returns when all have ended."""
WARM_UP = 500
PATIENCE = 300.0  # seconds


class Countdown:
    """The listener of our pool: wakes whoever waits for the last job."""

    def __init__(self) -> None:
        self.left = 0
        self.over = threading.Event()

    def expect(self, count: int) -> None:
        self.left = count
        self.over.clear()

    def accepted(self, job: Job, slot: Slot) -> None:
        pass

    def finished(self, job: Job, outcome: Outcome) -> None:
        if outcome.kind is not OutcomeKind.SUCCEEDED:
            raise SystemExit(f"{job.id} ended with {outcome}")
        self.left -= 1
        if not self.left:
            self.over.set()

    def resized(self, size: int) -> None:
        pass

    def failing(self, reason: str, exit_code: int) -> None:
        sys.exit(reason)


def ours(strategy: str) -> Callable[[int], AbstractContextManager[Run]]:
    """The pool of this repository, driven by its own thread, its children forked from a zygote."""

    @contextmanager
    def contender(processes: int) -> Iterator[Run]:
        from worker_pool_prefork.pool import PreforkPool

        listener = Countdown()
        boot = BootRecord(origin="noop:app", path=tuple(sys.path), directory=str(Path.cwd()))
        pool = PreforkPool(PoolConfig(limit=processes, listener=listener, app=app, boot=boot, strategy=strategy))
        pool.start()

        def run(count: int) -> None:
            jobs = [NoopJob(f"job-{number}") for number in range(count)]
            listener.expect(count)
            for job in jobs:
                pool.submit(job)
            assert listener.over.wait(PATIENCE)

        try:
            yield run
        finally:
            pool.terminate()

    return contender


def applying(module: str) -> Callable[[int], AbstractContextManager[Run]]:
    """``Pool.apply_async`` of multiprocessing or billiard."""

    @contextmanager
    def contender(processes: int) -> Iterator[Run]:
        pool: Any = importlib.import_module(module).Pool(processes)

        def run(count: int) -> None:
            for result in [pool.apply_async(noop) for _ in range(count)]:
                result.get(PATIENCE)

        try:
            yield run
        finally:
            pool.close()
            pool.join()

    return contender


def submitting(executor: Callable[[int], Any], submit: str = "submit") -> Callable[[int], AbstractContextManager[Run]]:
    """``submit`` of what looks like a `concurrent.futures.Executor`, by whatever name it goes."""

    @contextmanager
    def contender(processes: int) -> Iterator[Run]:
        with executor(processes) as pool:

            def run(count: int) -> None:
                done, _ = wait([getattr(pool, submit)(noop) for _ in range(count)], PATIENCE)
                assert len(done) == count

            yield run

    return contender


def futures(processes: int) -> Any:
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(processes)


def loky(processes: int) -> Any:
    from loky import ProcessPoolExecutor

    return ProcessPoolExecutor(processes)


@contextmanager
def pebble(processes: int) -> Iterator[Any]:
    from pebble import ProcessPool

    with ProcessPool(max_workers=processes) as pool:
        yield pool
        pool.close()
        pool.join()


CONTENDERS: dict[str, Callable[[int], AbstractContextManager[Run]]] = {
    "ours-fair": ours("fair"),
    "ours-fast": ours("fast"),
    "ours-adaptive": ours("adaptive"),
    "billiard": applying("billiard"),
    "multiprocessing": applying("multiprocessing"),
    "futures": submitting(futures),
    "loky": submitting(loky),
    "pebble": submitting(pebble, "schedule"),
}
OURS = tuple(name for name in CONTENDERS if name.startswith("ours-"))


@attrs.frozen(kw_only=True)
class Figures:
    """One contender's rounds."""

    rates: list[float] = attrs.field(factory=list)
    """Jobs per second."""
    costs: list[float] = attrs.field(factory=list)
    """CPU seconds of this process for each job: unlike the rate, hardly a matter of what else runs on the machine."""

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cost(self) -> float:
        return statistics.median(self.costs)


def measure(name: str, jobs: int, processes: int, figures: Figures) -> None:
    with CONTENDERS[name](processes) as run:
        run(WARM_UP)
        began, used = time.perf_counter(), time.process_time()
        run(jobs)
        figures.rates.append(jobs / (time.perf_counter() - began))
        figures.costs.append((time.process_time() - used) / jobs)


def chosen(only: str | None) -> list[str]:
    names = only.split(",") if only else list(CONTENDERS)
    unknown = set(names) - set(CONTENDERS)
    if unknown:
        raise click.UsageError(f"no such contender: {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    return [name for name in names if name not in ("loky", "pebble") or importlib.util.find_spec(name)]


def report(figures: dict[str, Figures]) -> None:
    others = {name: one.rate for name, one in figures.items() if name not in OURS}
    best = max(others.values(), default=0.0)
    click.echo(f"{'pool':<16} {'jobs/s':>8} {'CPU us/job':>11} {'x billiard':>11} {'x best':>7}")
    for name, one in figures.items():
        ratios = [f"{one.rate / base:.2f}" if base else "" for base in (others.get("billiard"), best)]
        click.echo(f"{name:<16} {one.rate:>8.0f} {one.cost * 1e6:>11.1f} {ratios[0]:>11} {ratios[1]:>7}")
    click.echo(f"median of {len(next(iter(figures.values())).rates)}; CPU: of the submitting process")


@click.command()
@click.option("--jobs", type=click.IntRange(min=1), default=10_000, show_default=True, help="For each round.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--only", metavar="NAMES", help=f"Separated by commas; of {', '.join(CONTENDERS)}.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write all rounds there, too.")
def main(jobs: int, rounds: int, processes: int, only: str | None, file: Path | None) -> None:
    """Compare pools by jobs per second. Contenders take turns, so that all meet the same machine."""
    figures = {name: Figures() for name in chosen(only)}
    load = [os.getloadavg()[0]]
    for _ in range(rounds):
        for name, one in figures.items():
            measure(name, jobs, processes, one)
    load.append(os.getloadavg()[0])
    report(figures)
    click.echo(f"{processes} processes, {jobs} jobs a round, Python {platform.python_version()}, load {load}")
    if file is not None:
        told = {"jobs": jobs, "processes": processes, "load": load, "python": platform.python_version()}
        told["pools"] = {name: attrs.asdict(one) for name, one in figures.items()}
        file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
