from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import wait_for

from worker_broker_sqlite.queues import Queues
from worker_broker_sqlite.results import SqliteResultStore
from worker_kernel import Fence, LeaseLost, StoreUnavailable


@pytest.fixture
def store(path: str, clock: Any) -> Iterator[SqliteResultStore]:
    store = SqliteResultStore(f"sqlite:///{path}", expires=100.0, now=clock)
    yield store
    store.close()


def meta(status: str, result: object = None, task_id: str = "t") -> dict[str, object]:
    return {"task_id": task_id, "status": status, "result": result, "traceback": None, "children": []}


def test_what_is_stored_can_be_read_as_it_was(store: SqliteResultStore) -> None:
    assert store.get("t") is None
    store.store(meta("FAILURE", {"deep": [1, None, "ü"]}))
    assert store.get("t") == meta("FAILURE", {"deep": [1, None, "ü"]})


def test_a_success_is_never_overwritten(store: SqliteResultStore) -> None:
    store.store(meta("STARTED"))
    store.store(meta("SUCCESS", 1))
    store.store(meta("FAILURE", 2))
    store.store(meta("SUCCESS", 3))
    found = store.get("t")
    assert found is not None
    assert (found["status"], found["result"]) == ("SUCCESS", 1)


def test_forgetting_removes_also_a_success(store: SqliteResultStore) -> None:
    store.store(meta("SUCCESS", 1))
    store.forget("t")
    store.forget("t")
    assert store.get("t") is None


def test_an_expired_result_is_ignored_and_may_be_overwritten(store: SqliteResultStore, clock: Any) -> None:
    store.store(meta("SUCCESS", 1))
    clock.time += 100
    assert store.get("t") is None
    clock.time -= 50  # not cleaned away, just expired or not
    assert store.get("t") is not None
    clock.time += 50
    store.store(meta("FAILURE", 2))
    found = store.get("t")
    assert found is not None
    assert found["status"] == "FAILURE"


def test_expired_results_are_cleaned_away_as_others_are_stored(store: SqliteResultStore, clock: Any) -> None:
    store.store(meta("SUCCESS", 1))
    clock.time += 200
    store.store(meta("SUCCESS", 1, "other"))
    assert store._database.execute("SELECT task_id FROM results") == [("other",)]


@pytest.mark.parametrize("expires", [None, 0, float("inf")])
def test_results_may_be_kept_for_ever(path: str, clock: Any, expires: float | None) -> None:
    store = SqliteResultStore(f"sqlite:///{path}", expires=expires, now=clock)
    store.store(meta("SUCCESS"))
    clock.time += 1e9
    assert store.get("t")
    store.close()


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "REVOKED"])
def test_a_wait_ends_when_another_connection_stores_the_end(store: SqliteResultStore, path: str, status: str) -> None:
    other = SqliteResultStore(f"sqlite:///{path}")
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(store.wait("t", 30)))
    reader.start()
    wait_for(lambda: other._database.execute("SELECT 1 FROM waiters"), "the reader to wait")
    other.store(meta("STARTED"))
    begin = time.monotonic()
    other.store(meta(status))
    reader.join(10)
    assert found[0]["status"] == status
    assert time.monotonic() - begin < 1
    assert other._database.execute("SELECT 1 FROM waiters") == []
    assert list(Path(f"{path}-wake").iterdir()) == []
    other.close()


def test_a_wait_for_what_is_there_returns_at_once(store: SqliteResultStore) -> None:
    store.store(meta("SUCCESS", 1))
    assert store.wait("t", 0) == meta("SUCCESS", 1)
    assert store.wait("t", None) == meta("SUCCESS", 1)


def test_a_wait_ends_in_time_without_a_final_state(store: SqliteResultStore) -> None:
    store.store(meta("RETRY"))
    assert store.wait("t", 0) is None
    assert store.wait("t", 0.05) is None


def test_threads_may_share_a_store(store: SqliteResultStore) -> None:
    def write(number: int) -> None:
        for _ in range(20):
            store.store(meta("SUCCESS", number, f"t{number}"))
            assert store.get(f"t{number}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.get(f"t{number}") for number in range(8))


def test_a_result_counts_while_the_message_is_held(store: SqliteResultStore, queues: Queues, path: str) -> None:
    queues.put("q", "{}", b"")
    (held,) = queues.fetch(["q"], 1).deliveries
    store.store(meta("SUCCESS", 1), fence=Fence(authority=path, token=held.tag))
    assert store.get("t")


def test_a_late_result_is_refused_and_changes_nothing(
    store: SqliteResultStore, queues: Queues, path: str, clock: Any
) -> None:
    queues.put("q", "{}", b"")
    (first,) = queues.fetch(["q"], 1).deliveries
    clock.time += 31
    (second,) = queues.fetch(["q"], 1).deliveries
    store.store(meta("FAILURE", "second"), fence=Fence(authority=path, token=second.tag))
    with pytest.raises(LeaseLost, match="task t"):
        store.store(meta("SUCCESS", "first"), fence=Fence(authority=path, token=first.tag))
    found = store.get("t")
    assert found is not None
    assert found["result"] == "second"


def test_a_fence_of_another_broker_is_not_judged(store: SqliteResultStore) -> None:
    store.store(meta("SUCCESS"), fence=Fence(authority="/elsewhere.db", token="unknown"))
    assert store.get("t")


def test_a_file_that_cannot_be_opened_is_an_unavailable_store(tmp_path: Path) -> None:
    store = SqliteResultStore(f"sqlite:///{tmp_path}/missing/jobs.db")
    with pytest.raises(StoreUnavailable, match="does not exist"):
        store.get("t")
    store.close()


def test_a_forked_child_opens_the_store_anew_even_while_a_thread_holds_its_lock(store: SqliteResultStore) -> None:
    store.store(meta("SUCCESS", 1))
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            holding.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if store.get("t") else 1)
    release.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
