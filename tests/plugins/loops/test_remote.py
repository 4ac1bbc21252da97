"""Celery's remote control: what is asked is answered in Celery's form, and nothing that arrives hurts the worker."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu import Connection, Queue
from kombu.pidbox import Mailbox

from worker_kernel import ControlError, Setting, Settings, Source, StepContext, Value, Worker
from worker_kernel.settings import Layer
from worker_loops.connection import Generation, broadcasts
from worker_loops.remote import LONGEST, QUEUE_EXPIRES, QUEUE_TTL, RemoteStep, carry_out, mailbox, meant, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


def message(body: object, **more: Any) -> Any:
    raw = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return SimpleNamespace(**{"body": raw, "headers": {}, "content_type": "application/json", **more})


class Commands:
    """The worker's commands, scripted."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def execute_here(self, name: str, arguments: dict[str, Any]) -> object:
        self.asked.append((name, arguments))
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


def worker_with(**answers: object) -> Any:
    return SimpleNamespace(commands=Commands(**answers), node_name="kernel@here")


def test_a_request_is_read_from_json_alone() -> None:
    assert read(message({"method": "ping"})) == {"method": "ping"}
    assert read(message({"method": "ping"}, headers={"expires": 10.0}), now=lambda: 9.0) == {"method": "ping"}
    assert read(message({"method": "ping"}, headers={"expires": 10.0}), now=lambda: 11.0) is None


@pytest.mark.parametrize(
    "bad",
    [
        message({"method": "ping"}, content_type="application/x-python-serialize"),
        message(b"[" * 50_000),
        message(b" " * (LONGEST + 1)),
        message(b"\xff\xfe"),
        message("nonsense"),
        message([]),
        message({"method": 3}),
        message({"method": "ping"}, content_type=None),
    ],
)
def test_what_makes_no_sense_is_a_value_error(bad: Any) -> None:
    with pytest.raises(ValueError):
        read(bad)


def test_a_request_is_meant_by_name_by_pattern_or_for_all() -> None:
    assert meant({}, "a@h")
    assert meant({"destination": ["b@h", "a@h"]}, "a@h")
    assert not meant({"destination": ["b@h"]}, "a@h")
    assert not meant({"destination": "a@h"}, "a@h")
    assert meant({"pattern": "a@*", "matcher": "glob"}, "a@h")
    assert not meant({"pattern": "b@*", "matcher": "glob"}, "a@h")
    with pytest.raises(ValueError, match="only glob"):
        meant({"pattern": "(a+)+$", "matcher": "pcre"}, "a@h")


def test_revoking_is_answered_in_celerys_words() -> None:
    worker = worker_with(revoke={"tasks": {"a": "remembered"}})
    assert carry_out(worker, {"method": "revoke", "arguments": {"task_id": "a", "signal": "SIGTERM"}}) == {
        "ok": "tasks {'a'} flagged as revoked"
    }
    ended = {"method": "revoke", "arguments": {"task_id": ["a"], "terminate": True}}
    assert carry_out(worker, ended) == {"ok": "terminate: tasks unknown"}
    worker.commands.answers["revoke"] = {"tasks": {"a": "is being ended"}}
    assert carry_out(worker, ended) == {"ok": "terminate: a"}
    assert worker.commands.asked[-1] == ("revoke", {"ids": ["a"], "terminate": True})


def test_registered_hides_celerys_own_and_shows_what_is_asked_for() -> None:
    worker = worker_with(registered={"celery.x": {}, "a": {"rate_limit": "10/s", "acks_late": True}})
    assert carry_out(worker, {"method": "registered"}) == ["a [rate_limit=10/s]"]
    asked = {"method": "dump_tasks", "arguments": {"taskinfoitems": ["acks_late"], "builtins": True}}
    assert carry_out(worker, asked) == ["celery.x", "a [acks_late=True]"]


def test_any_other_command_is_answered_with_an_error() -> None:
    assert "'shutdown' is not offered" in str(carry_out(worker_with(), {"method": "shutdown"}))
    assert carry_out(worker_with(ping=ControlError("refused", "no")), {"method": "ping"}) == {"error": "no"}
    assert "no mapping" in str(carry_out(worker_with(), {"method": "ping", "arguments": [1]}))


# -- over kombu's in-memory transport ------------------------------------------------------------------------------


class Rig:
    """The step on a connection of its own, and a client on another."""

    def __init__(self) -> None:
        self.connection, self.client = Connection("memory://"), Connection("memory://")
        generation = Generation(self.connection, None, cast("Any", SimpleNamespace(call_later=lambda *args: None)))
        self.worker = worker_with(ping={})
        self.step = RemoteStep()
        self.step.create(
            StepContext(cast("Worker", self.worker), frozenset({"connection"}), {"connection": generation})
        )
        self.step.start()

    def drain(self) -> None:
        try:
            while True:
                self.connection.drain_events(timeout=0.05)
        except TimeoutError:
            pass


@pytest.fixture
def rig() -> Any:
    rig = Rig()
    yield rig
    rig.step.stop()
    for connection in (rig.connection, rig.client):
        connection.close()


def send(rig: Rig, body: object, **options: Any) -> None:
    with rig.client.Producer() as producer:
        exchange = Mailbox("celery", type="fanout").exchange
        producer.publish(body, exchange=exchange, declare=[exchange], retry=False, **options)


def test_a_mailbox_of_kombu_gets_its_answer(rig: Rig) -> None:
    mailbox = Mailbox("celery", type="fanout")(rig.client)
    reply = mailbox.reply_queue(rig.client.default_channel)
    reply.declare()
    reply_to = {"exchange": mailbox.reply_exchange.name, "routing_key": mailbox.oid}
    send(rig, {"method": "ping", "ticket": "t", "reply_to": reply_to})
    rig.drain()
    answer = reply.get(no_ack=True)
    assert answer is not None
    assert answer.payload == {"kernel@here": {"ok": "pong"}}
    assert answer.headers["ticket"] == "t"
    reply.delete()


def test_nothing_that_arrives_raises(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = {"exchange": "celery", "routing_key": "celery"}
    bodies: tuple[object, ...] = (
        "nonsense", [], {}, {"method": "ping", "reply_to": elsewhere}, {"method": "ping", "reply_to": 3},
        {"method": "ping", "pattern": "x", "matcher": "pcre"}, {"method": None}, {"method": ["ping"]},
    )  # fmt: skip
    for body in bodies:
        send(rig, body)
    send(rig, b"\x80\x04.", content_type="application/x-python-serialize", content_encoding="binary")
    rig.drain()
    assert "makes no sense" in caplog.text
    assert "could not be dealt with" not in caplog.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it is cleared
@given(body=JSON)
def test_no_request_is_one_that_cannot_be_dealt_with(caplog: pytest.LogCaptureFixture, body: object) -> None:
    caplog.clear()
    step = RemoteStep()
    step._worker = cast("Worker", worker_with(ping={}))
    step._generation = cast("Generation", SimpleNamespace(losses=(OSError,)))
    step._on_message(message(body))
    step._on_message(message({"method": "ping", "arguments": body, "destination": body, "pattern": body}))
    assert "could not be dealt with" not in caplog.text


def test_it_takes_part_where_the_broker_can_broadcast_and_nobody_switched_it_off() -> None:
    def worker(transport: Any, enabled: bool) -> Any:
        declared = {"worker_enable_remote_control": Setting(name="x", parse=bool, kind="any")}
        value = Value(value=enabled, source=Source(layer=Layer.DEFAULT))
        connection = SimpleNamespace(get_transport_cls=lambda: transport)
        return SimpleNamespace(
            settings=Settings(declared, {"worker_enable_remote_control": value}),
            app=SimpleNamespace(connection=lambda: connection),
        )

    memory = Connection("memory://").get_transport_cls()
    deaf = type("Deaf", (), {"implements": SimpleNamespace(exchange_type=frozenset({"direct"}))})
    assert broadcasts(worker(memory, True))
    assert RemoteStep().enabled(worker(memory, True))
    assert not RemoteStep().enabled(worker(memory, False))
    assert not RemoteStep().enabled(worker(deaf, True))


def test_the_mailboxs_queue_is_the_one_that_kombu_would_make() -> None:
    theirs = Mailbox("celery", type="fanout", queue_expires=QUEUE_EXPIRES, queue_ttl=QUEUE_TTL).get_queue("kernel@here")
    assert mailbox("kernel@here").as_dict(recurse=True) == theirs.as_dict(recurse=True)


def test_the_mailboxs_queue_is_named_as_celery_names_it(rig: Rig) -> None:
    name = "kernel@here.celery.pidbox"
    assert rig.step.info() == {"mailbox": name}
    assert Queue(name, channel=rig.client.default_channel).queue_declare(passive=True).queue == name
