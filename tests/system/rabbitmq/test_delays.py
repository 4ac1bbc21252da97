"""Tasks for later wait in the broker, not in the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import celery
import kombu.pools
import pytest
from tests.system.conftest import POOLS
from tests.system.parking import TASKS, counts, park_many


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_far_eta_is_acknowledged_and_kept_on_the_ladder(
    rabbit: Any, rabbit_site: Callable[..., Any], pool: str, queue_type: str, until: Any
) -> None:
    site = rabbit_site(queue_type)
    site.write(TASKS)
    worker = site.worker("-P", pool)
    begun = time.time()
    result = site.app.send_task("tasks.now", countdown=11)
    assert site.app.send_task("tasks.now").get(timeout=30) - begun < 10
    until(lambda: site.queue_size() == 0, "the message to be parked")
    assert worker.stop() == 0, worker.log  # nothing is held here: there is nothing to hand back
    assert site.queue_size() == 0
    site.worker("-P", pool)
    assert result.get(timeout=60) - begun >= 11


def test_the_ladder_goes_by_queue_and_not_by_the_last_word_of_its_name(
    rabbit: Any, rabbit_site: Callable[..., Any], until: Any
) -> None:
    site = rabbit_site()
    site.write(TASKS)
    short, long = f"{site.queue}", f"a.{site.queue}"
    site.worker("-P", "threads", "-Q", f"{short},{long}")
    try:
        for queue in (short, long):  # both become known to the ladder
            site.app.send_task("tasks.now", countdown=10.5, queue=queue)
        results = [site.app.send_task("tasks.now", countdown=10.5, queue=queue) for queue in (short, long)]
        for result in results:
            result.get(timeout=60)
        until(lambda: site.workers[0].log.count("succeeded") == 4, "all four")
        assert site.workers[0].log.count("succeeded") == 4
    finally:
        rabbit.delete(long)


def test_what_celerys_client_delays_for_a_quorum_queue_arrives(
    rabbit: Any, rabbit_site: Callable[..., Any], rabbitmq_url: str
) -> None:
    """Such a client puts it on the ladder by itself, and relies on a worker to have bound the queue to it."""
    site = rabbit_site("quorum")
    site.write(TASKS)
    site.worker("-P", "threads")
    client = celery.Celery("client", broker=rabbitmq_url, set_as_current=False)
    client.conf.task_queues = [
        kombu.Queue(
            site.queue,
            kombu.Exchange("celery_delayed_test", type="topic"),
            routing_key=site.queue,
            queue_arguments={"x-queue-type": "quorum"},
        )
    ]
    client.conf.task_default_queue = site.queue
    try:
        begun = time.time()
        sent = client.send_task("tasks.now", countdown=3, queue=site.queue)
        assert site.app.AsyncResult(sent.id).get(timeout=60) - begun >= 2
    finally:
        client.close()
        kombu.pools.reset()
        with rabbit.channel() as channel:
            channel.exchange_delete("celery_delayed_test")


@pytest.fixture
def top_of_the_ladder(rabbit: Any) -> Iterator[int]:
    """A delay whose messages wait on one level, which no other test uses, and are thrown away afterwards.

    They must not come down: their queue is gone then, and a quorum queue's dead-letters that nobody takes block it.
    """
    level = 20
    yield 2**level + 3600  # however long it takes to get there, it is this level
    with rabbit.channel() as channel:
        channel.queue_purge(f"celery_delayed_{level}")


@pytest.mark.timeout(1500)
@counts
def test_parked_messages_cost_no_memory_and_stand_in_nobodys_way(
    rabbit_site: Callable[..., Any], top_of_the_ladder: int, count: int, until: Any
) -> None:
    site = rabbit_site()
    site.write(TASKS)
    site.worker("-P", "threads", "-c", "2")
    park_many(site, count, top_of_the_ladder, lambda: site.queue_size() == 0, until)
