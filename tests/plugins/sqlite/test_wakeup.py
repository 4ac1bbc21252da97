from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest

from worker_broker_sqlite.database import Database
from worker_broker_sqlite.queues import Queues
from worker_broker_sqlite.results import SqliteResultStore
from worker_broker_sqlite.wakeup import FifoWaiter, PollingWaiter, open_waiter, ring, wait, wake_directory


@pytest.fixture(params=[FifoWaiter, lambda path: PollingWaiter()], ids=["fifo", "polling"])
def waiter(request: pytest.FixtureRequest, path: str) -> Any:
    waiter = request.param(path)
    yield waiter
    waiter.close()
    waiter.close()


def test_a_woken_waiter_is_readable_until_it_is_drained(waiter: Any) -> None:
    assert not wait(waiter, 0)
    waiter.wake()
    assert wait(waiter, None)
    waiter.drain()
    assert not wait(waiter, 0)


def test_waking_never_blocks_and_never_raises(waiter: Any) -> None:
    for _ in range(100_000):
        waiter.wake()
    waiter.drain()
    assert not wait(waiter, 0)
    waiter.close()
    waiter.wake()


def test_a_wait_works_where_select_is_all_there_is(waiter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    assert not wait(waiter, 0)
    waiter.wake()
    assert wait(waiter, 1)


def test_an_armed_waiter_is_woken_once_by_a_message(queues: Queues, database: Database, path: str) -> None:
    waiter = FifoWaiter(path)
    queues.fetch(["q", "r"], 1, waiter=waiter.name)
    queues.put("other", "{}", b"")
    assert not wait(waiter, 0)
    queues.put("q", "{}", b"")
    assert wait(waiter, 0)
    waiter.drain()
    queues.put("q", "{}", b"")
    assert not wait(waiter, 0)
    waiter.close()


def test_a_transaction_that_fails_wakes_nobody(queues: Queues, database: Database, path: str) -> None:
    waiter = FifoWaiter(path)
    queues.fetch(["q"], 1, waiter=waiter.name)

    def fail() -> None:
        with database.transaction():
            queues.put("q", "{}", b"")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not wait(waiter, 0)
    queues.put("q", "{}", b"")
    assert wait(waiter, 0)
    waiter.close()


def test_a_dead_waiter_is_removed_when_it_is_rung(path: str) -> None:
    directory = wake_directory(path)
    directory.mkdir()
    os.mkfifo(directory / "dead")
    ring(directory / "dead")
    ring(directory / "missing")
    assert list(directory.iterdir()) == []


def test_dead_waiters_are_removed_when_a_new_one_is_born_and_living_ones_are_not(path: str) -> None:
    directory = wake_directory(path)
    living = FifoWaiter(path)
    os.mkfifo(directory / "dead")
    (directory / "note").write_text("not ours")
    newborn = FifoWaiter(path)
    assert {entry.name for entry in directory.iterdir()} == {living.name, newborn.name, "note"}
    living.close()
    newborn.close()
    assert {entry.name for entry in directory.iterdir()} == {"note"}


def test_ringing_a_full_fifo_does_not_block(path: str) -> None:
    waiter = FifoWaiter(path)
    for _ in range(70_000):
        waiter.wake()
    ring(wake_directory(path) / str(waiter.name))
    assert wait(waiter, 0)
    waiter.close()


def test_without_fifos_the_file_is_polled(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "mkfifo")
    waiter = open_waiter(path)
    assert waiter.name is None
    assert waiter.poll_interval
    waiter.close()


def test_a_disk_that_takes_no_fifos_is_polled_with_a_warning(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "mkfifo", refuse)
    waiter = open_waiter(path)
    assert isinstance(waiter, PollingWaiter)
    assert "no FIFO beside" in caplog.text
    waiter.close()


def test_a_process_without_descriptors_says_so(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "mkfifo", refuse)
    with pytest.raises(OSError, match="Too many"):
        open_waiter(path)


def test_a_polling_consumer_gets_what_others_and_itself_send(
    connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, spawn: Callable[..., Any], url: str
) -> None:
    monkeypatch.delattr(os, "mkfifo")
    sender, receiver = connect(), connect()
    got: list[Any] = []
    with receiver.Consumer([kombu.Queue("q")], callbacks=[lambda body, message: got.append(body)]):
        with pytest.raises(TimeoutError):
            receiver.drain_events(timeout=0.15)
        receiver.Producer().publish("own", routing_key="q")
        receiver.drain_events(timeout=5)
        sender.Producer().publish("other", routing_key="q")
        receiver.drain_events(timeout=5)
    assert got == ["own", "other"]


def test_a_polling_reader_gets_its_result(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "mkfifo")
    store = SqliteResultStore(f"sqlite:///{path}")
    begin = time.monotonic()
    assert store.wait("t", 0.12) is None
    assert time.monotonic() - begin < 2
    store.close()
    assert not Path(f"{path}-wake").exists()
