"""An unmodified Celery client sends to a worker of ours, and reads what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
import pytest
from billiard.exceptions import TimeLimitExceeded
from celery.exceptions import ChordError, NotRegistered, Retry, TaskRevokedError
from celery.result import GroupResult

pytestmark = [
    pytest.mark.leaves("descriptors", "threads", reason="Celery's client keeps connections of its result backend"),
    pytest.mark.filterwarnings(
        "ignore:Call to deprecated setex:DeprecationWarning"
    ),  # celery calls what redis-py 8 disowns
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TASKS = """
    @app.task(name="add")
    def add(x, y): return x + y
    @app.task(name="total")
    def total(numbers): return sum(numbers)
    @app.task(name="listed")
    def listed(found): return found
    @app.task(name="fail")
    def fail(*args): raise ValueError("on purpose", 7)
    @app.task(name="mark")
    def mark_it(*words): mark(*words); return words[-1]
    @app.task(name="again", bind=True, default_retry_delay=0)
    def again(self):
        if self.request.retries < 2:
            raise self.retry()
        return self.request.retries
    @app.task(name="see", bind=True)
    def see(self, *args):
        request = self.request
        return {
            "headers": {name: request.headers.get(name) for name in ("mine", "shadow", "origin", "lang")},
            "priority": request.delivery_info["priority"], "timelimit": request.timelimit, "args": request.args,
            "root": request.root_id, "parent": request.parent_id, "group": request.group, "expires": request.expires,
        }
    @app.task(name="parent", bind=True)
    def parent(self):
        return add.delay(1, 1).id
    @app.task(name="soft")
    def soft():
        try:
            while True: time.sleep(0.01)
        except SoftTimeLimitExceeded:
            return "tidied"
    @app.task(name="sleep")
    def sleep(seconds): time.sleep(seconds)
"""


def disconnect(client: Any) -> None:
    client.backend.result_consumer.stop()
    client.backend.client.connection_pool.disconnect()


def sig(place: Any, name: str, *args: Any, **options: Any) -> Any:
    return place.celery.signature(name, args=args, **options)


def test_a_result_with_its_state_and_children(served: Any) -> None:
    result = served.celery.send_task("add", (2,), {"y": 3})
    assert result.get(timeout=30) == 5
    assert (result.state, result.traceback, result.successful()) == ("SUCCESS", None, True)
    assert abs((datetime.now(UTC) - result.date_done).total_seconds()) < 60
    parent = served.celery.send_task("parent")
    child = parent.get(timeout=30)
    assert [one.id for one in parent.children] == [child]
    assert parent.children[0].get(timeout=30) == 2


def test_a_failure_with_its_class_arguments_and_traceback(served: Any) -> None:
    result = served.celery.send_task("fail")
    with pytest.raises(ValueError, match="on purpose") as caught:
        result.get(timeout=30)
    assert caught.value.args == ("on purpose", 7)
    assert result.state == "FAILURE"
    assert "raise ValueError" in result.traceback


def test_a_task_that_nobody_has_is_told(served: Any) -> None:
    result = served.celery.send_task("nobody.has.it")
    with pytest.raises(NotRegistered, match=r"nobody\.has\.it"):
        result.get(timeout=30)


def test_a_retried_task_ends_well_and_its_state_in_between_is_readable(served: Any) -> None:
    assert served.celery.send_task("again").get(timeout=30) == 2
    assert issubclass(Retry, Exception)


def test_the_callers_options_arrive(served: Any) -> None:
    seen = served.celery.send_task(
        "see", headers={"mine": "x"}, priority=3, time_limit=50, soft_time_limit=40, shadow="other", expires=600
    ).get(timeout=30)
    assert seen["headers"]["mine"] == "x"
    assert seen["headers"]["shadow"] == "other"
    assert seen["headers"]["lang"] == "py"
    assert (seen["priority"], seen["timelimit"]) == (3, [50, 40])
    assert datetime.fromisoformat(seen["expires"]) > datetime.now(UTC)


def test_countdown_and_eta_are_waited_for(served: Any) -> None:
    began = time.monotonic()
    results = [
        served.celery.send_task("add", (1, 1), countdown=1.5),
        served.celery.send_task("add", (1, 1), eta=datetime.now(UTC) + timedelta(seconds=1.5)),
    ]
    assert [result.get(timeout=30) for result in results] == [2, 2]
    assert time.monotonic() - began >= 1.4


def test_an_expired_task_is_revoked(served: Any) -> None:
    # Held for its eta, it expires: RabbitMQ would drop one that expires in the queue by itself.
    result = served.celery.send_task("add", (1, 1), expires=1, countdown=2)
    if served.kind == "amqp":
        with pytest.raises((TaskRevokedError, celery.exceptions.TimeoutError)):
            result.get(timeout=10)
        return
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=30)


def test_time_limits_of_the_message_hold(served: Any) -> None:
    assert served.celery.send_task("soft", soft_time_limit=0.5).get(timeout=30) == "tidied"
    with pytest.raises(TimeLimitExceeded):
        served.celery.send_task("sleep", (20,), time_limit=1).get(timeout=19)


def test_an_ignored_result_is_not_stored(served: Any) -> None:
    ignored = served.celery.send_task("add", (1, 1), ignore_result=True)
    assert served.celery.send_task("add", (1, 1)).get(timeout=30) == 2
    time.sleep(0.2)  # nothing to wait for: it is not to come
    assert served.celery.AsyncResult(ignored.id).state == "PENDING"


def test_link_and_link_error(served: Any, until: Any) -> None:
    done = sig(served, "mark", f"linked-{served.queue}")
    result = served.celery.send_task("add", (1, 2), link=[done, done.clone()])
    assert result.get(timeout=30) == 3
    until(lambda: served.lines().count(f"3 linked-{served.queue}") == 2, "both callbacks")
    failed = served.celery.send_task("fail", link_error=sig(served, "mark", "failed"))
    until(lambda: f"{failed.id} failed" in served.lines(), "the errback")


def test_a_chain_hands_values_on_and_its_results_lead_back(served: Any) -> None:
    chain = celery.chain(sig(served, "add", 1, 2), sig(served, "add", 10), sig(served, "see", immutable=True))
    result = chain.apply_async()
    seen = result.get(timeout=30)
    assert seen["args"] == []
    assert result.parent.get(timeout=30) == 13
    assert result.parent.parent.get(timeout=30) == 3
    assert (seen["root"], seen["parent"]) == (result.parent.parent.id, result.parent.id)


def test_a_failure_in_a_chain_is_that_of_its_end(served: Any) -> None:
    result = celery.chain(sig(served, "fail"), sig(served, "add", 1), sig(served, "add", 2)).apply_async()
    with pytest.raises(ValueError, match="on purpose"):
        result.get(timeout=30)


def test_a_group_keeps_its_order_and_can_be_restored(served: Any) -> None:
    result = celery.group(sig(served, "add", n, n) for n in range(10)).apply_async()
    assert result.get(timeout=30) == [2 * n for n in range(10)]
    result.save()
    again = GroupResult.restore(result.id, app=served.celery)
    assert again.get(timeout=30) == [2 * n for n in range(10)]
    meta = served.celery.backend.get_task_meta(result[0].id)
    assert meta["group_id"] == result.id


def test_a_group_with_a_failure_is_told(served: Any) -> None:
    result = celery.group(sig(served, "add", 1, 1), sig(served, "fail")).apply_async()
    with pytest.raises(ValueError, match="on purpose"):
        result.get(timeout=30)
    assert result[0].get(timeout=30) == 2


# -- chords ------------------------------------------------------------------------------------------------------------


def test_a_chord(served: Any) -> None:
    result = celery.chord([sig(served, "add", n, n) for n in range(10)], sig(served, "listed")).apply_async()
    assert result.get(timeout=30) == [2 * n for n in range(10)]
    assert result.parent.get(timeout=30) == [2 * n for n in range(10)]


def test_a_chord_of_one_whose_results_are_ignored(served: Any) -> None:
    header = [sig(served, "add", 4, 4).set(ignore_result=True)]
    assert celery.chord(header, sig(served, "total")).apply_async().get(timeout=30) == 8


def test_a_chord_with_a_failure_fails_its_body_and_calls_its_errback(served: Any, until: Any) -> None:
    body = sig(served, "total").on_error(sig(served, "mark", "chord failed"))
    result = celery.chord([sig(served, "add", 1, 1), sig(served, "fail"), sig(served, "add", 1, 1)], body).apply_async()
    with pytest.raises(ChordError, match=r"Dependency .* raised ValueError"):
        served.celery.AsyncResult(result.id).get(timeout=30)
    until(lambda: f"{result.id} chord failed" in served.lines(), "the errback")


CANVAS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "group, then a task": (
        lambda s: celery.chain(s("add", 1, 1), celery.group(s("add", 1), s("add", 2)), s("total")),
        7,
    ),
    "group, group": (
        lambda s: celery.chain(celery.group(s("add", 1, 1), s("add", 2, 2)), celery.group(s("listed"), s("total"))),
        [[2, 4], 6],
    ),
    "chord, chord": (
        lambda s: celery.chain(
            celery.group(s("add", 1, 1), s("add", 2, 2)), s("total"), celery.group(s("add", 1), s("add", 2)), s("total")
        ),
        15,
    ),
    "chains in a chord": (
        lambda s: celery.chord(
            [celery.chain(s("add", 1, 1), s("add", 5)), celery.chain(s("add", 2, 2), s("add", 6))], s("listed")
        ),
        [7, 10],
    ),
    "a chord in a chord": (
        lambda s: celery.chord(
            [celery.chord([s("add", 1, 1), s("add", 2, 2)], s("total")), s("add", 3, 3)], s("listed")
        ),
        [6, 6],
    ),
    "a chain as body": (
        lambda s: celery.chord([s("add", 1, 1), s("add", 2, 2)], celery.chain(s("total"), s("add", 10))),
        16,
    ),
    "a group in a chord": (
        lambda s: celery.chord([celery.group(s("add", 1, 1), s("add", 2, 2)), s("add", 3, 3)], s("listed")),
        [4, 2, 6],  # as Celery's client numbers them
    ),
    "a group at the end": (lambda s: celery.chain(s("add", 1, 1), celery.group(s("add", 1), s("add", 2))), [3, 4]),
}


@pytest.mark.parametrize("name", CANVAS)
def test_canvas_comes_to_what_it_comes_to_with_celery(served: Any, name: str) -> None:
    make, value = CANVAS[name]
    result = make(lambda task, *args: sig(served, task, *args)).apply_async()
    assert result.get(timeout=30) == value


def test_a_failure_before_a_chord_in_a_chain_is_that_of_its_end(served: Any) -> None:
    canvas = celery.chain(
        sig(served, "fail"), celery.group(sig(served, "add", 1), sig(served, "add", 2)), sig(served, "total")
    )
    with pytest.raises(ValueError, match="on purpose"):
        canvas.apply_async().get(timeout=30)


def test_a_callback_may_be_a_chain_a_group_or_a_chord(served: Any, until: Any) -> None:
    word = f"canvas-{served.queue}"
    chain = celery.chain(sig(served, "add", 10), sig(served, "mark", f"{word}-chain"))
    group = celery.group(sig(served, "mark", f"{word}-group"), sig(served, "mark", f"{word}-group"))
    chord = celery.chord([sig(served, "add", 1), sig(served, "add", 2)], sig(served, "mark", f"{word}-chord"))
    served.celery.send_task("add", (1, 1), link=[chain, group, chord]).get(timeout=30)
    expected = {f"12 {word}-chain": 1, f"2 {word}-group": 2, f"[3, 4] {word}-chord": 1}
    until(lambda: {line: served.lines().count(line) for line in expected} == expected, "all callbacks")


# -- version 1 of the protocol, and what is refused --------------------------------------------------------------------


def test_version_1_messages_run(served: Any) -> None:
    with celery.Celery("old", broker=served.url, backend=served.results, set_as_current=False) as old:
        old.conf.update(task_protocol=1, task_default_queue=served.queue)
        result = old.send_task("add", (20, 22), countdown=0.1)
        assert result.get(timeout=30) == 42
        with pytest.raises(ValueError, match="on purpose"):
            old.send_task("fail").get(timeout=30)
        disconnect(old)


@pytest.mark.parametrize("task", ["celery.map", "celery.starmap", "celery.chord_unlock"])
def test_celerys_built_in_tasks_are_refused_by_name(served: Any, task: str) -> None:
    with pytest.raises(NotRegistered, match=task):
        served.celery.send_task(task, (), {"task": sig(served, "add"), "it": [[1, 2]]}).get(timeout=30)


def test_an_option_of_a_callback_that_is_not_supported_fails_the_task_before_it_runs(served: Any) -> None:
    result = served.celery.send_task("mark", ("never",), link=sig(served, "add", 1).set(exchange="topic"))
    with pytest.raises(Exception, match="exchange='topic'"):
        result.get(timeout=30)
    assert "never" not in served.lines()
