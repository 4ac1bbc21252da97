"""Queues of both types, queues that exist already, alternates of the broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from worker_kernel import App, BrokerUnavailable

ADD = """
    @app.task
    def add(x, y): return x + y
"""


def test_tasks_run_and_their_messages_are_gone(site: Any, until: Any) -> None:
    site.write(ADD)
    site.worker("-P", "threads", "-c", "4")
    results = [site.app.send_task("tasks.add", (n, n)) for n in range(50)]
    assert [result.get(timeout=30) for result in results] == [2 * n for n in range(50)]
    until(lambda: site.queue_size() == 0, "an empty queue")


@pytest.mark.parametrize("there", ["classic", "quorum", "limited"])
@pytest.mark.parametrize("wanted", ["classic", "quorum"])
def test_a_queue_that_exists_is_used_as_it_is(
    rabbit: Any, rabbit_site: Callable[..., Any], there: str, wanted: str
) -> None:
    site = rabbit_site(wanted)
    kinds: dict[str, dict[str, object]] = {
        "classic": {},
        "quorum": {"x-queue-type": "quorum"},
        "limited": {"x-max-length": 1000},
    }
    rabbit.declare(site.queue, **kinds[there])
    site.write(ADD)
    worker = site.worker("-P", "threads", "-c", "2")
    assert [site.app.send_task("tasks.add", (n, 1)).get(timeout=30) for n in range(5)] == [1, 2, 3, 4, 5]
    assert worker.stop() == 0, worker.log
    assert ("is used as it is" in worker.log) == (there != wanted)


def test_single_queues_have_their_own_type(rabbit: Any, rabbit_site: Callable[..., Any]) -> None:
    site = rabbit_site()
    other = f"{site.queue}-other"
    app = App("client", broker_url=site.broker_url, task_queue_types={other: "quorum"})
    try:
        app.send_task("tasks.add", (1, 1), queue=other)
        message = rabbit.take(other)
        assert message.headers["x-delivery-count"] == 0  # only quorum queues count
    finally:
        app.close()
        rabbit.delete(other)


def test_a_queue_that_cannot_be_had_ends_the_start_with_5_and_does_not_loop(
    rabbit: Any, rabbit_site: Callable[..., Any]
) -> None:
    site = rabbit_site()
    site.write(ADD)
    with rabbit.channel() as channel:
        channel.queue_declare(site.queue, exclusive=True)  # nobody else may use it
        worker = site.worker("-P", "solo", ready=False)
        assert worker.wait() == 5, worker.log
        assert "RESOURCE_LOCKED" in worker.log
        with pytest.raises(BrokerUnavailable, match="RESOURCE_LOCKED"):
            site.app.send_task("tasks.add", (1, 1))


@pytest.mark.parametrize("first", ["amqp://guest:guest@127.0.0.1:1//", "amqp://guest:wrong@127.0.0.1:5672//"])
def test_the_next_url_serves_where_the_first_does_not(rabbit_site: Callable[..., Any], first: str) -> None:
    site = rabbit_site()
    site.write(ADD)
    site.broker_url = f"{first};{site.broker_url}"
    worker = site.worker("-P", "threads", KERNEL_BROKER_CONNECTION_RETRY_ON_STARTUP="1")
    assert site.app.send_task("tasks.add", (1, 2)).get(timeout=30) == 3
    assert worker.stop() == 0


def test_a_task_knows_the_queue_that_its_message_came_from(
    rabbit: Any, rabbit_site: Callable[..., Any], until: Any
) -> None:
    """Not its routing key, which an exchange may have changed into anything."""
    site = rabbit_site()
    site.write("""
        @app.task(bind=True)
        def where(self): return self.request.queue
    """)
    rabbit.declare(site.queue)
    exchange = f"{site.queue}-exchange"
    with rabbit.channel() as channel:
        channel.exchange_declare(exchange, "direct", durable=False)
        channel.queue_bind(site.queue, exchange, "another.key")
        site.worker("-P", "threads")
        result = site.app.send_task("tasks.where", queue=f"{site.queue}-aside")
        message = rabbit.take(f"{site.queue}-aside")
        channel.basic_publish(message, exchange, "another.key")
        assert result.get(timeout=30) == site.queue
        channel.exchange_delete(exchange)
    rabbit.delete(f"{site.queue}-aside")


def test_a_window_that_changes_is_told_to_the_broker(site: Any, until: Any) -> None:
    """Early acknowledged tasks shut it, and its end opens it again."""
    site.write("""
        @app.task(acks_late=False)
        def early(n): mark("begun", n); time.sleep(0.2); mark("done", n)
    """)
    worker = site.worker("-P", "threads", "-c", "2")
    for n in range(12):
        site.app.send_task("tasks.early", (n,))
    until(lambda: sum(line[0] == "done" for line in site.lines()) == 12, "all tasks")
    assert worker.stop() == 0, worker.log
    assert "lost" not in worker.log
