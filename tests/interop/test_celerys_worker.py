"""Our client sends to an unmodified Celery worker, and reads what comes of it; both kinds share a chord."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
import pytest
from tests.interop.conftest import Place, place_of

from worker_kernel import SoftTimeLimitExceeded, TaskNotRegistered, TaskRevoked

pytestmark = [
    pytest.mark.leaves("descriptors", "threads", reason="Celery's client keeps connections of its result backend"),
    pytest.mark.filterwarnings(
        "ignore:Call to deprecated setex:DeprecationWarning"
    ),  # celery calls what redis-py 8 disowns
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TASKS = """
    @app.task(name="add")
    def add(x, y): return x + y
    @app.task(name="total")
    def total(numbers): return sum(numbers)
    @app.task(name="fail")
    def fail(*args): raise ValueError("on purpose", 7)
    @app.task(name="keep")
    def keep(first, word): app.backend.client.rpush("kept", f"{first} {word}")
    @app.task(name="soft")
    def soft():
        from billiard.exceptions import SoftTimeLimitExceeded
        raise SoftTimeLimitExceeded()
    @app.task(name="see", bind=True)
    def see(self):
        request = self.request
        return {"mine": request.headers and request.headers.get("mine"), "timelimit": request.timelimit,
                "priority": request.delivery_info["priority"], "expires": request.expires, "shadow": request.shadow}
    @app.task(name="again", bind=True, default_retry_delay=0)
    def again(self):
        if self.request.retries < 2:
            raise self.retry()
        return self.request.retries
    @app.task(name="parent")
    def parent(): return add.delay(1, 1).id
"""


@pytest.fixture(scope="module", params=["redis", "amqp"])
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place where a worker of Celery's runs TASKS."""
    with place_of(request.param, tmp_path_factory.mktemp("theirs")) as place:
        place.write_celery(TASKS)
        place.celery_worker()
        yield place


def kept(place: Place) -> list[str]:
    return [line.decode() for line in place.celery.backend.client.lrange("kept", 0, -1)]


def call(task: str, *args: Any, **options: Any) -> dict[str, Any]:
    return {
        "task": task,
        "args": list(args),
        "kwargs": {},
        "options": options,
        "subtask_type": None,
        "immutable": False,
    }


def test_a_result_with_its_state_and_children(theirs: Place) -> None:
    result = theirs.app.send_task("add", [2], {"y": 3})
    assert result.get(timeout=30) == 5
    assert (result.state, result.traceback, result.successful()) == ("SUCCESS", None, True)
    assert result.date_done is not None
    assert abs((datetime.now(UTC) - result.date_done).total_seconds()) < 60
    parent = theirs.app.send_task("parent")
    child = parent.get(timeout=30)
    assert [one.id for one in parent.children] == [child]


def test_a_failure_with_its_class_arguments_and_traceback(theirs: Place) -> None:
    result = theirs.app.send_task("fail")
    with pytest.raises(ValueError, match="on purpose") as caught:
        result.get(timeout=30)
    assert caught.value.args == ("on purpose", 7)
    assert "raise ValueError" in str(result.traceback)


def test_celerys_exceptions_are_ours(theirs: Place) -> None:
    with pytest.raises(TaskNotRegistered):
        theirs.app.send_task("nobody.has.it").get(timeout=30)
    with pytest.raises(SoftTimeLimitExceeded):
        theirs.app.send_task("soft").get(timeout=30)


def test_the_callers_options_arrive(theirs: Place) -> None:
    seen: Any = theirs.app.send_task(
        "see", headers={"mine": "x"}, priority=3, time_limit=50, soft_time_limit=40, shadow="other", expires=600
    ).get(timeout=30)
    assert (seen["mine"], seen["timelimit"], seen["priority"], seen["shadow"]) == ("x", [50, 40], 3, "other")
    assert datetime.fromisoformat(seen["expires"]) > datetime.now(UTC)


def test_countdown_eta_and_retries(theirs: Place) -> None:
    began = time.monotonic()
    later = [
        theirs.app.send_task("add", [1, 1], countdown=1.5),
        theirs.app.send_task("add", [1, 1], eta=datetime.now(UTC) + timedelta(seconds=1.5)),
    ]
    assert theirs.app.send_task("again").get(timeout=30) == 2
    assert [one.get(timeout=30) for one in later] == [2, 2]
    assert time.monotonic() - began >= 1.4


def test_an_expired_task_is_revoked(theirs: Place) -> None:
    if theirs.kind == "amqp":
        pytest.skip("RabbitMQ drops what has expired in the queue by itself, and Celery is not told")
    with pytest.raises(TaskRevoked, match="expired"):
        theirs.app.send_task("add", [1, 1], countdown=2, expires=1).get(timeout=30)


def test_an_ignored_result_and_compression(theirs: Place) -> None:
    ignored = theirs.app.send_task("add", [1, 1], ignore_result=True)
    assert theirs.app.send_task("add", ["a" * 5000, "b"], compression="gzip").get(timeout=30) == "a" * 5000 + "b"
    assert ignored.state == "PENDING"


def test_link_link_error_and_chain(theirs: Place, until: Any) -> None:
    word = theirs.queue
    theirs.app.send_task("add", [1, 2], link=[call("keep", f"linked-{word}")])
    until(lambda: f"3 linked-{word}" in kept(theirs), "the callback")
    failed = theirs.app.send_task("fail", link_error=call("keep", f"failed-{word}"))
    until(lambda: f"{failed.id} failed-{word}" in kept(theirs), "the errback")
    last = f"last-{word}"
    theirs.app.send_task("add", [1, 2], chain=[call("add", 100, task_id=last), call("add", 10)])
    assert theirs.app.AsyncResult(last).get(timeout=30) == 113


def test_a_chord_of_which_celery_and_we_run_parts_is_joined_once(theirs: Place, until: Any) -> None:
    """Half of the header goes to a queue of ours; whoever is last sends the body."""
    theirs.write("""
        @app.task(name="add")
        def add(x, y): return x + y
        @app.task(name="total")
        def total(numbers): mark("total"); return sum(numbers)
    """)
    ours = f"{theirs.queue}-ours"
    worker = theirs.worker("-P", "threads", "-Q", ours)
    try:
        for _ in range(5):
            header = [
                theirs.celery.signature("add", args=(n, n)).set(queue=ours if n % 2 else theirs.queue) for n in range(8)
            ]
            body = theirs.celery.signature("total").set(queue=ours)
            before = len(theirs.lines())
            assert celery.chord(header, body).apply_async().get(timeout=30) == 56
            assert len(theirs.lines()) == before + 1
    finally:
        worker.stop()
        with theirs.channel() as channel:
            channel.queue_delete(ours)
