"""Consumers that look well and get nothing: the connection lives, heartbeats come, messages wait, none arrives."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.system.conftest import POOLS
from tests.system.proxy import Proxy

METHOD, HEADER, BODY = 1, 2, 3
"""AMQP's types of frames."""
DELIVER = (60, 60)
"""Class and method of ``basic.deliver``."""
PATIENCE = "2"
TASKS = """
    @app.task
    def add(x, y): return x + y
"""


class DeliverySieve:
    """Takes deliveries out of what a broker sends on one connection, and nothing else."""

    def __init__(self, eats: Callable[[], bool]) -> None:
        self._eats = eats
        self._unread = b""
        self._eating: set[int] = set()

    def __call__(self, data: bytes) -> bytes:
        self._unread += data
        passed = b""
        while len(self._unread) >= 7:
            kind, channel, size = struct.unpack(">BHI", self._unread[:7])
            frame, rest = self._unread[: size + 8], self._unread[size + 8 :]
            if len(frame) < size + 8:
                break
            self._unread = rest
            if kind == METHOD:
                self._eating.discard(channel)
                if struct.unpack(">HH", frame[7:11]) == DELIVER and self._eats():
                    self._eating.add(channel)
            if kind not in (METHOD, HEADER, BODY) or channel not in self._eating:
                passed += frame
        return passed


class DeliveryEater(Proxy):
    """Between a worker and its broker; once told so, it swallows deliveries."""

    def __init__(self, port: int) -> None:
        self.eats_all = threading.Event()
        self._old: list[threading.Event] = []
        super().__init__(port)

    def sieve(self) -> Callable[[bytes], bytes]:
        eats = threading.Event()
        self._old.append(eats)
        return DeliverySieve(lambda: eats.is_set() or self.eats_all.is_set())

    def eat_on_connections_of_now(self) -> None:
        for one in self._old:
            one.set()


@pytest.fixture
def eater(rabbitmq_url: str) -> Iterator[DeliveryEater]:
    eater = DeliveryEater(5672)
    yield eater
    eater.close()


@pytest.fixture
def watched(rabbit_site: Callable[..., Any], eater: DeliveryEater) -> Callable[..., Any]:
    """Start a worker behind the eater, with a short patience and a small window."""

    def start(pool: str, loop: str) -> tuple[Any, Any]:
        site = rabbit_site("classic", loop)
        site.write(TASKS)
        site.broker_url = f"amqp://guest:guest@127.0.0.1:{eater.port}//"
        args = ("-P", pool, "-c", "1", "--prefetch-buffer", "1", "--state-file", "state.json")
        worker = site.worker(*args, KERNEL_WORKER_WATCHDOG=PATIENCE)
        assert site.app.send_task("tasks.add", (1, 2)).get(timeout=30) == 3
        return site, worker

    return start


def columns() -> Iterator[Any]:
    for number, pool in enumerate(POOLS):
        for position, loop in enumerate(("asynloop", "synloop")):
            marks = [] if number % 2 == position else [pytest.mark.long]
            yield pytest.param(pool, loop, marks=marks, id=f"{pool}-{loop}")


@pytest.mark.usefixtures("sockets_of_its_own")
@pytest.mark.parametrize(("pool", "loop"), [*columns()])
def test_a_connection_that_delivers_nothing_is_made_anew(
    watched: Callable[..., Any], eater: DeliveryEater, pool: str, loop: str
) -> None:
    site, worker = watched(pool, loop)
    eater.eat_on_connections_of_now()
    results = [site.app.send_task("tasks.add", (n, n)) for n in range(6)]
    assert [result.get(timeout=30) for result in results] == [0, 2, 4, 6, 8, 10]
    assert worker.log.count("consumption watchdog") == 1
    assert site.state()["ready"] is True
    assert worker.stop() == 0, worker.log


@pytest.mark.usefixtures("sockets_of_its_own")
@pytest.mark.parametrize("loop", ["asynloop", pytest.param("synloop", marks=pytest.mark.long)])
@pytest.mark.parametrize("pool", [POOLS[-1], *(pytest.param(pool, marks=pytest.mark.long) for pool in POOLS[:-1])])
def test_where_that_does_not_help_the_worker_is_not_ready_and_then_exits_with_6(
    watched: Callable[..., Any], eater: DeliveryEater, pool: str, loop: str, until: Any
) -> None:
    site, worker = watched(pool, loop)
    eater.eats_all.set()
    results = [site.app.send_task("tasks.add", (n, n)) for n in range(6)]
    until(lambda: "connecting again" in worker.log, "the connection to be made anew")
    assert worker.process.poll() is None
    until(lambda: site.state()["ready"] is False and "message(s) wait" in site.state()["reason"], "not ready")
    assert worker.wait() == 6, worker.log
    assert worker.log.count("consumption watchdog: ") == 3
    eater.eats_all.clear()
    again = site.worker("-P", pool)
    assert [result.get(timeout=30) for result in results] == [0, 2, 4, 6, 8, 10]
    assert again.stop() == 0, again.log


@pytest.mark.parametrize(("pool", "loop"), [*columns()])
def test_a_consumer_whose_queue_was_deleted_consumes_from_the_next_of_that_name(
    rabbit: Any, rabbit_site: Callable[..., Any], pool: str, loop: str, until: Any
) -> None:
    """The broker cancels the consumer by itself, and keeps the connection."""
    site = rabbit_site("classic", loop)
    site.write(TASKS)
    worker = site.worker("-P", pool)
    rabbit.delete(site.queue)
    until(lambda: "connecting again" in worker.log, "the worker to notice")
    assert site.app.send_task("tasks.add", (1, 2)).get(timeout=30) == 3
    assert worker.stop() == 0, worker.log
