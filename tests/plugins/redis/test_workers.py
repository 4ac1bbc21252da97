"""Real workers on a real server: ours, and Celery's beside them."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

import celery
import pytest

LOOPS = ["", "hub=0"]
celerys_client = pytest.mark.leaves("descriptors", reason="Celery's client keeps connections of its result backend")


@pytest.mark.parametrize("loop", LOOPS, ids=["asynloop", "synloop"])
def test_after_kill_9_every_task_has_run_and_only_those_that_ran_at_the_kill_ran_twice(
    site: Any, until: Any, server: Any, loop: str
) -> None:
    site.write("""
        @app.task(bind=True)
        def work(self):
            mark("start", self.request.id)
            time.sleep(0.05)
            mark("end", self.request.id)
    """)
    ids = [site.app.send_task("tasks.work").id for _ in range(200)]
    query = f"?lease=2&{loop}"
    first = site.worker("-P", "threads", "-c", "8", query=query)
    until(lambda: sum(line[0] == "start" for line in site.lines()) >= 40, "the worker to be at work")
    first.kill()
    at_kill = site.lines()
    ended = {line[1] for line in at_kill if line[0] == "end"}
    running = {line[1] for line in at_kill if line[0] == "start"} - ended
    assert len(running) >= 4
    assert 200 - len(running) - len(ended) >= 50

    site.worker("-P", "threads", "-c", "8", query=query)
    until(lambda: len({line[1] for line in site.lines() if line[0] == "end"}) == 200, "all 200 tasks", 60)
    assert {line[1] for line in site.lines() if line[0] == "end"} == set(ids)
    until(lambda: not server.exists("celery", "unacked", "unacked_index"), "nothing left")
    starts = Counter(line[1] for line in site.lines() if line[0] == "start")
    twice = {task for task, count in starts.items() if count > 1}
    just_ended = {line[1] for line in at_kill[-60:] if line[0] == "end"}
    assert running <= twice <= running | just_ended
    assert max(starts.values()) == 2


@celerys_client
def test_a_celery_worker_holds_a_task_for_three_leases_beside_an_idle_one_of_ours(site: Any, until: Any) -> None:
    site.write("""
        @app.task(name="long")
        def long(): mark("ours")
    """)
    theirs = site.celery("""
        @app.task(name="long")
        def long(): mark("theirs"); time.sleep(4.5); return "done"
    """)
    theirs.wait_ready()
    with celery.Celery("client", broker=site.url, backend=site.url) as client:
        result = client.send_task("long")
        until(lambda: site.lines() == [["theirs"]], "Celery to begin")
        site.worker("-P", "threads", query="?lease=1.5").wait_ready()
        assert result.get(timeout=30) == "done"
    assert site.lines() == [["theirs"]]


def test_one_of_ours_holds_a_task_past_the_visibility_timeout_of_an_idle_celery_worker(site: Any, until: Any) -> None:
    site.write("""
        @app.task(name="long")
        def long(): mark("ours"); time.sleep(5); return "done"
    """)
    site.worker("-P", "threads", query="?lease=1.5").wait_ready()
    result = site.app.send_task("long")
    until(lambda: site.lines() == [["ours"]], "ours to begin")
    theirs = site.celery("""
        @app.task(name="long")
        def long(): mark("theirs")
    """)
    theirs.wait_ready()
    assert result.get(timeout=30) == "done"
    assert site.lines() == [["ours"]]


def test_a_parked_task_of_three_leases_runs_once_beside_two_workers(site: Any, until: Any, server: Any) -> None:
    site.write("""
        @app.task
        def later(): mark("run"); return "done"
    """)
    for _ in range(2):
        site.worker("-P", "threads", query="?lease=1").wait_ready()
    result = site.app.send_task("tasks.later", countdown=3.5)
    until(lambda: server.zcard("wk:1:delayed") == 1, "the task to be parked")
    assert result.get(timeout=30) == "done"
    assert site.lines() == [["run"]]


@pytest.mark.parametrize("loop", LOOPS, ids=["asynloop", "synloop"])
def test_a_lease_is_renewed_while_the_task_runs(site: Any, loop: str) -> None:
    site.write("""
        @app.task
        def long(): mark("run"); time.sleep(4); return "done"
    """)
    for pool in ("solo", "threads"):
        site.worker("-P", pool, query=f"?lease=1&{loop}").wait_ready()
    assert site.app.send_task("tasks.long").get(timeout=30) == "done"
    assert site.lines() == [["run"]]


def test_a_late_settlement_is_refused_and_changes_neither_queue_nor_result(site: Any, until: Any, server: Any) -> None:
    site.write("""
        @app.task
        def who():
            mark("run")
            if len(open("marks").readlines()) == 1:
                time.sleep(3)
            return os.getpid()
    """)
    first = site.worker("-P", "threads", "-c", "1", query="?lease=1")
    result = site.app.send_task("tasks.who")
    until(lambda: len(site.lines()) == 1, "the first worker to run it")
    first.process.send_signal(signal.SIGSTOP)
    second = site.worker("-P", "threads", "-c", "1", query="?lease=1")
    assert result.get(timeout=30) == second.process.pid
    first.process.send_signal(signal.SIGCONT)
    until(lambda: "lease" in first.log, "the first worker to notice")
    assert first.stop() == 0, first.log
    assert result.get(timeout=5) == second.process.pid
    assert not server.exists("celery", "unacked", "unacked_index")
    assert len(site.lines()) == 2


def test_a_task_that_kills_its_process_is_quarantined_after_three_starts(site: Any, until: Any, server: Any) -> None:
    site.write("""
        @app.task
        def poison(): mark("start"); os.kill(os.getpid(), 9)
    """)
    result = site.app.send_task("tasks.poison")
    for n in range(3):
        worker = site.worker("-P", "solo", query="?lease=1")
        until(lambda n=n: len(site.lines()) == n + 1, f"start {n + 1}")
        worker.process.wait(30)
    site.worker("-P", "solo", query="?lease=1")
    result.get(timeout=30, propagate=False)
    assert result.state == "FAILURE"
    until(lambda: server.llen("celery.quarantine") == 1, "the message in the quarantine")
    assert len(site.lines()) == 3
    until(lambda: not server.exists("wk:1:attempts"), "no count left")


@celerys_client
def test_a_celery_client_sends_and_reads_and_ours_does_from_a_celery_worker(site: Any) -> None:
    site.write("""
        @app.task(name="add")
        def add(x, y): return x + y
        @app.task(name="fail")
        def fail(): raise ValueError("no")
    """)
    ours = site.worker("-P", "threads", query="").wait_ready()
    with celery.Celery("client", broker=site.url, backend=site.url) as client:
        assert client.send_task("add", (2, 3)).get(timeout=20) == 5
        failed = client.send_task("fail", priority=6)
        with pytest.raises(ValueError, match="no"):
            failed.get(timeout=20)
        assert failed.state == "FAILURE"
    assert ours.stop() == 0, ours.log
    site.celery("""
        @app.task(name="mul")
        def mul(x, y): return x * y
    """).wait_ready()
    assert site.app.send_task("mul", (6, 7)).get(timeout=20) == 42


def test_two_workers_share_a_queue_without_running_anything_twice(site: Any, until: Any, server: Any) -> None:
    site.write("""
        @app.task(bind=True)
        def work(self): mark(self.request.id)
    """)
    ids = {site.app.send_task("tasks.work").id for _ in range(300)}
    for query in ("", "?hub=0"):
        site.worker("-P", "threads", "-c", "4", query=query)
    until(lambda: len(site.lines()) >= 300, "all tasks", 60)
    until(lambda: not server.exists("celery", "unacked", "unacked_index", "wk:1:holders"), "nothing left")
    assert sorted(line[0] for line in site.lines()) == sorted(ids)


def test_at_most_once_stores_its_result_and_does_not_come_back(site: Any, server: Any, until: Any) -> None:
    site.write("""
        @app.task(acks_late=False)
        def once(): return "done"
    """)
    site.worker("-P", "threads").wait_ready()
    assert site.app.send_task("tasks.once").get(timeout=20) == "done"
    until(lambda: not server.exists("celery", "unacked", "wk:1:holders"), "nothing left")
