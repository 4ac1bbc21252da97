"""The result store by itself, and beside Celery's."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import celery
import pytest
from celery.result import AsyncResult

from worker_broker_redis.address import Address
from worker_broker_redis.queues import SEPARATOR
from worker_broker_redis.results import RedisResultStore
from worker_kernel import App, Fence, LeaseLost, StoreUnavailable

celerys_client = pytest.mark.leaves("descriptors", reason="Celery's client keeps connections of its result backend")


def unheard() -> str:
    """A task id that no other test publishes: a channel of Redis is one for all its databases."""
    return uuid.uuid4().hex


def meta(status: str = "SUCCESS", result: object = 1, task_id: str = "t") -> dict[str, object]:
    return {"task_id": task_id, "status": status, "result": result, "traceback": None, "children": []}


@pytest.fixture
def store(plain: str) -> Iterator[RedisResultStore]:
    store = RedisResultStore(plain, expires=100)
    yield store
    store.close()


def test_what_is_stored_lies_under_celerys_key_for_its_time(store: RedisResultStore, server: Any) -> None:
    assert store.get("t") is None
    store.store(meta(result=[1, {"x": None}]))
    assert json.loads(server.get("celery-task-meta-t")) == meta(result=[1, {"x": None}]) == store.get("t")
    assert 95 < server.ttl("celery-task-meta-t") <= 100


@pytest.mark.parametrize("expires", [None, 0, float("inf")])
def test_a_result_may_be_kept_for_ever(plain: str, server: Any, expires: float | None) -> None:
    store = RedisResultStore(plain, expires=expires)
    store.store(meta())
    assert server.ttl("celery-task-meta-t") == -1
    store.close()


def test_a_success_stays_until_it_is_forgotten(store: RedisResultStore) -> None:
    for status in ("STARTED", "RETRY", "FAILURE", "SUCCESS"):
        store.store(meta(status, status))
        assert store.get("t") == meta(status, status)
    store.store(meta("FAILURE", "later"))
    assert store.get("t") == meta("SUCCESS", "SUCCESS")
    store.forget("t")
    assert store.get("t") is None
    store.store(meta("FAILURE"))
    assert store.get("t") == meta("FAILURE")


def test_a_wait_ends_when_the_task_does(store: RedisResultStore, plain: str, until: Any, server: Any) -> None:
    name = unheard()
    found: list[Any] = []
    waiting = [threading.Thread(target=lambda: found.append(store.wait(name, 30))) for _ in range(5)]
    for thread in waiting:
        thread.start()
    until(lambda: server.pubsub_numsub(f"celery-task-meta-{name}")[0][1] == 5, "all to wait")
    other = RedisResultStore(plain)
    other.store(meta("STARTED", task_id=name))
    begin = time.monotonic()
    other.store(meta(task_id=name))
    for thread in waiting:
        thread.join(20)
    assert time.monotonic() - begin < 2.0
    assert found == [meta(task_id=name)] * 5
    until(lambda: server.pubsub_numsub(f"celery-task-meta-{name}")[0][1] == 0, "nobody to listen any more")
    other.close()


def test_a_wait_has_an_end_of_its_own(store: RedisResultStore) -> None:
    assert store.wait("t", 0) is None
    assert store.wait("t", 0.1) is None
    store.store(meta())
    assert store.wait("t", 0) == meta()


def test_a_result_is_refused_while_the_message_is_in_other_hands(
    store: RedisResultStore, plain: str, server: Any
) -> None:
    authority = Address.from_url(plain).authority
    identity = SEPARATOR.join(("q", "tag"))
    fence = Fence(authority=authority, token=SEPARATOR.join(("me", identity)))
    store.store(meta("STARTED"), fence=fence)  # in nobody's hands: acknowledged early
    server.hset("wk:1:holders", identity, "somebody else")
    with pytest.raises(LeaseLost, match="task t"):
        store.store(meta(), fence=fence)
    assert store.get("t") == meta("STARTED")
    store.store(meta("RETRY"), fence=Fence(authority="elsewhere", token=fence.token))
    server.hset("wk:1:holders", identity, "me")
    store.store(meta(), fence=fence)
    assert store.get("t") == meta()


def test_a_store_that_does_not_serve_says_so(server: Any) -> None:
    store = RedisResultStore("redis://127.0.0.1:1/0?socket_connect_timeout=1")
    uses: list[Callable[[], object]] = [
        lambda: store.get("t"),
        lambda: store.store(meta()),
        lambda: store.wait("t", 1),
    ]
    for use in uses:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
            use()
    store.close()


def test_something_else_under_the_key_is_no_result(store: RedisResultStore, server: Any) -> None:
    server.set("celery-task-meta-t", b"\xff{")
    with pytest.raises(StoreUnavailable):
        store.get("t")
    server.delete("celery-task-meta-t")
    server.lpush("celery-task-meta-t", 1)
    with pytest.raises(StoreUnavailable):
        store.get("t")


def test_a_connection_that_was_cut_meanwhile_is_made_anew(store: RedisResultStore, server: Any, number: int) -> None:
    store.store(meta("STARTED"))
    (cut,) = (one for one in server.client_list() if one["db"] == str(number) and one["cmd"].startswith("evalsha"))
    server.client_kill(cut["addr"])
    store.store(meta())
    assert store.get("t") == meta()


def test_a_forked_child_has_connections_of_its_own(store: RedisResultStore) -> None:
    store.store(meta("STARTED"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.store(meta())
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get("t") == meta()


@celerys_client
@pytest.mark.filterwarnings(
    "ignore:Call to deprecated setex:DeprecationWarning"
)  # celery calls what redis-py 8 disowns
def test_celery_reads_what_ours_writes_and_ours_what_celery_writes(plain: str, store: RedisResultStore) -> None:
    with celery.Celery("client", broker=plain, backend=plain) as client:
        store.store(meta(result={"n": 1}, task_id="a"))
        assert AsyncResult("a", app=client).get(timeout=10) == {"n": 1}
        client.backend.store_result("b", {"n": 2}, "SUCCESS")
        ours = App("ours", broker_url=plain)
        assert ours.AsyncResult("b").get(timeout=10) == {"n": 2}
        ours.close()
        client.backend.mark_as_failure("c", ValueError("no"), traceback="here")
        found = store.wait("c", 10)
        assert found is not None
        assert (found["status"], found["result"]["exc_type"]) == ("FAILURE", "ValueError")
        assert found["traceback"] == "here"


@celerys_client
def test_celery_waits_for_what_ours_writes(plain: str, store: RedisResultStore, until: Any, server: Any) -> None:
    name = unheard()
    with celery.Celery("client", broker=plain, backend=plain) as client:
        result = AsyncResult(name, app=client)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(result.get(timeout=20)))
        thread.start()
        until(lambda: server.pubsub_numsub(f"celery-task-meta-{name}")[0][1], "Celery to wait")
        store.store(meta(result=7, task_id=name))
        thread.join(20)
        assert found == [7]
