"""Where a pool is put to the test: how a scenario is run, and what it works with."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, cast

import attrs

from ..bootrecord import BootRecord
from ..capabilities import Capabilities, Support
from ..outcome import Outcome, OutcomeKind
from ..pool import Pool, PoolConfig, PoolStatistics
from .fake_application import app
from .fake_job import FakeJob
from .recording import PATIENCE, RecordingListener, eventually
from .stage import Stage

GRACE = 5.0
"""Seconds that a task may take to end once it was hit: a busy machine does not turn it into a zombie."""


class PoolMaker:
    """What the author of a pool supplies; the root of `PoolContract`."""

    pool_path: ClassVar[str]
    """``package.module:Class`` (or ``path/to/file.py:Class``), because some cases run in a process of their own."""
    capabilities: ClassVar[Capabilities]
    """What the pool declares."""
    options: ClassVar[Mapping[str, object]] = {}
    """The pool's own settings for every test; see `PoolConfig.options`."""
    patch: ClassVar[str] = ""
    """The pool whose patch a process of a case's own needs; the contract's own process must be patched for it, too."""
    patience: ClassVar[float] = PATIENCE
    """Seconds to wait for what must happen, before the promise counts as broken."""

    def make_pool(self, config: PoolConfig) -> Pool:
        """Build the pool; it is not started. May be overridden, for pools that need more than the kit's config."""
        return load_pool(self.pool_path)(config)

    def release_pool(self, pool: Pool) -> None:
        """Let go of what `make_pool` made beside the pool, which has ended."""

    def options_elsewhere(self) -> dict[str, Any]:
        """Return the fields of `PoolConfig` by which other processes get the application."""
        return options_elsewhere()

    @property
    def config_fields(self) -> dict[str, Any]:
        """The fields of `PoolConfig` that are the same for every test."""
        return {"options": self.options, **(self.options_elsewhere() if self.capabilities.runs_elsewhere else {})}

    def is_same(self, told: BaseException | None, error: BaseException) -> bool:
        """Whether ``told`` is the very exception that a task raised; one from another process has its type and args."""
        if not self.capabilities.runs_elsewhere:
            return told is error
        return type(told) is type(error) and told is not None and told.args == error.args

    def supports(self, option: str) -> bool:
        """Return whether the pool declares ``option``, natively or emulated."""
        return self.capabilities.supports(option) is not Support.REFUSED


def load_pool(path: str) -> type[Pool]:
    """Import the pool class that ``path`` names; see `PoolMaker.pool_path`."""
    home, _, name = path.rpartition(":")
    if home.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(home).stem, home)
        if spec is None or spec.loader is None:
            raise ImportError(f"{home} is no Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(home)
    cls = getattr(module, name)
    if not (isinstance(cls, type) and issubclass(cls, Pool)):
        raise TypeError(f"{path} is {cls!r}, not a Pool class")
    return cls


def options_elsewhere() -> dict[str, Any]:
    """Return how another process gets the kit's application; see `PoolMaker.options_elsewhere`."""
    boot = BootRecord(origin=app.origin or "", path=tuple(sys.path), directory=os.getcwd())  # noqa: PTH109  (as text)
    return {"app": app, "boot": boot}


@attrs.define(eq=False)
class Bench:
    """A started pool, its listener, and short ways to give it jobs. Used by the one thread of the scenario."""

    pool: Pool
    """The pool under test."""
    listener: RecordingListener
    """What it told."""
    slots: int
    """How many slots it has: as many as the scenario asked for, or 1 where ``concurrency`` is refused."""
    patience: float
    """Seconds to wait for what must happen."""
    stage: Stage | None = None
    """Where jobs that run in other processes tell what happens to them."""
    jobs: list[FakeJob] = attrs.field(factory=list)
    """Every job made here; they are released when the scenario is over."""

    def job(self, **script: Any) -> FakeJob:
        """Make a job by script; ``async`` where the pool's own kind of task is."""
        script.setdefault("is_async", self.pool.capabilities.async_tasks is Support.NATIVE)
        job = FakeJob(**script)
        if self.stage is not None:
            job.put_on(self.stage)
        self.jobs.append(job)
        return job

    def submit(self, **script: Any) -> FakeJob:
        """Make a job and submit it."""
        job = self.job(**script)
        self.pool.submit(job)
        return job

    def hold(self, count: int = 1, **script: Any) -> list[FakeJob]:
        """Submit ``count`` jobs that run until they are released, and wait until they do."""
        jobs = [self.submit(held=True, **script) for _ in range(count)]
        for job in jobs:
            self.wait_started(job)
        return jobs

    def wait_started(self, job: FakeJob) -> None:
        """Wait until the task's own code runs."""
        if not job.started.wait(self.patience):
            raise AssertionError(f"within {self.patience} s {job!r} did not start; told: {self.listener.told}")

    def outcome(self, job: FakeJob) -> Outcome:
        """Wait until ``job`` is finished and return its outcome."""
        return self.listener.wait_outcome(job.id)

    def finish(self, *jobs: FakeJob) -> None:
        """Release jobs and wait until they are finished."""
        for job in jobs:
            job.release()
        for job in jobs:
            self.outcome(job)

    def still_works(self) -> None:
        """Run one more job through the pool.

        Raises:
            AssertionError: it does not succeed in time.
        """
        outcome = self.outcome(self.submit())
        assert outcome.kind is OutcomeKind.SUCCEEDED, f"the next job ended with {outcome}"

    def eventually(self, happened: Callable[[], bool], what: str) -> None:
        """Poll until ``happened()`` is true, within the contract's patience."""
        eventually(happened, what, self.patience)

    def statistics_become(self, **wanted: object) -> PoolStatistics:
        """Wait until the pool's statistics have these values, and return them."""
        seen: list[PoolStatistics] = []

        def reached() -> bool:
            seen[:] = [self.pool.statistics()]
            return all(getattr(seen[0], name) == value for name, value in wanted.items())

        try:
            self.eventually(reached, f"statistics become {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; they are {seen}") from None
        return seen[0]


S = TypeVar("S", bound=PoolMaker)
P = ParamSpec("P")


def on_pool(
    *, slots: int = 1, raising: tuple[str, ...] = (), **options: Any
) -> Callable[[Callable[Concatenate[S, Bench, P], None]], Callable[Concatenate[S, P], None]]:
    """Turn a scenario, a method that takes a `Bench`, into a test that makes, starts and ends the pool around it.

    Args:
        slots: how many slots to ask for.
        raising: callbacks of the listener that raise.
        options: more fields of `PoolConfig`.
    """

    def decorate(scenario: Callable[Concatenate[S, Bench, P], None]) -> Callable[Concatenate[S, P], None]:
        @functools.wraps(scenario)
        def test(self: S, *args: P.args, **kwargs: P.kwargs) -> None:
            with_bench(self, lambda bench: scenario(self, bench, *args, **kwargs), slots, raising, **options)

        signature = inspect.signature(scenario)
        parameters = [parameter for name, parameter in signature.parameters.items() if name != "bench"]
        test.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # for pytest
        return cast("Callable[Concatenate[S, P], None]", test)

    return decorate


def with_bench(
    maker: PoolMaker,
    scenario: Callable[[Bench], None],
    slots: int = 1,
    raising: tuple[str, ...] = (),
    **options: Any,
) -> None:
    """Run ``scenario`` on a pool that is made and started for it, and ended afterwards.

    The scenario runs in the calling thread, or, where the pool wants the main thread, in a second one while the
    calling thread serves the pool.
    """
    listener = RecordingListener(raising=raising, patience=maker.patience)
    allowed = slots if maker.capabilities.concurrency is not Support.REFUSED else 1
    fields = {"limit": allowed, "listener": listener, "limit_grace": GRACE, **maker.config_fields, **options}
    pool = maker.make_pool(PoolConfig(**fields))

    def whole(bench: Bench) -> None:
        try:
            scenario(bench)
        finally:
            for job in bench.jobs:
                job.release()
            pool.terminate()

    with _stage(maker.capabilities) as stage:
        bench = Bench(pool, listener, allowed, maker.patience, stage)
        try:
            pool.start()
            if maker.capabilities.runs_in_main_thread:
                _beside(pool, lambda: whole(bench))
            else:
                whole(bench)
        finally:
            maker.release_pool(pool)


@contextmanager
def _stage(capabilities: Capabilities) -> Iterator[Stage | None]:
    """Open a stage where jobs run in other processes, and close it when the pool has ended."""
    if not capabilities.runs_elsewhere:
        yield None
        return
    stage = Stage()
    try:
        yield stage
    finally:
        stage.close()


def _beside(pool: Pool, scenario: Callable[[], None]) -> None:
    """Run ``scenario`` in a second thread while this one serves the pool; raise what it raised."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            scenario()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=guarded, name="scenario")
    thread.start()
    try:
        pool.serve()
    finally:
        thread.join()
    if raised:
        raise raised[0]
