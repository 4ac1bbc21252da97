"""Several processes on one server."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from worker_broker_redis.results import RedisResultStore

Call = Callable[..., Any]


def take(receiver: Any, seconds: float) -> Any:
    """One message, within so many seconds, and held."""
    receiver.connection.drain_events(timeout=seconds)
    return receiver.messages[-1]


def test_two_consumers_share_the_messages_each_exactly_once(connect: Call, send: Call, spawn: Call, url: str) -> None:
    children = [spawn("consume", url, "10") for _ in range(2)]
    for child in children:
        assert child.hear()["ready"]
    send(connect(), *range(500))
    seen = [child.hear()["seen"] for child in children]
    assert sorted(seen[0] + seen[1]) == list(range(500))
    for child in children:
        child.finish()


def test_the_message_of_a_killed_consumer_comes_back_after_its_lease(
    connect: Call, send: Call, receive: Call, spawn: Call, url: str
) -> None:
    connection = connect("?lease=1")
    send(connection, "work")
    child = spawn("hold", f"{url}?lease=1")
    assert child.hear() == {"holding": "work", "attempts": 0, "redelivered": False}
    child.process.kill()
    begin = time.monotonic()
    message = take(receive(connection, prefetch=1), 20)
    assert message.payload == "work"
    assert message.attempts == 1
    assert message.delivery_info["redelivered"] is True
    assert message.headers["redelivered"] is True  # what a worker of Celery's would look at
    assert time.monotonic() - begin < 5


def test_a_fetch_whose_reply_never_arrives_loses_nothing(connect: Call, send: Call, receive: Call, server: Any) -> None:
    connection = connect("?lease=0.5")
    send(connection, 1, 2)
    transport = connection.transport
    transport.queues.fetch(transport.link, [("q", "q")], width=1, limit=10)  # nobody learns what it brought
    connection.collect()
    assert not server.exists("q")
    receiver = receive(connect("?lease=0.5"))
    take(receiver, 20)
    assert [message.payload for message in receiver.messages] == [1, 2]


def test_a_consumer_that_lives_keeps_its_message_past_the_lease(
    connect: Call, send: Call, receive: Call, spawn: Call, url: str, server: Any
) -> None:
    connection = connect("?lease=0.6")
    send(connection, "work")
    child = spawn("hold", f"{url}?lease=0.6")
    child.hear()
    assert receive(connection).drain(2.0) == []
    child.tell("ack")
    assert child.hear() == {"stored": True, "lease_lost": False}
    child.finish()
    assert not server.exists("q", "unacked", "unacked_index")


@pytest.mark.parametrize("late", ["ack", "requeue", "reject"])
def test_a_consumer_that_slept_past_its_lease_changes_nothing(
    connect: Call, send: Call, receive: Call, spawn: Call, url: str, server: Any, late: str
) -> None:
    connection = connect("?lease=0.5")
    send(connection, "work")
    sleeper = spawn("hold", f"{url}?lease=0.5")
    sleeper.hear()
    os.kill(sleeper.process.pid, signal.SIGSTOP)
    message = take(receive(connection, prefetch=1), 20)
    connection.transport.queues.lease = 60.0
    connection.transport.renew()
    sleeper.tell(late)
    os.kill(sleeper.process.pid, signal.SIGCONT)
    assert sleeper.hear()["stored"] is False
    errors = sleeper.finish()
    assert "WARNING refused a late" in errors
    assert "queue q" in errors
    store = RedisResultStore(url.removeprefix("wk-"))
    assert store.get("t") is None
    assert server.hlen("unacked") == 1
    store.store({"task_id": "t", "status": "SUCCESS", "result": "ours"}, fence=message.fence)
    assert store.get("t") == {"task_id": "t", "status": "SUCCESS", "result": "ours"}
    store.close()
    message.ack()
    connection.transport.flush()
    assert not server.exists("q", "unacked", "unacked_index")


def test_a_sleeper_whose_message_nobody_took_goes_on_with_it(
    connect: Call, send: Call, spawn: Call, url: str, server: Any, until: Call
) -> None:
    send(connect(), "work")
    sleeper = spawn("hold", f"{url}?lease=0.5")
    sleeper.hear()
    os.kill(sleeper.process.pid, signal.SIGSTOP)
    until(lambda: not server.keys("wk:1:owner:*"), "the lease to run out")
    sleeper.tell("ack")
    os.kill(sleeper.process.pid, signal.SIGCONT)
    assert sleeper.hear() == {"stored": True, "lease_lost": False}
    assert sleeper.finish() == ""
    assert not server.exists("q", "unacked")


@pytest.mark.parametrize("mode", ["hub", "drain"])
def test_a_waiting_consumer_picks_a_message_up_within_20_ms(
    connect: Call, send: Call, spawn: Call, url: str, mode: str
) -> None:
    child = spawn("wait", url, mode, "31")
    assert child.hear()["ready"]
    connection = connect()
    latencies = []
    for _ in range(31):
        send(connection, time.time())
        latencies.append(child.hear()["latency"])
    child.finish()
    assert statistics.median(latencies) < 0.02, latencies


@pytest.mark.parametrize("mode", ["hub", "drain"])
def test_an_idle_consumer_takes_less_than_a_hundredth_of_a_core(spawn: Call, own: Any, mode: str) -> None:
    """On a server of its own: tests beside this one empty their databases, and that is told to everybody."""
    own.start()
    child = spawn("idle", own.url.replace("redis://", "wk-redis://"), mode, "6")
    assert child.hear()["share"] < 0.01
    child.finish()
