"""``rpc://`` with Celery on the other side, and among ourselves."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import celery
import kombu.pools
import pytest

from worker_kernel import App

TASKS = """
    @app.task
    def add(x, y): return x + y
    @app.task
    def fail(): raise ValueError("no")
    @app.task
    def ask(x): return app.send_task("tasks.add", (x, 1)).id
"""
CELERY_TASKS = """
import celery
app = celery.Celery("tasks", broker={broker!r}, backend="rpc://")
app.conf.task_default_queue = {queue!r}
@app.task(name="tasks.add")
def add(x, y): return x + y
@app.task(name="tasks.fail")
def fail(): raise ValueError("no")
"""


@pytest.fixture
def client(rabbitmq_url: str) -> Iterator[celery.Celery]:
    app = celery.Celery("client", broker=rabbitmq_url, backend="rpc://", set_as_current=False)
    yield app
    consumer = app.backend.result_consumer
    if consumer._consumer is not None:  # None where a look at the queue found all results: Celery cannot stop that
        consumer.stop()  # Celery keeps its connection as well
    app.close()
    kombu.pools.reset()  # kombu keeps connections for the process


@pytest.fixture
def replies(rabbit_site: Callable[..., Any]) -> Any:
    site = rabbit_site(result_backend="rpc://")
    site.write(TASKS)
    return site


def test_celerys_client_reads_what_our_worker_replies(replies: Any, client: celery.Celery) -> None:
    replies.worker("-P", "threads", "-c", "2")
    results = [client.send_task("tasks.add", (n, n), queue=replies.queue) for n in range(20)]
    assert [result.get(timeout=30) for result in results] == [2 * n for n in range(20)]
    failed = client.send_task("tasks.fail", queue=replies.queue)
    with pytest.raises(ValueError, match="no"):
        failed.get(timeout=30)
    assert failed.state == "FAILURE"
    assert "ValueError" in failed.traceback


def test_celerys_chain_ends_at_who_sent_it(replies: Any, client: celery.Celery) -> None:
    replies.worker("-P", "threads", "-c", "2")
    add = client.signature("tasks.add", queue=replies.queue)
    chain = celery.chain(add.clone((1, 2)), add.clone((10,)), add.clone((100,)), app=client)
    assert chain.apply_async().get(timeout=30) == 113


def test_our_client_reads_what_celerys_worker_replies(replies: Any, until: Any) -> None:
    source = CELERY_TASKS.format(broker=replies.broker_url, queue=replies.queue)
    (replies.folder / "celery_tasks.py").write_text(source)
    command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "-P", "solo", "--without-mingle"]
    with (replies.folder / "celery.log").open("w") as log:
        worker = subprocess.Popen(
            [*command, "-n", replies.queue], cwd=replies.folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        results = [replies.app.send_task("tasks.add", (n, n)) for n in range(20)]
        assert [result.get(timeout=60) for result in results] == [2 * n for n in range(20)]
        with pytest.raises(ValueError, match="no"):
            replies.app.send_task("tasks.fail").get(timeout=30)
    finally:
        worker.terminate()
        worker.wait(30)


def test_threads_that_wait_share_one_reader(replies: Any) -> None:
    replies.worker("-P", "threads", "-c", "4")
    got: dict[int, object] = {}

    def ask(n: int) -> None:
        got[n] = replies.app.send_task("tasks.add", (n, n)).get(timeout=30)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == {n: 2 * n for n in range(12)}


def test_a_result_that_came_before_anybody_waited_is_there(replies: Any, until: Any) -> None:
    replies.worker("-P", "threads")
    result = replies.app.send_task("tasks.add", (1, 2))
    until(result.ready, "the result")
    assert result.get(timeout=1) == 3
    assert result.state == "SUCCESS"


def test_a_task_sent_by_a_task_replies_to_who_sent_the_first(replies: Any) -> None:
    replies.worker("-P", "threads", "-c", "2")
    inner = replies.app.send_task("tasks.ask", (5,)).get(timeout=30)
    assert replies.app.AsyncResult(inner).get(timeout=30) == 6


def test_who_did_not_send_it_waits_in_vain(replies: Any) -> None:
    replies.worker("-P", "threads")
    result = replies.app.send_task("tasks.add", (1, 2))
    other = App("other", broker_url=replies.broker_url, result_backend="rpc://")
    try:
        with pytest.raises(TimeoutError):
            other.AsyncResult(result.id).get(timeout=1)
    finally:
        other.close()
    assert result.get(timeout=30) == 3


def test_replies_survive_a_cut_connection(replies: Any, rabbit_site: Callable[..., Any], proxy: Any) -> None:
    replies.worker("-P", "threads")
    app = App(
        "through", broker_url=f"amqp://guest:guest@127.0.0.1:{proxy.port}//", result_backend="rpc://",
        task_default_queue=replies.queue,
    )  # fmt: skip
    try:
        assert app.send_task("tasks.add", (1, 2)).get(timeout=30) == 3
        again = app.send_task("tasks.add", (2, 3))
        proxy.cut()
        with pytest.raises(Exception, match="rpc"):  # told, not hidden
            app.AsyncResult("of nobody").get(timeout=5)
        assert again.get(timeout=30) == 5
    finally:
        app.close()
