"""What is written, and that it is read as it was written, by us and by Celery."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.message import Message

from worker_kernel.tasks.body import decode
from worker_kernel.tasks.envelope import parse
from worker_kernel.tasks.message import Invocation, WireMessage, compose, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.tasks.conftest import Lab

NOW = 1_700_000_000.0


def plan(*args: Any, **options: Any) -> Invocation:
    positional, keyword = options.pop("args", args), options.pop("kwargs", {})
    return Invocation.plan(options.pop("task", "t"), positional, keyword, now=NOW, default_queue="q", **options)


def received(wire: WireMessage, **parts: Any) -> Message:
    """What a transport delivers for a message."""
    given: dict[str, Any] = {
        "body": wire.body,
        "content_type": wire.content_type,
        "content_encoding": wire.content_encoding,
        "headers": dict(wire.headers),
        "properties": dict(wire.properties),
        "delivery_info": {"exchange": "", "routing_key": "q"},
    }
    return Message(**{**given, **parts})


floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | floats | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
).filter(lambda value: "__type__" not in repr(value))
limits = st.none() | st.floats(min_value=0.001, max_value=1e6)
moments = st.none() | st.floats(0, 2**37).map(lambda stamp: datetime.fromtimestamp(stamp, UTC))


@given(
    args=st.lists(json_values, max_size=3),
    kwargs=st.dictionaries(st.text(), json_values, max_size=3),
    task_id=st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40),
    retries=st.integers(0, 100),
    eta=moments,
    expires=moments,
    limit=limits,
    priority=st.none() | st.integers(0, 255),
    headers=st.dictionaries(st.sampled_from(["a", "b", "trace"]), st.text()),
)
def test_what_is_written_is_read(
    args: list[Any],
    kwargs: dict[str, Any],
    task_id: str,
    retries: int,
    eta: datetime | None,
    expires: datetime | None,
    limit: float | None,
    priority: int | None,
    headers: dict[str, str],
) -> None:
    options: dict[str, Any] = {"eta": eta, "expires": expires, "time_limit": limit, "soft_time_limit": limit}
    wire = compose(
        plan(args=args, kwargs=kwargs, task_id=task_id, retries=retries, priority=priority, headers=headers, **options)
    )
    envelope = parse(received(wire))
    assert (envelope.id, envelope.task, envelope.queue, envelope.retries) == (task_id, "t", "q", retries)
    assert (envelope.eta, envelope.expires) == (eta, expires)
    assert (envelope.time_limit, envelope.soft_time_limit) == (limit, limit)
    assert envelope.properties["priority"] == (priority or 0)
    assert {name: envelope.headers[name] for name in headers} == headers
    body = decode(envelope, {"application/json"})
    assert (list(body.args), body.kwargs) == (args, kwargs)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"countdwon": 3}, TypeError, "did you mean 'countdown'?"),
        ({"zzz": 3}, TypeError, "known are"),
        ({"countdown": -1}, ValueError, "countdown"),
        ({"countdown": math.nan}, ValueError, "countdown"),
        ({"countdown": math.inf}, ValueError, "finite"),
        ({"countdown": "5"}, TypeError, "takes seconds"),
        ({"countdown": True}, TypeError, "takes seconds"),
        ({"countdown": 1e18}, ValueError, "beyond the calendar"),
        ({"expires": math.nan}, ValueError, "expires"),
        ({"eta": 5}, TypeError, "countdown takes seconds"),
        ({"eta": datetime(2030, 1, 1, tzinfo=UTC), "countdown": 1}, ValueError, "exclude each other"),
        ({"time_limit": 0}, ValueError, "above 0"),
        ({"time_limit": -1}, ValueError, "above 0"),
        ({"time_limit": math.inf}, ValueError, "above 0"),
        ({"soft_time_limit": "x"}, TypeError, "takes seconds"),
        ({"soft_time_limit": 5, "time_limit": 3}, ValueError, "must not be above"),
        ({"priority": 256}, ValueError, "0 to 255"),
        ({"priority": True}, ValueError, "0 to 255"),
        ({"compression": "gzpi"}, ValueError, "did you mean 'gzip'?"),
        ({"link": 3}, TypeError, "not iterable"),
        ({"link": [3]}, TypeError, "signatures"),
        ({"task_id": "a\nb"}, ValueError, "a task's id is 1 to 512 printable characters"),
        ({"task_id": "x" * 513}, ValueError, "a task's id is"),
        ({"task_id": 5}, ValueError, "a task's id is"),
        ({"task": ""}, ValueError, "a task's name is"),
        ({"task": "half \ud800"}, ValueError, "a task's name is"),
        ({"args": "abc"}, TypeError, "list or tuple"),
        ({"kwargs": [1]}, TypeError, "mapping"),
    ],
)
def test_wrong_options_of_a_call_are_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words.replace("?", r"\?")):
        plan(**options)


def test_what_cannot_be_serialised_is_told_to_the_caller() -> None:
    with pytest.raises(TypeError, match="arguments of t cannot be serialised as json"):
        compose(plan(object()))
    with pytest.raises(ValueError, match="did you mean 'json'"):
        compose(plan(1, serializer="jsno"))


def test_times_are_written_absolute_in_the_zone_that_is_asked_for() -> None:
    berlin = timezone(timedelta(hours=1))
    naive = datetime(2030, 1, 1, 12)  # noqa: DTZ001  (what a caller may give)
    assert compose(plan(countdown=60)).headers["eta"] == "2023-11-14T22:14:20+00:00"
    assert compose(plan(eta=naive)).headers["eta"] == "2030-01-01T12:00:00+00:00"
    assert compose(plan(eta=naive, zone=berlin)).headers["eta"] == "2030-01-01T11:00:00+00:00"
    assert compose(plan(eta=naive, zone=berlin, written_in=berlin)).headers["eta"] == "2030-01-01T12:00:00+01:00"


def test_an_expiry_is_also_the_brokers_never_negative() -> None:
    assert compose(plan(expires=60)).properties["expiration"] == 60
    assert compose(plan(expires=-60)).properties["expiration"] == 0
    assert "expiration" not in compose(plan()).properties


def test_ids_are_new_for_each_call() -> None:
    assert plan().id != plan().id


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("value", [Hostile(), [Hostile()], "x" * 10**7, list(range(10**6)), {"a": Hostile()}])
def test_a_short_repr_is_short_and_never_raises(value: object) -> None:
    assert len(short_repr(value)) <= 1024


# -- Celery's own code as the judge ------------------------------------------------------------------------------------


def celery_app(url: str, queue: str) -> Any:
    from celery import Celery

    app = Celery("theirs", broker=url, backend=None, set_as_current=False)
    app.conf.task_default_queue = queue
    return app


def test_a_message_of_celery_is_understood(lab: Lab) -> None:
    theirs = celery_app("memory://", lab.queue)

    @theirs.task(name="add", shared=False)  # type: ignore[untyped-decorator]  # celery is untyped
    def add(x: int, y: int) -> int:
        raise NotImplementedError

    @lab.app.task(name="add")
    def ours(x: int, y: int) -> int:
        return x + y

    result = add.apply_async((2,), {"y": 3}, countdown=60, expires=120, time_limit=9, soft_time_limit=5, priority=4)
    theirs.close()
    envelope = lab.envelope()
    assert (envelope.id, envelope.task, envelope.queue, envelope.retries) == (result.id, "add", lab.queue, 0)
    assert (envelope.time_limit, envelope.soft_time_limit, envelope.properties["priority"]) == (9.0, 5.0, 4)
    assert envelope.eta is not None
    assert envelope.expires is not None
    assert envelope.expires - envelope.eta == timedelta(seconds=60)
    assert lab.job(envelope).run().result == "5"


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("compression", [None, "gzip", "bzip2", "lzma"])
def test_celerys_link_chain_and_compression_are_understood(
    make_lab: Callable[..., Lab], protocol: int, compression: str | None
) -> None:
    lab = make_lab()
    theirs = celery_app("memory://", lab.queue)
    theirs.conf.task_protocol = protocol

    @lab.app.task(name="add")
    def ours(x: int, y: int) -> int:
        return x + y

    callback = theirs.signature("add", (10,), app=theirs)
    theirs.signature("add", (1, 2), app=theirs).apply_async(link=callback, compression=compression)
    theirs.close()
    assert lab.run().result == "3"
    assert lab.run().result == "13"


def test_our_message_has_all_that_celerys_has(lab: Lab) -> None:
    theirs = celery_app("memory://", lab.queue)
    message = theirs.amqp.as_task_v2(
        "an-id", "add", (1, [2]), {"k": "v"}, time_limit=9, soft_time_limit=5, retries=3, expires=60, countdown=5
    )
    theirs.close()
    wire = compose(
        Invocation.plan(
            "add", (1, [2]), {"k": "v"}, now=NOW, default_queue="q", task_id="an-id", time_limit=9, soft_time_limit=5,
            retries=3, expires=60, countdown=5,
        )
    )  # fmt: skip
    assert list(wire.headers) == list(message.headers)
    moving = {"eta", "expires", "origin"}
    same = {name: value for name, value in message.headers.items() if name not in moving}
    assert {name: value for name, value in wire.headers.items() if name not in moving} == same
    assert all(datetime.fromisoformat(wire.headers[name]).tzinfo for name in ("eta", "expires"))
    assert json.loads(wire.body) == json.loads(json.dumps(message.body))
    assert set(message.properties) <= set(wire.properties)


def test_celery_runs_our_message(lab: Lab) -> None:
    """Celery's own request class takes what we send, and its tracer runs it."""
    from celery.app.trace import build_tracer
    from celery.worker.request import Request

    theirs = celery_app("memory://", lab.queue)

    @theirs.task(name="add", shared=False)  # type: ignore[untyped-decorator]  # celery is untyped
    def add(x: int, y: int) -> int:
        return x + y

    lab.app.send_task("add", [2], {"y": 3}, expires=60, time_limit=9, soft_time_limit=5)
    message = lab.take()
    request = Request(message, app=theirs, hostname="h", task=theirs.tasks["add"])
    assert (request.id, request.time_limits) == (message.headers["id"], [9, 5])
    args, kwargs, _ = message.payload
    outcome = build_tracer("add", theirs.tasks["add"], app=theirs)(request.id, args, kwargs, request.request_dict)
    theirs.close()
    assert outcome.retval == 5
