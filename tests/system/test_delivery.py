"""No task is lost, none loops: kills, leases and limits."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import POOLS


def test_after_kill_9_every_task_has_run_and_only_those_that_ran_at_the_kill_ran_twice(site: Any, until: Any) -> None:
    site.write("""
        @app.task(bind=True)
        def work(self):
            start = time.time()
            mark("start", self.request.id)
            time.sleep(0.05)
            mark("end", self.request.id, os.getpid(), start, time.time())
    """)
    ids = [site.app.send_task("tasks.work").id for _ in range(200)]
    site.query = (site.query + "&" if site.query else "?") + "lease=2"
    first = site.worker("-P", "threads", "-c", "8")
    until(lambda: sum(line[0] == "start" for line in site.lines()) >= 40, "the worker to be at work")
    first.signal(signal.SIGKILL)
    first.wait()
    at_kill = site.lines()
    ended = {line[1] for line in at_kill if line[0] == "end"}
    running = {line[1] for line in at_kill if line[0] == "start"} - ended
    assert len(running) >= 4
    assert 200 - len(running) - len(ended) >= 50

    site.worker("-P", "threads", "-c", "8")
    until(lambda: len({line[1] for line in site.lines() if line[0] == "end"}) == 200, "all 200 tasks", 60)
    assert {line[1] for line in site.lines() if line[0] == "end"} == set(ids)
    until(lambda: site.queue_size() == 0, "an empty queue")
    starts = Counter(line[1] for line in site.lines() if line[0] == "start")
    twice = {task for task, count in starts.items() if count > 1}
    # A task whose end was written but whose acknowledgement was still on its way also counts as running.
    just_ended = {line[1] for line in at_kill[-60:] if line[0] == "end"}
    assert twice <= running | just_ended
    assert running <= twice
    assert max(starts.values()) == 2


@pytest.mark.parametrize("pool", POOLS)
def test_a_lease_is_renewed_while_the_task_runs(site: Any, pool: str, until: Any) -> None:
    site.query = (site.query + "&" if site.query else "?") + "lease=2"
    site.write("""
        @app.task
        def long(): mark("run", os.getpid()); time.sleep(6); return "done"
    """)
    site.worker("-P", pool)
    site.worker("-P", pool)
    assert site.app.send_task("tasks.long").get(timeout=40) == "done"
    assert len(site.lines()) == 1


def test_a_late_settlement_is_refused_and_changes_neither_queue_nor_result(plain_site: Any, until: Any) -> None:
    site = plain_site
    site.query = "?lease=1"
    site.write(
        """
        @app.task
        def who():
            mark("run", os.getpid())
            if len(open("marks").readlines()) == 1:
                time.sleep(3)
            return os.getpid()
    """
    )
    first = site.worker("-P", "threads", "-c", "1")
    result = site.app.send_task("tasks.who")
    until(lambda: len(site.lines()) == 1, "the first worker to run it")
    first.signal(signal.SIGSTOP)
    second = site.worker("-P", "threads", "-c", "1")
    assert result.get(timeout=30) == second.process.pid
    first.signal(signal.SIGCONT)
    until(lambda: "lease" in first.log, "the first worker to notice")
    assert first.stop() == 0, first.log
    assert result.get(timeout=5) == second.process.pid
    assert site.queue_size() == 0
    assert len(site.lines()) == 2


def test_a_task_that_kills_its_process_is_quarantined_after_three_starts(plain_site: Any, until: Any) -> None:
    site = plain_site
    site.query = "?lease=1"
    site.write("""
        @app.task
        def poison(): mark("start"); os.kill(os.getpid(), 9)
    """)
    result = site.app.send_task("tasks.poison")
    for n in range(3):
        worker = site.worker("-P", "solo", ready=False)
        until(lambda n=n: len(site.lines()) == n + 1, f"start {n + 1}")
        worker.wait()
    site.worker("-P", "solo")
    result.get(timeout=30, propagate=False)
    assert result.state == "FAILURE"
    until(lambda: site.queue_size("celery.quarantine") == 1, "the message in the quarantine")
    assert len(site.lines()) == 3


def test_at_most_once_means_that_a_killed_task_does_not_come_back(plain_site: Any, until: Any) -> None:
    site = plain_site
    site.query = "?lease=1"
    site.write("""
        @app.task(acks_late=False)
        def once(): mark("start"); os.kill(os.getpid(), 9)
        @app.task
        def after(): return "after"
    """)
    site.app.send_task("tasks.once")
    site.worker("-P", "solo", ready=False).wait()
    after = site.app.send_task("tasks.after", countdown=2)
    site.worker("-P", "solo")
    assert after.get(timeout=30) == "after"
    assert site.lines() == [["start"]]


@pytest.mark.parametrize("pool", POOLS)
def test_the_result_of_a_task_that_was_acknowledged_early_is_stored(plain_site: Any, pool: str) -> None:
    plain_site.write("""
        @app.task(acks_late=False)
        def once(): return "done"
    """)
    plain_site.worker("-P", pool)
    assert plain_site.app.send_task("tasks.once").get(timeout=20) == "done"


STUBBORN = """
    @app.task
    def stubborn():
        mark("begun")
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
    @app.task
    def after(): return "after"
"""


def test_solo_ends_the_process_with_9_when_a_task_outlives_its_hard_limit(site: Any, until: Any) -> None:
    site.write(STUBBORN)
    worker = site.worker("-P", "solo", "--time-limit", "1")
    result = site.app.send_task("tasks.stubborn")
    assert worker.wait(30) == 9, worker.log
    assert result.state == "FAILURE"
    assert result.get(propagate=False).__class__.__name__ == "TimeLimitExceeded"
    assert site.queue_size() == 0
    next_worker = site.worker("-P", "solo")
    assert site.app.send_task("tasks.after").get(timeout=30) == "after"
    assert next_worker.stop() == 0
    assert len(site.lines()) == 1


def test_the_same_as_process_1_of_a_pid_namespace(plain_site: Any) -> None:
    site = plain_site
    site.write(STUBBORN)
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not allow PID namespaces (unshare --pid needs root)")
    result = site.app.send_task("tasks.stubborn")
    command = [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks", "-b", site.url, "-P", "solo"]
    done = subprocess.run(
        [*unshare, *command, "--time-limit", "1"],
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    assert result.state == "FAILURE"
    assert site.queue_size() == 0


def test_threads_fail_a_sleeping_task_at_its_hard_limit_and_go_on(site: Any) -> None:
    site.write("""
        @app.task(time_limit=1)
        def sleep(): time.sleep(30)
        @app.task
        def after(): return "after"
    """)
    site.worker("-P", "threads", "-c", "1")
    stuck, after = site.app.send_task("tasks.sleep"), site.app.send_task("tasks.after")
    assert after.get(timeout=20) == "after"
    stuck.get(timeout=20, propagate=False)
    assert stuck.state == "FAILURE"


@pytest.mark.parametrize("pool", POOLS)
def test_a_soft_limit_is_raised_in_the_task(site: Any, pool: str) -> None:
    site.write("""
        @app.task(soft_time_limit=0.5)
        def tidy():
            try:
                while True:
                    time.sleep(0.01)
            except SoftTimeLimitExceeded:
                return "tidied"
    """)
    site.worker("-P", pool)
    assert site.app.send_task("tasks.tidy").get(timeout=20) == "tidied"


def test_two_workers_share_a_queue_without_running_anything_twice(plain_site: Any, until: Any) -> None:
    site = plain_site
    site.write("""
        @app.task(bind=True)
        def work(self): mark(self.request.id, os.getpid())
    """)
    ids = {site.app.send_task("tasks.work").id for _ in range(300)}
    for _ in range(2):
        site.worker("-P", "threads", "-c", "4", ready=False)
    until(lambda: len(site.lines()) >= 300, "all tasks", 60)
    until(lambda: site.queue_size() == 0, "an empty queue")
    assert sorted(line[0] for line in site.lines()) == sorted(ids)


def test_the_embedded_file_is_the_default_broker(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from worker_kernel import App\napp = App('tasks')\n@app.task\ndef add(x, y): return x + y\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks"], cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        call = [sys.executable, "-m", "worker_kernel", "call", "-A", "tasks", "tasks.add", "--args", "[2, 3]", "--wait"]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "5" in done.stdout
    finally:
        worker.terminate()
        assert worker.wait(30) == 0
        assert worker.stderr is not None
        worker.stderr.close()
