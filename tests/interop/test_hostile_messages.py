"""Nothing that arrives in a queue hurts the worker: it goes on, tells the sender, and keeps the message to be seen."""

from __future__ import annotations

import json
import pickle
import re
import uuid
import zlib
from collections.abc import Iterator
from typing import Any

import amqp
import attrs
import kombu
import pytest
import redis
from tests.interop.conftest import Place, place_of

pytestmark = pytest.mark.leaves("descriptors", reason="one client serves all tests, and keeps its connections")

TASKS = """
    @app.task(name="add")
    def add(x, y): return x + y
    @app.task(name="early", acks_late=False)
    def early(): mark("early")
    @app.task(name="unserialisable")
    def unserialisable(): return object()
    class Hostile(Exception):
        def __init__(self, one, two): super().__init__(one, two)
        def __reduce__(self): raise RuntimeError("no pickle")
        def __repr__(self): raise RuntimeError("no repr")
        __str__ = __repr__
    @app.task(name="hostile_exception")
    def hostile_exception(): raise Hostile(1, object())
    class Word:
        def __repr__(self): raise RuntimeError("no repr")
    @app.task(name="hostile_argument")
    def hostile_argument(): raise ValueError(Word())
    @app.task(name="exits")
    def exits(): raise SystemExit(3)
"""
BODY = b"[[1, 2], {}, null]"
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
NESTED = b"[" * 50_000 + b"]" * 50_000


@attrs.frozen(kw_only=True)
class Case:
    """A message, and what the sender shall read."""

    headers: Any = attrs.field(factory=dict)
    """What differs from a good message; a value of DROP leaves the header out."""
    body: bytes = BODY
    properties: Any = attrs.field(factory=lambda: dict(JSON))
    told: str = ""
    """Part of what the result says; empty: no id is known, nobody can be told."""
    kept: bool = True
    """Whether it is the message that is at fault, and is kept; else the task has failed."""


DROP = object()
PICKLED = pickle.dumps([[], {}, None])
CASES = {
    "no id": Case(headers={"id": DROP}),
    "an id that is a number": Case(headers={"id": 5}),
    "an id that is a list": Case(headers={"id": ["a"]}),
    "an id with a line break": Case(headers={"id": "a\nb"}),
    "no task": Case(headers={"task": DROP, "id": DROP}, body=b"{}"),
    "a task that is a number": Case(headers={"task": 5}, told="its task is"),
    "an unknown task": Case(headers={"task": "nobody.has.it"}, told="nobody.has.it"),
    "lang php": Case(headers={"lang": "php"}, told="lang is 'php'"),
    "a bad eta": Case(headers={"eta": "tomorrow"}, told="its eta is 'tomorrow'"),
    "an eta that is a number": Case(headers={"eta": 5}, told="its eta"),
    "bad expires": Case(headers={"expires": "never"}, told="its expires is 'never'"),
    "a timelimit of one": Case(headers={"timelimit": [1]}, told="its timelimit"),
    "a timelimit of words": Case(headers={"timelimit": ["a", "b"]}, told="its timelimit"),
    "a negative timelimit": Case(headers={"timelimit": [-1, None]}, told="its timelimit"),
    "retries of a word": Case(headers={"retries": "many"}, told="its retries"),
    "negative retries": Case(headers={"retries": -1}, told="its retries"),
    "a body of two": Case(body=b"[[], {}]", told="not \\[args, kwargs, embed\\] but a list of 2"),
    "a body of four": Case(body=b"[[], {}, null, 1]", told="a list of 4"),
    "a body of null": Case(body=b"null", told="a NoneType"),
    "a body of text": Case(body=b'"text"', told="a str"),
    "a body that is no JSON": Case(body=b"\xff\xfe{", told="cannot be decoded"),
    "an empty body": Case(body=b"", told="body"),
    "args of the wrong shape": Case(body=b'["ab", {}, null]', told="args in the body"),
    "kwargs of the wrong shape": Case(body=b"[[], [], null]", told="kwargs in the body"),
    "embed of the wrong shape": Case(body=b"[[], {}, 5]", told="embed in the body"),
    "callbacks of the wrong shape": Case(body=b'[[1, 2], {}, {"callbacks": 5}]', told="callbacks"),
    "a chord without a group": Case(body=b'[[1, 2], {}, {"chord": {"task": "add"}}]', told="names no group"),
    "50,000 brackets": Case(body=NESTED, told="cannot be decoded"),
    "50,000 brackets, version 1": Case(headers={"task": DROP, "id": DROP}, body=NESTED),
    "NaN for arguments": Case(body=b"[NaN, {}, null]", told="args in the body"),
    "a number of 10,000 digits": Case(body=b"[[" + b"9" * 10_000 + b"], {}, null]", told="cannot be decoded"),
    "10 MB": Case(body=b"[[1], {}, null]".ljust(10_000_000), told="argument", kept=False),
    "a bomb": Case(
        body=zlib.compress(b"[" + b" " * 300_000_000, 9),
        headers={"compression": "application/x-gzip"},
        told="inflates to more than",
    ),
    "unknown compression": Case(headers={"compression": "application/x-rar"}, told="x-rar"),
    "damaged compression": Case(headers={"compression": "application/x-gzip"}, told="damaged"),
    "pickle": Case(
        body=PICKLED,
        properties={"content_type": "application/x-python-serialize", "content_encoding": "binary"},
        told="python-serialize",
    ),
    "an unknown content type": Case(
        properties={"content_type": "application/x-ours", "content_encoding": "utf-8"}, told="x-ours"
    ),
    "wrong arguments": Case(body=b"[[1, 2, 3], {}, null]", told="argument", kept=False),
    "a result that is no JSON": Case(
        headers={"task": "unserialisable"}, body=b"[[], {}, null]", told="not JSON-serialisable", kept=False
    ),
    "an exception without repr or pickle": Case(
        headers={"task": "hostile_exception"}, body=b"[[], {}, null]", told="Hostile", kept=False
    ),
    "an argument without repr": Case(
        headers={"task": "hostile_argument"}, body=b"[[], {}, null]", told="repr failed", kept=False
    ),
    "SystemExit": Case(headers={"task": "exits"}, body=b"[[], {}, null]", told="SystemExit", kept=False),
    "acknowledged early": Case(headers={"task": "early"}, body=b"[[], {}]", told="a list of 2"),
}


@pytest.fixture(scope="module", params=["sqlite", "redis", "amqp"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One worker for all that is sent to it: it has to survive everything."""
    with place_of(request.param, tmp_path_factory.mktemp("served")) as place:
        place.write(TASKS)
        place.worker("-P", "threads", "-c", "2")
        yield place


def raw(message: Any) -> bytes:
    body = getattr(message, "raw_body", None)
    body = message.body if body is None else body
    return body.encode() if isinstance(body, str) else bytes(body)


def still_serves(place: Place) -> None:
    assert place.app.send_task("add", [20, 22]).get(timeout=30) == 42, place.processes[0].log
    assert place.processes[0].process.poll() is None


@pytest.mark.parametrize("name", CASES)
def test_a_broken_message(served: Place, until: Any, name: str) -> None:
    case = CASES[name]
    task_id = str(uuid.uuid4())
    before, logged = served.quarantined(), len(served.processes[0].log)
    headers = {"lang": "py", "task": "add", "id": task_id, "retries": 0, **case.headers}
    properties = {**case.properties, "correlation_id": task_id}
    served.publish(case.body, headers={key: value for key, value in headers.items() if value is not DROP}, **properties)
    if case.told:
        result = served.app.AsyncResult(task_id)
        until(result.ready, "the sender to be told")
        assert result.state == "FAILURE"
        said = f"{type(result.result).__name__}: {result.result!r}"
        assert re.search(case.told, said), said
    if case.kept:
        until(lambda: served.quarantined() == before + 1, "the message in quarantine")
        kept = served.take_quarantined()
        assert raw(kept) == case.body
        assert kept.headers["x-kernel-quarantine"]
        worker = served.processes[0]
        until(
            lambda: sum("quarantine" in line for line in worker.log[logged:].splitlines()) == 1, "one line in the log"
        )
    until(lambda: served.depth() == 0, "an empty queue")
    still_serves(served)
    assert served.quarantined() == before


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"properties": null}',
        b'{"body": 5}',
        b'{"body": "!!", "properties": {"delivery_tag": "t", "body_encoding": "base64", "delivery_info": {}}}',
        b'{"body": "e30=", "headers": 5, "properties": {"delivery_tag": "t", "body_encoding": "base64"}}',
        b'{"body": "e30=", "headers": null, "properties": {"delivery_tag": "t2", "body_encoding": "rot13"}}',
        b'{"body": null, "headers": {"id": "x", "task": "add"}, "properties": {"delivery_tag": 5}}',
        b'{"body": null, "headers": {"id": "x", "task": "add"}, "properties": {"delivery_tag": "n"}}',
        b'{"body": "W10=", "content-type": 5, "headers": {"task": "add"}, "properties": {"delivery_tag": "o"}}',
    ],
)
@pytest.mark.parametrize("served", ["redis"], indirect=True)  # where anybody can write what is no message
def test_an_entry_that_is_no_envelope(served: Place, until: Any, entry: bytes) -> None:
    server = redis.Redis.from_url(served.url)
    try:
        server.lpush(served.queue, entry)
        until(lambda: server.llen(f"{served.queue}.quarantine") == 1, "the entry in quarantine")
        server.delete(f"{served.queue}.quarantine")
        still_serves(served)
        assert server.llen(f"{served.queue}.quarantine") == 0
    finally:
        server.close()


@pytest.mark.parametrize("served", ["amqp"], indirect=True)
def test_headers_that_cannot_be_decoded(served: Place, until: Any) -> None:
    message = amqp.Message(b"what it was")
    beyond_all_dates = b"\x01kT" + b"\xff" * 8
    message._serialize_properties = lambda: b"\x20\x00" + b"\x00\x00\x00\x0b" + beyond_all_dates
    with kombu.Connection(served.url) as connection, connection.channel() as channel:
        channel.basic_publish(message, routing_key=served.queue)
        still_serves(served)
    until(lambda: served.quarantined() == 1, "the message in quarantine")
    assert raw(served.take_quarantined()) == b"what it was"


def test_an_unknown_encoding_does_not_matter_to_json(served: Place) -> None:
    task_id = str(uuid.uuid4())
    served.publish(
        BODY, headers={"task": "add", "id": task_id}, content_type="application/json", content_encoding="klingon"
    )
    assert served.app.AsyncResult(task_id).get(timeout=30) == 3


def test_headers_are_kept_as_they_came(served: Place, until: Any) -> None:
    headers = {"task": "nobody", "id": str(uuid.uuid4()), "mine": {"deep": [1, {"x": None}]}, "word": "é\u2028"}
    served.publish(json.dumps([[], {}, None]), headers=headers, **JSON)
    until(lambda: served.quarantined() == 1, "the message in quarantine")
    kept = served.take_quarantined()
    assert {key: kept.headers[key] for key in headers} == headers
