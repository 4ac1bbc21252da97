"""Acknowledgements in batches, against the real broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import kombu
import pytest

from worker_loops.acks import Acks

TASKS = """
    @app.task
    def note(number):
        mark(str(number))
"""


def test_the_broker_forgets_what_was_acknowledged_and_nothing_else(rabbit: Any) -> None:
    rabbit.declare(queue := f"{rabbit.prefix}-acks")
    try:
        with rabbit.channel() as channel:
            for number in range(10):
                kombu.Producer(channel).publish(b"", routing_key=queue, type=str(number))
        with kombu.Connection(rabbit.url) as connection, connection.channel() as channel:
            acks = Acks(channel)
            messages: list[Any] = []
            consumer = kombu.Consumer(channel, [kombu.Queue(queue)], on_message=messages.append, auto_declare=False)
            consumer.consume()
            while len(messages) < 10:
                connection.drain_events(timeout=30)
            for number in (1, 0, 2, 5, 9):
                acks.later(messages[number], (str(number), 0))
            messages[3].reject()
            acks.flush()
            acks.later(messages[4], ("4", 0))
            acks.later(messages[6], ("6", 0))
            acks.flush()
            channel.close()  # after whatever the broker had to say against it
        left = [rabbit.take(queue) for _ in range(3)]
        assert [message and message.properties["type"] for message in left] == ["7", "8", None]
    finally:
        rabbit.delete(queue)


@pytest.mark.parametrize("loop", ["asynloop", "synloop"])
def test_a_burst_through_which_the_connection_is_lost_is_done_once(
    rabbit_site: Callable[..., Any], proxy: Any, loop: str, until: Any
) -> None:
    site = rabbit_site("classic", loop)
    site.write(TASKS)
    for number in range(300):
        site.app.send_task("tasks.note", (number,))
    site.broker_url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
    worker = site.worker("-P", "threads", "-c", "4")
    until(lambda: len(site.lines()) > 100, "a third of the tasks")
    proxy.cut()
    until(lambda: len(site.lines()) >= 300, "all tasks", 60)
    assert worker.stop() == 0, worker.log
    assert "connecting again" in worker.log
    assert Counter(number for (number,) in site.lines()) == Counter(map(str, range(300)))
    assert site.queue_size() == 0
