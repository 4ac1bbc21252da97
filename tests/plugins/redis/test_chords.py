"""Parts of chords under Celery's keys: each counts once, and one caller at a time may send the body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from worker_broker_redis.results import RedisResultStore
from worker_kernel import ChordPart

GROUP = "celery-taskset-meta-g"


@pytest.fixture
def store(plain: str) -> Iterator[RedisResultStore]:
    store = RedisResultStore(plain, expires=100)
    yield store
    store.close()


def part(index: int, result: object = None, status: str = "SUCCESS") -> ChordPart:
    return ChordPart(group_id="g", index=index, task_id=f"t{index}", status=status, result=result)


def test_the_last_part_gets_all_in_the_order_of_the_group(store: RedisResultStore, server: Any) -> None:
    store.chord_size("g", 11)
    for index in range(10, 0, -1):
        assert store.chord_part(part(index, [index])) is None
    joined = store.chord_part(part(0, {"x": None}))
    assert joined is not None
    assert [one.result for one in joined.parts] == [{"x": None}, *([index] for index in range(1, 11))]
    assert 90 < server.ttl(f"{GROUP}.j") <= 100
    store.chord_sent(joined)
    assert server.keys(f"{GROUP}*") == [f"{GROUP}.c".encode()]


def test_a_part_counts_once(store: RedisResultStore) -> None:
    store.chord_size("g", 2)
    assert [store.chord_part(part(0)) for _ in range(3)] == [None] * 3
    assert store.chord_part(part(1)) is not None


def test_whoever_has_the_right_to_send_gets_it_again_and_nobody_else_does(store: RedisResultStore) -> None:
    store.chord_size("g", 2)
    store.chord_part(part(0))
    joined = store.chord_part(part(1))
    assert store.chord_part(part(0)) is None
    assert store.chord_part(part(1)) == joined


def test_a_right_that_was_not_used_passes_on(store: RedisResultStore, server: Any) -> None:
    store.chord_size("g", 2)
    store.chord_part(part(0))
    assert store.chord_part(part(1)) is not None
    assert 0 < server.ttl(f"{GROUP}.c") <= 60
    server.delete(f"{GROUP}.c")  # as if its time were over
    assert store.chord_part(part(0)) is not None


def test_a_part_that_comes_after_the_body_was_sent_changes_nothing(store: RedisResultStore, server: Any) -> None:
    store.chord_size("g", 1)
    joined = store.chord_part(part(0))
    assert joined is not None
    store.chord_sent(joined)
    assert store.chord_part(part(0)) is None
    assert not server.exists(f"{GROUP}.j")
    store.chord_size("g", 1)
    assert store.chord_part(part(0)) is not None, "a chord of the same id may be begun anew"


def test_parts_that_celery_did_not_order_and_added_ones_count(store: RedisResultStore, server: Any) -> None:
    server.set(f"{GROUP}.s", 1)
    server.set(f"{GROUP}.t", 1)
    server.rpush(f"{GROUP}.j", json.dumps([1, "theirs", "FAILURE", {"exc_type": "E"}]))
    joined = store.chord_part(part(-1, 5))
    assert joined is not None
    assert [(one.task_id, one.status) for one in joined.parts] == [("theirs", "FAILURE"), ("t-1", "SUCCESS")]


def test_the_shape_that_a_client_saved_is_told(store: RedisResultStore, server: Any) -> None:
    server.set(GROUP, json.dumps({"result": [["g", None], []]}))
    store.chord_size("g", 1)
    joined = store.chord_part(part(0))
    assert joined is not None
    assert joined.shape == [["g", None], []]
