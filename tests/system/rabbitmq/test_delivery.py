"""No task is lost, none loops: kills, attempts, the broker's own timeout."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_after_kill_9_every_task_has_run_and_only_those_that_ran_at_the_kill_ran_twice(
    rabbit_site: Callable[..., Any], queue_type: str, until: Any
) -> None:
    site = rabbit_site(queue_type)
    site.write("""
        @app.task(bind=True)
        def work(self):
            mark("start", self.request.id)
            time.sleep(0.05)
            mark("end", self.request.id)
    """)
    ids = [site.app.send_task("tasks.work").id for _ in range(200)]
    first = site.worker("-P", "threads", "-c", "8")
    until(lambda: sum(line[0] == "start" for line in site.lines()) >= 40, "the worker to be at work")
    first.signal(signal.SIGKILL)
    first.wait()
    at_kill = site.lines()
    ended = {line[1] for line in at_kill if line[0] == "end"}
    running = {line[1] for line in at_kill if line[0] == "start"} - ended
    assert running
    site.worker("-P", "threads", "-c", "8")
    until(lambda: len({line[1] for line in site.lines() if line[0] == "end"}) == 200, "all 200 tasks", 60)
    assert {line[1] for line in site.lines() if line[0] == "end"} == set(ids)
    until(lambda: site.queue_size() == 0, "an empty queue")
    starts = Counter(line[1] for line in site.lines() if line[0] == "start")
    twice = {task for task, count in starts.items() if count > 1}
    # A task whose end was written but whose acknowledgement was still on its way also counts as running.
    just_ended = {line[1] for line in at_kill[-60:] if line[0] == "end"}
    assert running <= twice <= running | just_ended
    assert max(starts.values()) == 2


def test_a_task_that_kills_its_process_is_quarantined_after_three_starts(site: Any, until: Any) -> None:
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
    until(lambda: site.queue_size(f"{site.queue}.quarantine") == 1, "the message in the quarantine")
    assert len(site.lines()) == 3
    assert site.queue_size() == 0


def test_handing_back_what_sleeps_is_no_attempt(site: Any, until: Any) -> None:
    site.write("""
        @app.task
        def slow():
            mark("begun")
            if len(open("marks").readlines()) <= 5:
                time.sleep(60)
            return "done"
    """)
    result = site.app.send_task("tasks.slow")
    for n in range(5):
        worker = site.worker("-P", "threads", "-c", "1")
        until(lambda n=n: len(site.lines()) == n + 1, f"start {n + 1}")
        worker.signal(signal.SIGQUIT)
        assert worker.wait() == 8, worker.log
        assert site.queue_size() == 1
    site.worker("-P", "threads", "-c", "1")
    assert result.get(timeout=30) == "done"


@pytest.mark.parametrize("loop", ["asynloop", "synloop"])
def test_what_was_held_through_lost_connections_was_not_started(
    rabbit_site: Callable[..., Any], proxy: Any, loop: str, until: Any
) -> None:
    """On a quorum queue that counts each delivery, held ones as well."""
    site = rabbit_site("quorum", loop)
    site.write("""
        @app.task
        def fill(): mark("begun"); time.sleep(6)
        @app.task
        def waits(): return "done"
    """)
    site.broker_url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
    worker = site.worker("-P", "threads", "-c", "1", "--prefetch-buffer", "1")
    site.app.send_task("tasks.fill")
    until(lambda: site.lines() == [["begun"]], "the first task to begin")
    waits = site.app.send_task("tasks.waits")
    for n in range(4):
        until(lambda n=n: worker.log.count("waits[") > n, "the second to be delivered")
        proxy.cut()
        until(lambda n=n: worker.log.count("connecting again") > n, f"loss {n + 1}")
    assert waits.get(timeout=60) == "done"
    assert worker.stop() == 0, worker.log
    assert site.lines() == [["begun"]]


def test_at_most_once_means_that_a_killed_task_does_not_come_back(site: Any, until: Any) -> None:
    site.write("""
        @app.task(acks_late=False)
        def once(): mark("start"); os.kill(os.getpid(), 9)
        @app.task
        def after(): return "after"
    """)
    site.app.send_task("tasks.once")
    site.worker("-P", "solo", ready=False).wait()
    site.worker("-P", "solo")
    assert site.app.send_task("tasks.after").get(timeout=30) == "after"
    assert site.lines() == [["start"]]


class Node:
    """A RabbitMQ of the test's own, with a data directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, distribution = _free_port(), _free_port()
        config = folder / "advanced.config"
        config.write_text("[{rabbit, [{consumer_timeout, 10000}, {channel_tick_interval, 1000}]}].\n")
        self.env = {
            **os.environ,
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"wk-test-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        (folder / "plugins").write_text("[].\n")
        account = pwd.getpwnam("rabbitmq")
        os.chown(folder, account.pw_uid, account.pw_gid)
        self.log = (folder / "output").open("w")
        self.process = subprocess.Popen(
            ["rabbitmq-server"], env=self.env, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def answers(self) -> bool:
        try:
            with kombu.Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
        except Exception:
            return False
        return True

    def close(self) -> None:
        stop = ["rabbitmqctl", "-n", self.env["RABBITMQ_NODENAME"], "shutdown", "--timeout", "30"]
        subprocess.run(stop, capture_output=True, timeout=60, check=False)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def impatient(rabbitmq_url: str, until: Any) -> Iterator[Node]:
    """A node that takes a channel away from a consumer that has not acknowledged a message for 10 s."""
    if os.geteuid() != 0 or shutil.which("rabbitmq-server") is None:
        pytest.skip("a RabbitMQ of the test's own needs rabbitmq-server on this machine, and root")
    folder = Path(tempfile.mkdtemp(prefix="wk-test-"))  # not below pytest's, which is for one user only
    node = Node(folder)
    try:
        until(node.answers, "the node to answer", 90)
        yield node
    finally:
        node.close()
        shutil.rmtree(folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [pytest.param(60, marks=pytest.mark.long), 14])
def test_a_task_that_outlasts_the_consumer_timeout_runs_once(
    impatient: Node, rabbit_site: Callable[..., Any], seconds: int, until: Any
) -> None:
    site = rabbit_site(port=impatient.port)
    site.write(f"""
        @app.task
        def long(): mark("begun"); time.sleep({seconds}); mark("done"); return "done"
    """)
    worker = site.worker("-P", "threads", "-c", "1")
    result = site.app.send_task("tasks.long")
    assert result.get(timeout=seconds + 60) == "done"
    assert "PRECONDITION_FAILED" in worker.log
    until(lambda: site.queue_size() == 0, "an empty queue")
    assert worker.stop() == 0, worker.log
    assert site.lines() == [["begun"], ["done"]]
