"""One stuck task on one pool, in a process of its own: ``python -m worker_kernel.testing.limits_child``.

The cases of the limits table that leave a thread behind, or end the process, are run here. The process plays the
worker: it tells what the pool tells as one JSON object per line on stdout, and when the pool says that it is failing,
it ends with the exit code that the pool asks for. It ends without joining anything. A pool that runs jobs in other
processes starts them from here; the stuck task is then in one of those.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from ..capabilities import Stuck, Support
from ..job import Job
from ..outcome import Outcome
from ..pool import CancelHow, Pool, PoolConfig
from .bench import load_pool, options_elsewhere
from .fake_job import FakeJob
from .recording import RecordingListener, eventually
from .stage import Stage
from .stuck import stuck_task

LIMIT = 0.25
"""Seconds: the limit under which tasks get stuck."""


def tell(event: str, **fields: object) -> None:
    """Write one line to stdout, unbuffered and whole."""
    os.write(1, (json.dumps({"event": event, "at": round(time.monotonic(), 3), **fields}) + "\n").encode())


class _Worker(RecordingListener):
    """What a worker does with a pool's reports, as far as a limit is concerned."""

    stage: Stage | None = None

    def finished(self, job: Job, outcome: Outcome) -> None:
        tell("finished", job=job.id, kind=outcome.kind)
        super().finished(job, outcome)

    def failing(self, reason: str, exit_code: int) -> None:
        tell("failing", reason=reason, exit_code=exit_code)
        if self.stage is not None:
            self.stage.discard()
        os._exit(exit_code)


class _Undeliverable(logging.Handler):
    """Tells when the pool logs that a soft limit cannot be delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "undeliverable" in record.getMessage() and record.levelno >= logging.WARNING:
            tell("undeliverable", message=record.getMessage())
            self.seen.set()


def _job(pool: Pool, stage: Stage | None, name: str, **script: Any) -> FakeJob:
    job = FakeJob(name, is_async=pool.capabilities.async_tasks is Support.NATIVE, **script)
    if stage is not None:
        job.put_on(stage)
    return job


def _scenario(
    pool: Pool, worker: _Worker, stage: Stage | None, undeliverable: threading.Event, asked: argparse.Namespace
) -> None:
    kind = Stuck[asked.stuck]
    # What a soft limit does to a call that lets nobody else run shows only after the call: it must come to its end.
    alone = kind is Stuck.C_WITH_GIL or (kind is Stuck.C_WITHOUT_GIL and pool.capabilities.is_green)
    seconds = 1.5 if alone and asked.ending == "soft" else asked.seconds
    body = stuck_task(kind, seconds, swallows=asked.swallows)

    def told(job: FakeJob) -> object:
        tell("started")  # here: where jobs share a thread with us, we come to it too late
        return body(job)

    stuck = _job(
        pool,
        stage,
        "stuck",
        body=told if stage is None else body,
        soft_time_limit=LIMIT if asked.ending == "soft" else None,
        time_limit=LIMIT if asked.ending == "hard" else None,
    )
    pool.submit(stuck)
    if not stuck.stuck.wait(asked.patience):  # what was raised before would be nothing that the task could show
        return tell("never started")
    if stage is not None:
        tell("started")
    if asked.ending == "kill":
        tell("cancel", reply=pool.cancel("stuck", CancelHow.KILL))
    elif asked.ending == "terminate":
        pool.terminate()
        tell("terminated")
    if asked.ending == "soft":
        _watch_soft(stuck, undeliverable, asked.patience)
        if stage is not None:
            pool.terminate()
        return None
    worker.wait_outcome("stuck")
    if asked.zombie_budget == 0 and stage is None:
        threading.Event().wait(asked.patience)  # one zombie is too many: the pool is about to end this process
    if asked.ending != "terminate":
        _next_job(pool, worker, stage)
        _late_end(pool, stuck, kind)
    if stage is not None:
        pool.terminate()  # nothing is left behind
    return tell("over", raised=_names(stuck))


def _next_job(pool: Pool, worker: _Worker, stage: Stage | None) -> None:
    """Run one more job: the slot must have been freed, or replaced."""
    pool.submit(_job(pool, stage, "next"))
    worker.wait_outcome("next")
    if stage is not None:
        eventually(lambda: pool.statistics().size == 1, "the process was replaced")
    seen = pool.statistics()
    tell("statistics", size=seen.size, zombies=seen.zombies, recycled=dict(seen.recycled))


def _late_end(pool: Pool, stuck: FakeJob, kind: Stuck) -> None:
    """Let a zombie that can end do so: nothing more may be told about it."""
    stuck.release()
    if kind in (Stuck.YIELDS, Stuck.BUSY):
        eventually(lambda: pool.statistics().zombies == 0, "the zombie has ended")


def _names(stuck: FakeJob) -> list[str]:
    """Return the names of the classes, and of their bases, of what was raised into the task."""
    return sorted({cls.__name__ for exc in stuck.caught for cls in type(exc).__mro__})


def _watch_soft(stuck: FakeJob, undeliverable: threading.Event, patience: float) -> None:
    """Tell when the soft limit is raised in the task. That it is undeliverable is told by the log handler."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and not undeliverable.is_set():
        if stuck.caught or stuck.endings:
            break
        time.sleep(0.01)
    tell("over", raised=_names(stuck))


def _end(stage: Stage | None, code: int) -> None:
    if stage is not None:
        stage.close()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the case and end the process; see the module's first lines."""
    parser = argparse.ArgumentParser(prog="limits_child")
    parser.add_argument("pool_path")
    parser.add_argument("--stuck", choices=[kind.name for kind in Stuck], required=True)
    parser.add_argument("--ending", choices=["soft", "hard", "kill", "terminate"], required=True)
    parser.add_argument("--swallows", action="store_true")
    parser.add_argument("--seconds", type=float, default=30.0, help="for how long the task is stuck")
    parser.add_argument("--patience", type=float, default=15.0)
    parser.add_argument("--grace", type=float, default=0.4, help="as in PoolConfig.limit_grace")
    parser.add_argument("--zombie-budget", type=int, default=10)
    parser.add_argument("--options", type=json.loads, default={}, help="as in PoolConfig.options, as JSON")
    asked = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    undeliverable = _Undeliverable()
    logging.getLogger().addHandler(undeliverable)
    worker = _Worker(patience=asked.patience)
    cls = load_pool(asked.pool_path)
    pool = cls(
        PoolConfig(
            limit=1,
            listener=worker,
            limit_grace=asked.grace,
            zombie_budget=asked.zombie_budget,
            options=asked.options,
            **(options_elsewhere() if cls.capabilities.runs_elsewhere else {}),
        )
    )
    stage = worker.stage = Stage() if cls.capabilities.runs_elsewhere else None
    pool.start()

    def run() -> None:
        try:
            _scenario(pool, worker, stage, undeliverable.seen, asked)
        except BaseException as exc:
            tell("broken", error=repr(exc)[:2000])
            _end(stage, 70)
        _end(stage, 0)

    if cls.capabilities.runs_in_main_thread:
        threading.Thread(target=run, name="scenario", daemon=True).start()
        pool.serve()
        time.sleep(asked.patience)  # the scenario ends the process
    run()


if __name__ == "__main__":
    main()
