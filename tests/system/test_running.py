"""A worker process does its work, on each pool and each loop."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from tests.system.conftest import POOLS


@pytest.mark.parametrize("pool", POOLS)
def test_tasks_run_and_their_results_come_back(site: Any, pool: str) -> None:
    site.write("""
        @app.task
        def add(x, y): return x + y
        @app.task
        def fail(): raise ValueError("so it is")
    """)
    worker = site.worker("-P", pool)
    sums = [site.app.send_task("tasks.add", (n, n)) for n in range(20)]
    failure = site.app.send_task("tasks.fail")

    assert [result.get(timeout=30) for result in sums] == [2 * n for n in range(20)]
    with pytest.raises(ValueError, match="so it is"):
        failure.get(timeout=30)
    assert failure.state == "FAILURE"
    assert "ValueError: so it is" in failure.traceback
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("pool", POOLS)
def test_whatever_a_task_raises_fails_that_task_only(site: Any, pool: str) -> None:
    site.write("""
        @app.task
        def end(how):
            raise {"exit": SystemExit(3), "memory": MemoryError("big"), "int": KeyboardInterrupt(),
                   "deep": RecursionError(), "gen": GeneratorExit()}[how]
        @app.task
        def fine(): return "fine"
    """)
    worker = site.worker("-P", pool)
    results = {how: site.app.send_task("tasks.end", (how,)) for how in ("exit", "memory", "int", "deep", "gen")}
    fine = site.app.send_task("tasks.fine")
    assert fine.get(timeout=30) == "fine"
    for how, result in results.items():
        result.get(timeout=30, propagate=False)
        assert result.state == "FAILURE", how
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_that_changes_the_directory_leaves_the_broker_where_it_is(plain_site: Any, pool: str) -> None:
    plain_site.write("""
        @app.task
        def wander():
            os.chdir("/")
            return stay.delay().id
        @app.task
        def stay(): return "still here"
    """)
    worker = plain_site.worker("-P", pool, "-b", "sqlite:///broker.sqlite3")
    sent = plain_site.app.send_task("tasks.wander").get(timeout=30)
    assert plain_site.app.AsyncResult(sent).get(timeout=30) == "still here"
    assert worker.stop() == 0, worker.log


def test_a_worker_whose_broker_file_is_removed_serves_the_one_in_its_place(site: Any) -> None:
    site.write("""
        @app.task
        def add(x, y): return x + y
    """)
    worker = site.worker("-P", "threads")
    assert site.app.send_task("tasks.add", (1, 2)).get(timeout=30) == 3
    for file in site.folder.glob("broker.sqlite3*"):
        if file.is_file():
            file.unlink()
    assert site.app.send_task("tasks.add", (2, 3)).get(timeout=30) == 5
    assert "removed or replaced" in worker.log
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("pool", POOLS)
def test_a_countdown_is_kept_and_an_expired_task_never_runs(site: Any, pool: str, until: Any) -> None:
    site.write("""
        @app.task
        def note(sent): mark("ran", sent, time.time())
    """)
    import time

    sent = time.time()
    site.app.send_task("tasks.note", (sent,), countdown=1.5)
    gone = site.app.send_task("tasks.note", (0,), expires=0.001)
    worker = site.worker("-P", pool)
    until(lambda: len(site.lines()) == 1, "the task with a countdown")
    ((_, _, ran),) = site.lines()
    assert float(ran) >= sent + 1.5
    gone.get(timeout=30, propagate=False)
    assert gone.state == "REVOKED"
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("pool", POOLS)
def test_a_retry_runs_again_until_it_succeeds(site: Any, pool: str) -> None:
    site.write("""
        @app.task(bind=True, max_retries=5)
        def flaky(self):
            mark("run", self.request.retries)
            if self.request.retries < 2:
                raise self.retry(countdown=0)
            return self.request.retries
    """)
    worker = site.worker("-P", pool)
    assert site.app.send_task("tasks.flaky").get(timeout=30) == 2
    assert site.lines() == [["run", "0"], ["run", "1"], ["run", "2"]]
    assert worker.stop() == 0, worker.log


def test_rejected_and_unknown_tasks_are_kept_in_the_quarantine(plain_site: Any, until: Any) -> None:
    site = plain_site
    site.write("""
        @app.task
        def no(): raise Reject("not mine")
    """)
    site.worker("-P", "threads")
    site.app.send_task("tasks.no")
    unknown = site.app.send_task("tasks.nowhere")
    unknown.get(timeout=30, propagate=False)
    assert unknown.state == "FAILURE"
    until(lambda: site.queue_size("celery.quarantine") == 2, "both messages in the quarantine")


def test_priorities_are_honoured(plain_site: Any) -> None:
    site = plain_site
    site.write("""
        @app.task
        def note(name): mark(name)
    """)
    results = [
        site.app.send_task("tasks.note", (name,), priority=p) for name, p in [("low", 1), ("mid", 5), ("high", 9)]
    ]
    site.worker("-P", "solo")
    for result in results:
        result.get(timeout=30)
    assert site.lines() == [["high"], ["mid"], ["low"]]


def test_async_tasks_are_refused_at_boot_with_the_reason(plain_site: Any) -> None:
    plain_site.write("""
        @app.task
        async def later(): return 1
    """)
    worker = plain_site.worker("-P", "threads", ready=False)
    assert worker.wait() == 2
    assert "tasks.later" in worker.log
    assert "Traceback" not in worker.log


def test_early_acknowledgement_is_no_look_ahead(plain_site: Any, until: Any) -> None:
    site = plain_site
    site.write("""
        @app.task(acks_late=False)
        def slow(): mark("ran"); time.sleep(2)
    """)
    for _ in range(3):
        site.app.send_task("tasks.slow")
    site.worker("-P", "solo")
    until(lambda: len(site.lines()) == 1, "the first to run")
    assert site.queue_size() == 2


def test_solo_runs_tasks_in_the_main_thread(plain_site: Any) -> None:
    plain_site.write("""
        @app.task
        def where(): return threading.current_thread() is threading.main_thread()
    """)
    plain_site.worker("-P", "solo")
    assert plain_site.app.send_task("tasks.where").get(timeout=30) is True


@pytest.mark.parametrize("pool", POOLS)
def test_steps_start_as_kernel_graph_prints_them_and_stop_in_reverse(site: Any, pool: str) -> None:
    site.write("""
        @app.task
        def nothing(): pass
    """)
    worker = site.worker("-P", pool, "-l", "DEBUG")
    assert worker.stop() == 0, worker.log
    command = [sys.executable, "-m", "worker_kernel", "graph", "-A", "tasks", "-P", pool, "-b", site.url]
    printed = subprocess.run(command, cwd=site.folder, capture_output=True, text=True, check=True).stdout
    blueprints = {part.split(":")[0]: re.findall(r"\d+\. (\w+)", part) for part in re.split(r"\n(?=\w)", printed)}

    for blueprint in ("worker", "consumer"):
        started = re.findall(rf"\b{blueprint}: start (\w+)", worker.log)
        stopped = re.findall(rf"\b{blueprint}: stop (\w+)", worker.log)
        assert started == blueprints[blueprint]
        assert stopped == started[::-1]
