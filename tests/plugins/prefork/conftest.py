"""Pools of child processes, played and real."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.plugins.prefork.small_application import app
from tests.plugins.prefork.stand_ins import Play, Played, play

from worker_kernel import BootRecord, PoolConfig
from worker_kernel.testing import RecordingListener
from worker_pool_prefork.pool import PreforkPool

PATIENCE = 30.0
MakePool = Callable[..., PreforkPool]


@pytest.fixture
def played() -> Iterator[Play]:
    """Make crews whose children the test plays; see `play`."""
    made: list[Played] = []

    def make(*args: Any, **options: Any) -> Played:
        made.append(play(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def until() -> Callable[[Callable[[], object], str], None]:
    """Look at the thing itself until it is so."""

    def wait(happened: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.005)

    return wait


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    """Make and start pools of real processes that run the small application."""
    made: list[PreforkPool] = []

    def make(limit: int = 1, *, method: str = "fork", options: Any = None, **fields: Any) -> PreforkPool:
        config = PoolConfig(
            **{
                "limit": limit,
                "listener": RecordingListener(patience=PATIENCE),
                "app": app,
                "boot": BootRecord(origin=app.origin or "", path=tuple(sys.path), directory=str(Path.cwd())),
                "limit_grace": 0.2,
                "options": {"worker_pool_start_method": method, **(options or {})},
                **fields,
            }
        )
        pool = PreforkPool(config)
        made.append(pool)
        pool.start()
        return pool

    yield make
    for pool in made:
        pool.terminate()
