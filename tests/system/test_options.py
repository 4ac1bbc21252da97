"""What other workers ignore, or die of, is honoured or refused by real ones; and ``-P auto`` ends where it says."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from worker_kernel import SoftTimeLimitExceeded, TimeLimitExceeded

TASKS = """
    @app.task
    def nap(seconds):
        mark("began")
        time.sleep(seconds)
        mark("ended")
    @app.task
    def where(): return [os.getpid(), threading.get_native_id()]
"""


def test_autoscaling_of_a_pool_that_cannot_is_refused_with_those_that_can(plain_site: Any) -> None:
    plain_site.write(TASKS)
    worker = plain_site.worker("-P", "solo", "--autoscale=4,1", ready=False)
    assert worker.wait() == 2
    lines = worker.log.splitlines()
    assert lines[0] == "error: --autoscale 4,1 is refused: solo cannot resize"
    assert "threads" in lines[1]
    assert len(lines) <= 5


def test_threads_scale_where_the_plugin_for_it_is_installed_and_say_what_to_install_elsewhere(plain_site: Any) -> None:
    plain_site.write(TASKS)
    installed = importlib.util.find_spec("worker_autoscale") is not None
    worker = plain_site.worker("-P", "threads", "--autoscale=4,1", ready=installed)
    if not installed:
        assert worker.wait() == 3
        assert "pip install worker-autoscale" in worker.log
        return
    naps = [plain_site.app.send_task("tasks.nap", (0.5,)) for _ in range(6)]
    for nap in naps:
        nap.get(timeout=30)
    assert worker.stop() == 0, worker.log


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_time_limits_end_a_task_that_other_pools_would_let_run(pool: str, plain_site: Any) -> None:
    plain_site.write(TASKS)
    plain_site.worker("-P", pool, "--time-limit=1", "--soft-time-limit=0.5", KERNEL_WORKER_LIMIT_GRACE="0.2")
    nap = plain_site.app.send_task("tasks.nap", (60,))
    nap.get(timeout=30, propagate=False)
    assert nap.state == "FAILURE"
    assert isinstance(nap.result, (SoftTimeLimitExceeded, TimeLimitExceeded))
    assert plain_site.lines() == [["began"]]


def test_threads_are_replaced_after_their_number_of_tasks(plain_site: Any) -> None:
    plain_site.write(TASKS)
    worker = plain_site.worker("-P", "threads", "-c", "1", "--max-tasks-per-child=1")
    ran = [plain_site.app.send_task("tasks.where").get(timeout=30) for _ in range(4)]
    assert {pid for pid, _ in ran} == {worker.process.pid}
    assert len({thread for _, thread in ran}) > 1, "the same thread had all of them"
    assert worker.stop() == 0, worker.log


def test_auto_ends_in_a_patched_worker_where_every_task_waits_and_gevent_is_there(plain_site: Any) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    plain_site.write("""
        import socket
        @app.task(workload="io")
        def patched(): return "gevent" in socket.socket.__module__
    """)
    worker = plain_site.worker("-P", "auto", "-c", "auto")
    assert "pool     gevent x " in worker.log
    assert "(-P auto: every task is declared io; -c auto: 100 greenlets for each of " in worker.log
    assert "loop     synloop" in worker.log
    assert plain_site.app.send_task("tasks.patched").get(timeout=30) is True
    assert worker.stop() == 0, worker.log


def test_auto_is_the_default_pool_where_tasks_say_nothing(plain_site: Any) -> None:
    plain_site.write(TASKS)
    worker = plain_site.worker("-P", "auto", "-c", "1")
    assert "pool     prefork x 1 (-P auto: 2 tasks (tasks.nap, ...) are not declared cpu or io; -c)" in worker.log
    assert plain_site.app.send_task("tasks.where").get(timeout=30)[0] != worker.process.pid
    assert worker.stop() == 0, worker.log
