"""A process beside the test: run with a role and a URL, speaks JSON, one object per line, on its standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import kombu
from kombu.asynchronous import Hub
from kombu.transport import TRANSPORT_ALIASES

from worker_broker_redis.results import RedisResultStore
from worker_kernel import LeaseLost


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def connect(url: str, **options: Any) -> Any:
    TRANSPORT_ALIASES["wk-redis"] = "worker_broker_redis.transport:Transport"
    connection = kombu.Connection(url, transport_options=options)
    connection.connect()
    return connection


def drain(connection: Any, timeout: float) -> bool:
    try:
        connection.drain_events(timeout=timeout)
    except TimeoutError:
        return False
    return True


def consume(url: str, count: str) -> None:
    """Settle messages until the queue has given nothing for a while; tell which."""
    connection = connect(url)
    seen: list[object] = []

    def receive(body: object, message: Any) -> None:
        seen.append(body)
        message.ack()

    with connection.Consumer(kombu.Queue("q"), callbacks=[receive], prefetch_count=int(count)):
        say(ready=True)
        while drain(connection, 1.0):
            pass
    connection.release()
    say(seen=seen)


def hold(url: str) -> None:
    """Take one message and hold it, renewing, until told by a line on the standard input to settle it."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    connection = connect(url)
    held: list[Any] = []
    consumer = connection.Consumer(kombu.Queue("q"), on_message=held.append, prefetch_count=1)
    consumer.consume()
    while not held:
        drain(connection, 1.0)
    say(holding=held[0].payload, attempts=held[0].attempts, redelivered=held[0].delivery_info["redelivered"])
    os.set_blocking(0, False)
    while not (order := sys.stdin.readline()):
        drain(connection, 0.05)
    store = RedisResultStore(url)
    try:
        store.store({"task_id": "t", "status": "SUCCESS", "result": os.getpid()}, fence=held[0].fence)
        stored = True
    except LeaseLost:
        stored = False
    getattr(held[0], order.strip())()
    connection.transport.flush()
    say(stored=stored, lease_lost=held[0].lease_lost)
    store.close()
    connection.release()


def park(url: str) -> None:
    """Park whatever comes, until this is killed."""
    connection = connect(url)
    queue = kombu.Queue("q")
    with connection.Consumer(queue, on_message=lambda message: message.park(1000.0), prefetch_count=2):
        while True:
            drain(connection, 1.0)


def wait(url: str, mode: str, count: str) -> None:
    """Tell for each message how long it was under way."""
    connection = connect(url)
    left = int(count)

    def receive(body: float, message: Any) -> None:
        nonlocal left
        left -= 1
        say(latency=time.time() - body)
        message.ack()

    consumer = connection.Consumer(kombu.Queue("q"), callbacks=[receive], prefetch_count=4)
    consumer.consume()
    if mode == "hub":
        hub = Hub()
        connection.register_with_event_loop(hub)
        hub.run_once()
        say(ready=True)
        while left:
            hub.run_once()
        hub.close()
    else:
        drain(connection, 0.1)
        say(ready=True)
        while left:
            drain(connection, 10.0)
    connection.release()


def idle(url: str, mode: str, seconds: str) -> None:
    """Wait for messages that never come, and tell the share of a core that took."""
    # Changes are told by the name of a key alone, and tests beside this one have a queue q in other databases.
    connection = connect(url, global_keyprefix=f"idle{os.getpid()}:")
    consumer = connection.Consumer(kombu.Queue("q"), on_message=say, prefetch_count=4)
    consumer.consume()
    hub = Hub()
    if mode == "hub":
        connection.register_with_event_loop(hub)
        hub.run_once()
    else:
        drain(connection, 0.1)
    begin, cpu = time.monotonic(), time.process_time()
    while (passed := time.monotonic() - begin) < float(seconds):
        if mode == "hub":
            hub.run_once()
        else:
            drain(connection, float(seconds) - passed)
    say(share=(time.process_time() - cpu) / passed)
    connection.release()


if __name__ == "__main__":
    roles: dict[str, Callable[..., None]] = {
        "consume": consume,
        "hold": hold,
        "park": park,
        "wait": wait,
        "idle": idle,
    }
    roles[sys.argv[1]](*sys.argv[2:])
