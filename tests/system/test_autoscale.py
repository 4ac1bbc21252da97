"""Workers that grow with the load and shrink after it, on each pool."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.load_trace import MAXIMUM, run_trace


def green(name: str, *marks: pytest.MarkDecorator) -> Any:
    absent = importlib.util.find_spec(name) is None
    return pytest.param(name, marks=[pytest.mark.skipif(absent, reason=f"{name} is not installed"), *marks])


pytestmark = pytest.mark.usefixtures("sockets_of_its_own")


@pytest.fixture
def redis_site(tmp_path: Path, new_site: Any, redis_server: Any) -> Iterator[Any]:
    """On a Redis of the test's own."""
    site = new_site(tmp_path, "", redis_server.url)
    yield site
    site.close()


def test_the_load_trace_on_threads(site: Any, until: Any) -> None:
    run_trace(site, until, "-P", "threads")


@pytest.mark.parametrize("pool", ["prefork", green("gevent"), green("eventlet", pytest.mark.long)])
def test_the_load_trace_on_the_other_pools(plain_site: Any, until: Any, pool: str) -> None:
    run_trace(plain_site, until, "-P", pool)


@pytest.mark.parametrize("pool", ["threads", green("gevent", pytest.mark.long)])
def test_the_load_trace_on_hosted_pools(plain_site: Any, until: Any, pool: str) -> None:
    run_trace(plain_site, until, "-P", pool, "--processes", "2", minimum=2)


@pytest.mark.long
def test_the_load_trace_on_redis(redis_site: Any, until: Any) -> None:
    run_trace(redis_site, until, "-P", "threads")


def test_six_tasks_do_not_end_a_threads_worker_with_autoscale(redis_site: Any) -> None:
    """Celery 5's worker exits here: its pool of threads has no ``grow``."""
    redis_site.write("""
        @app.task
        def add(a, b): return a + b
    """)
    worker = redis_site.worker("-P", "threads", "--autoscale=4,1")
    results = [redis_site.app.send_task("tasks.add", (n, n)) for n in range(6)]
    assert [result.get(timeout=30) for result in results] == [0, 2, 4, 6, 8, 10]
    assert worker.stop() == 0, worker.log


def test_the_bounds_can_be_changed_while_it_runs_and_nothing_else_resizes_it(plain_site: Any, until: Any) -> None:
    plain_site.write("""
        @app.task
        def long():
            mark("long")
            while not os.path.exists("release"): time.sleep(0.02)
            return "ended by itself"
    """)
    worker = plain_site.worker("-P", "threads", "--autoscale", "2,1", "--state-file", "state.json")
    results = [plain_site.app.send_task("tasks.long") for _ in range(MAXIMUM)]
    until(lambda: len(plain_site.lines()) == 2, "two to run")
    until(lambda: plain_site.state().get("control_socket"), "the worker to take commands")
    assert plain_site.tell("autoscale", max=4, min=3) == {"max": 4, "min": 3, "current": 3}
    until(lambda: len(plain_site.lines()) == MAXIMUM, "all to run")
    assert plain_site.tell("autoscale", max=1, min=1) == {"max": 1, "min": 1, "current": 1}
    said = plain_site.tell("stats")["steps"]
    assert (said["pool"]["limit"], said["consumer"]["running"]) == (1, 4), "what runs is not ended for it"
    refused = plain_site.kernel("control", "--state-file", "state.json", "grow", "n=1")
    assert refused.returncode != 0
    assert "autoscale" in refused.stdout + refused.stderr
    (plain_site.folder / "release").touch()
    assert [result.get(timeout=30) for result in results] == ["ended by itself"] * MAXIMUM
    until(lambda: plain_site.tell("stats")["steps"]["pool"]["size"] == 1, "the pool to have one slot")
    assert worker.stop() == 0, worker.log


def test_solo_refuses_and_names_the_pools_that_can(plain_site: Any) -> None:
    plain_site.write("""
        @app.task
        def add(a, b): return a + b
    """)
    worker = plain_site.worker("-P", "solo", "--autoscale", "4,1", ready=False)
    assert worker.wait() == 2
    assert "--autoscale 4,1 is refused: solo cannot resize" in worker.log
    assert "threads" in worker.log
