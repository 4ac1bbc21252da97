"""What another task worker gets wrong, reproduced, and what this one does instead.

- E4: an ``async def`` task on a stock pool ends as a success whose result is the text of a coroutine.
- E12: ``-P custom`` without the variable that it needs ends with a bare traceback.
"""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.system.conftest import POOLS

STOCK = (*POOLS, *(pool for pool in ("gevent", "eventlet") if importlib.util.find_spec(pool) is not None))

LATER = """
    @app.task
    async def later(): return "awaited"
"""


@pytest.mark.parametrize("pool", STOCK)
def test_e4_an_async_task_is_refused_at_boot_by_a_pool_that_cannot_await_it(plain_site: Any, pool: str) -> None:
    plain_site.write(LATER)
    worker = plain_site.worker("-P", pool, ready=False)
    assert worker.wait() == 2
    assert "async def of task tasks.later" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("pool", STOCK)
def test_e4_nor_is_it_a_success_where_the_refusal_is_overruled(plain_site: Any, pool: str) -> None:
    plain_site.write(LATER)
    worker = plain_site.worker("-P", pool, "--best-effort")
    result = plain_site.app.send_task("tasks.later")
    raised = result.get(timeout=30, propagate=False)
    assert result.state == "FAILURE"
    assert type(raised).__name__ == "UnsupportedOption"
    assert "coroutine" not in str(raised)
    assert worker.stop() == 0, worker.log
    assert "never awaited" not in worker.log


@pytest.mark.parametrize("how", ["option", "variable"])
def test_e12_a_pool_that_is_not_there_is_told_in_five_lines(plain_site: Any, how: str) -> None:
    plain_site.write(LATER)
    given: dict[str, Any] = {"KERNEL_WORKER_POOL": "custom"} if how == "variable" else {}
    worker = plain_site.worker(*(("-P", "custom") if how == "option" else ()), ready=False, **given)
    assert worker.wait() == 2
    assert "Traceback" not in worker.log
    assert len(worker.log.splitlines()) <= 5
    assert worker.log.startswith("error: no pool named 'custom' is installed")
    assert "pools installed: " in worker.log
    assert "threads" in worker.log


@pytest.fixture
def kernel(plain_site: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    return cast("Callable[..., subprocess.CompletedProcess[str]]", plain_site.kernel)


def test_e12_nor_is_a_class_that_cannot_be_imported(kernel: Callable[..., Any], plain_site: Any) -> None:
    plain_site.write(LATER)
    done = kernel("worker", "-A", "tasks", "-P", "nowhere.pool:Pool")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 5
    assert "Traceback" not in done.stderr
    assert "no pool 'nowhere.pool:Pool': ModuleNotFoundError" in done.stderr
